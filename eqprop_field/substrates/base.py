"""How a network settles: the interface of every substrate."""

import abc
from collections.abc import Sequence

import equinox as eqx
from jaxtyping import ArrayLike

from ..vector_fields.base import AbstractVectorField, State
from .nudging import AbstractNudge
from .solution import Solution


class AbstractSubstrate(eqx.Module):
    """Something in which a vector field settles: an ODE solver, a fixed-point solver, or a circuit.

    Attributes:
        traceable: whether the substrate runs under `jax.jit` and `jax.vmap`; one that calls another program does not.
    """

    traceable: eqx.AbstractClassVar[bool]

    @abc.abstractmethod
    def settle(
        self,
        field: AbstractVectorField,
        x: ArrayLike,
        nudge: AbstractNudge | None = None,
        start: State | None = None,
        *,
        throw: bool = True,
    ) -> Solution:
        """Runs one phase: free without a nudge, nudged with one.

        Args:
            field: what moves.
            x: the clamped input's firing rates, (batch, inputs).
            nudge: what to add to mu.
            start: the state to start from; the state at rest, s = 0, by default.
            throw: whether to raise if a sample does not settle. Nothing is raised while JAX traces.

        Raises:
            ValueError: if x does not fit the field or is not finite.
            NotSettledError: if a sample did not settle and `throw` is true.
        """

    @abc.abstractmethod
    def phases(
        self, field: AbstractVectorField, x: ArrayLike, nudges: Sequence[AbstractNudge], *, throw: bool = True
    ) -> tuple[Solution, tuple[Solution, ...]]:
        """Runs the free phase from rest, then every nudged phase FROM THE FREE STATE. Arguments as for `settle`."""


def settle_in_turn(
    substrate: AbstractSubstrate,
    field: AbstractVectorField,
    x: ArrayLike,
    nudges: Sequence[AbstractNudge],
    throw: bool,
) -> tuple[Solution, tuple[Solution, ...]]:
    """`phases` by one `settle` after another, for substrates that can start anywhere."""
    free = substrate.settle(field, x, throw=throw)
    return free, tuple(substrate.settle(field, x, nudge, free.state, throw=throw) for nudge in nudges)
