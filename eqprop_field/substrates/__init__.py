"""How it settles: substrates."""

from .base import AbstractSubstrate as AbstractSubstrate
from .equilibrium import Equilibrium as Equilibrium
from .euler import EulerSteps as EulerSteps
from .nudging import AbstractNudge as AbstractNudge
from .nudging import CostNudge as CostNudge
from .nudging import Nudging as Nudging
from .solution import NotSettledError as NotSettledError
from .solution import Solution as Solution
from .solution import Verdict as Verdict
from .trajectory import ProjectedEuler as ProjectedEuler
from .trajectory import Trajectory as Trajectory
