"""Iterations: what every way to an equilibrium takes and gives."""

import abc

import equinox as eqx
from jaxtyping import Array, Float, Int

from ...vector_fields.base import State
from ..dynamics import AbstractSystem


class Iterate(eqx.Module):
    """Where an iteration has come to.

    Attributes:
        state: within the system's bounds.
        velocity: at that state.
        residual: max_i |tau_i ds_i/dt| there, (batch,).
        iterations: done so far, (batch,).
    """

    state: State
    velocity: State
    residual: Float[Array, " batch"]
    iterations: Int[Array, " batch"]


class AbstractIteration(eqx.Module):
    """A way to an equilibrium of a batch, in which no sample depends on the others.

    It need not be differentiable: `Equilibrium` differentiates its result by the implicit function theorem.
    """

    @property
    def attracted(self) -> bool:
        """Whether it is drawn to stable equilibria as the dynamics are; a root finder takes any."""
        return True

    @abc.abstractmethod
    def run(self, system: AbstractSystem, start: State, tol: Float[Array, ""]) -> Iterate:
        """Iterates from `start` until the residual of every sample is at most `tol`, or there is no hope of it."""
