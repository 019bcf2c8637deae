"""Equilibrium propagation in vector fields: simulate, learn, and run as a circuit."""

from .activations import ACTIVATIONS as ACTIVATIONS
from .activations import Activation as Activation
from .activations import activation as activation
from .costs import AbstractCost as AbstractCost
from .costs import Quadratic as Quadratic
from .learning import AbstractLearningRule as AbstractLearningRule
from .learning import EqProp as EqProp
from .learning import Estimate as Estimate
from .learning import ImplicitGradient as ImplicitGradient
from .learning import pull_back as pull_back
from .substrates import AbstractNudge as AbstractNudge
from .substrates import AbstractSubstrate as AbstractSubstrate
from .substrates import CostNudge as CostNudge
from .substrates import Equilibrium as Equilibrium
from .substrates import NotSettledError as NotSettledError
from .substrates import Nudging as Nudging
from .substrates import ProjectedEuler as ProjectedEuler
from .substrates import Solution as Solution
from .substrates import Trajectory as Trajectory
from .substrates import Verdict as Verdict
from .vector_fields import AbstractVectorField as AbstractVectorField
from .vector_fields import GraphField as GraphField
from .vector_fields import LayeredField as LayeredField
