"""Iterations to an equilibrium, one a file."""

from .base import AbstractIteration as AbstractIteration
from .base import Iterate as Iterate
from .newton_krylov import NewtonKrylov as NewtonKrylov
from .per_sample import PerSample as PerSample
from .sweeps import Sweeps as Sweeps
