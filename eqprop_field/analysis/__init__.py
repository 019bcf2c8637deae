"""Experiments, each a function that gives a result: what the learning rules are worth, and why."""

from .alignment import Alignment as Alignment
from .alignment import align as align
from .budget import ErrorBudget as ErrorBudget
from .budget import budget as budget
from .gdu import SuccessiveUpdates as SuccessiveUpdates
from .gdu import successive_updates as successive_updates
from .good_parameters import GoodParameters as GoodParameters
from .good_parameters import good_parameters as good_parameters
from .over_training import Snapshot as Snapshot
from .over_training import TrainingAlignment as TrainingAlignment
from .over_training import align_training as align_training
from .over_training import snapshot as snapshot
from .simulation import Simulation as Simulation
from .simulation import simulate as simulate
from .stability import AttractorType as AttractorType
from .stability import Stability as Stability
from .stability import stability as stability
from .stdp import PoissonPairs as PoissonPairs
from .stdp import RateHistogram as RateHistogram
from .stdp import SpikePairs as SpikePairs
from .stdp import poisson_pairs as poisson_pairs
from .stdp import rate_histogram as rate_histogram
from .stdp import spike_pairs as spike_pairs
from .symmetry import jacobian_asymmetry as jacobian_asymmetry
from .symmetry import weight_symmetry as weight_symmetry
