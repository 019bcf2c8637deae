"""Equilibrium propagation in vector fields: simulate, learn, and run as a circuit."""

import importlib
from typing import TYPE_CHECKING, Any

from . import kernel_networks as kernel_networks
from . import sequence as sequence
from .activations import ACTIVATIONS as ACTIVATIONS
from .activations import Activation as Activation
from .activations import activation as activation
from .analysis import Alignment as Alignment
from .analysis import AttractorType as AttractorType
from .analysis import ErrorBudget as ErrorBudget
from .analysis import GoodParameters as GoodParameters
from .analysis import PoissonPairs as PoissonPairs
from .analysis import RateHistogram as RateHistogram
from .analysis import Simulation as Simulation
from .analysis import Snapshot as Snapshot
from .analysis import SpikePairs as SpikePairs
from .analysis import Stability as Stability
from .analysis import Stdp as Stdp
from .analysis import SuccessiveUpdates as SuccessiveUpdates
from .analysis import TrainingAlignment as TrainingAlignment
from .analysis import align as align
from .analysis import align_training as align_training
from .analysis import budget as budget
from .analysis import good_parameters as good_parameters
from .analysis import jacobian_asymmetry as jacobian_asymmetry
from .analysis import poisson_pairs as poisson_pairs
from .analysis import rate_histogram as rate_histogram
from .analysis import simulate as simulate
from .analysis import snapshot as snapshot
from .analysis import spike_pairs as spike_pairs
from .analysis import stability as stability
from .analysis import stdp as stdp
from .analysis import successive_updates as successive_updates
from .analysis import weight_symmetry as weight_symmetry
from .costs import AbstractCost as AbstractCost
from .costs import AbstractOutputCost as AbstractOutputCost
from .costs import CrossEntropy as CrossEntropy
from .costs import FunctionCost as FunctionCost
from .costs import Huber as Huber
from .costs import Margin as Margin
from .costs import Matching as Matching
from .costs import Quadratic as Quadratic
from .costs import cost as cost
from .costs import named_cost as named_cost
from .datasets import DataError as DataError
from .datasets import Dataset as Dataset
from .datasets import DataWarning as DataWarning
from .datasets import Samples as Samples
from .datasets import digits as digits
from .datasets import fashion as fashion
from .datasets import mnist as mnist
from .datasets import xor as xor
from .extensions import import_file as import_file
from .extensions import load_extensions as load_extensions
from .learning import AEP as AEP
from .learning import BPTT as BPTT
from .learning import RULES as RULES
from .learning import AbstractLearningRule as AbstractLearningRule
from .learning import ContinualEqProp as ContinualEqProp
from .learning import ContrastiveHebbian as ContrastiveHebbian
from .learning import DyadicEqProp as DyadicEqProp
from .learning import EqProp as EqProp
from .learning import ErrorProcess as ErrorProcess
from .learning import ErrorProcesses as ErrorProcesses
from .learning import Estimate as Estimate
from .learning import GeneRec as GeneRec
from .learning import ImplicitGradient as ImplicitGradient
from .learning import NonlinearBackprop as NonlinearBackprop
from .learning import Reading as Reading
from .learning import RecurrentBackpropagation as RecurrentBackpropagation
from .learning import SinusoidalEqProp as SinusoidalEqProp
from .learning import error_processes as error_processes
from .learning import finite_beta as finite_beta
from .learning import highest_verdict as highest_verdict
from .learning import named_rules as named_rules
from .learning import projected_cost as projected_cost
from .learning import pull_back as pull_back
from .learning import rule_entry as rule_entry
from .learning import summed_update as summed_update
from .learning import time_averaged_cost as time_averaged_cost
from .learning import tree_dot as tree_dot
from .learning import tree_norm as tree_norm
from .storage import NetworkFileError as NetworkFileError
from .storage import load_network as load_network
from .storage import save_network as save_network
from .storage import save_phases as save_phases
from .substrates import AbstractComputedSubstrate as AbstractComputedSubstrate
from .substrates import AbstractIteration as AbstractIteration
from .substrates import AbstractNudge as AbstractNudge
from .substrates import AbstractSubstrate as AbstractSubstrate
from .substrates import Capability as Capability
from .substrates import CostNudge as CostNudge
from .substrates import Dynamics as Dynamics
from .substrates import Equilibrium as Equilibrium
from .substrates import EulerSteps as EulerSteps
from .substrates import LinearSolve as LinearSolve
from .substrates import NewtonKrylov as NewtonKrylov
from .substrates import NotSettledError as NotSettledError
from .substrates import Nudging as Nudging
from .substrates import Oscillation as Oscillation
from .substrates import PerSample as PerSample
from .substrates import ProjectedEuler as ProjectedEuler
from .substrates import RateClamp as RateClamp
from .substrates import Solution as Solution
from .substrates import Sweeps as Sweeps
from .substrates import Trajectory as Trajectory
from .substrates import TransposingNudge as TransposingNudge
from .substrates import Verdict as Verdict
from .substrates import count_verdicts as count_verdicts
from .training import RECIPES as RECIPES
from .training import CheckpointError as CheckpointError
from .training import Comparison as Comparison
from .training import Recipe as Recipe
from .training import Settings as Settings
from .training import SymmetryRepair as SymmetryRepair
from .training import TrainingRun as TrainingRun
from .training import compare as compare
from .training import load_dataset as load_dataset
from .training import train as train
from .vector_fields import FIELDS as FIELDS
from .vector_fields import AbstractGraph as AbstractGraph
from .vector_fields import AbstractLayered as AbstractLayered
from .vector_fields import AbstractLeakyIntegrator as AbstractLeakyIntegrator
from .vector_fields import AbstractNeuralNetwork as AbstractNeuralNetwork
from .vector_fields import AbstractVectorField as AbstractVectorField
from .vector_fields import ConvField as ConvField
from .vector_fields import FunctionField as FunctionField
from .vector_fields import GraphField as GraphField
from .vector_fields import HopfieldField as HopfieldField
from .vector_fields import LayeredField as LayeredField
from .vector_fields import draw_network as draw_network
from .vector_fields import field as field
from .vector_fields import field_class as field_class
from .vector_fields import flatten_state as flatten_state
from .vector_fields import register as register
from .vector_fields import unflatten_state as unflatten_state

if TYPE_CHECKING:
    from . import circuits as circuits
    from . import plotting as plotting

_WHEN_ASKED = ("circuits", "plotting")  # with what they need, they take longer than all else


def __getattr__(name: str) -> Any:
    if name in _WHEN_ASKED:
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHEN_ASKED})
