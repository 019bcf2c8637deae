"""How a network settles: the interface of every substrate."""

import abc
from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import ArrayLike, PyTree

from ..vector_fields.base import AbstractVectorField, State
from .nudging import AbstractNudge, joined
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
        """Runs the free phase from rest, then every nudged phase FROM THE FREE STATE. Arguments as for `settle`.

        Nudges that refer to the free state are anchored to it.
        """

    def relax(self, velocity: Callable[[State], State], start: State, time_constants: PyTree) -> Solution:
        r"""Lets an auxiliary system $\tau\,dz/dt$ = velocity(z), such as an adjoint, come to rest from `start`.

        The system has no bounds and need not be the size of any field. Not compiled by itself: call it in a function
        that is. Never raises for samples that do not settle; read the verdict.

        Args:
            velocity: tau dz/dt of a batch of states, each sample on its own.
            start: where to begin.
            time_constants: tau, with the state's structure less the batch axis.

        Raises:
            ValueError: for a substrate that holds vector fields and nothing else, such as a circuit.
        """
        raise ValueError(
            f"{type(self).__name__} is built for a vector field, not for an auxiliary system such as an adjoint; "
            "use an ODE substrate, Equilibrium or Trajectory"
        )


def settle_in_turn(
    substrate: AbstractSubstrate,
    field: AbstractVectorField,
    x: ArrayLike,
    nudges: Sequence[AbstractNudge],
    throw: bool,
) -> tuple[Solution, tuple[Solution, ...]]:
    """`phases` by one `settle` after another, for substrates that can start anywhere."""
    free = substrate.settle(field, x, throw=throw)
    x = jnp.asarray(x, field.dtype)
    return free, tuple(
        substrate.settle(field, x, nudge.anchored(field, x, free.state), free.state, throw=throw) for nudge in nudges
    )


def settle_together(
    substrate: AbstractSubstrate,
    field: AbstractVectorField,
    x: ArrayLike,
    nudges: Sequence[AbstractNudge],
    throw: bool,
) -> tuple[Solution, tuple[Solution, ...]]:
    """`phases` with the nudged ones as one batch, for substrates in which no sample depends on its batch."""
    if len(nudges) < 2 or len({jax.tree.structure(nudge) for nudge in nudges}) > 1:
        return settle_in_turn(substrate, field, x, nudges, throw)
    free = substrate.settle(field, x, throw=throw)
    x = jnp.asarray(x, field.dtype)
    batch, copies = x.shape[0], len(nudges)
    nudge = joined([nudge.anchored(field, x, free.state) for nudge in nudges], batch)
    start = jax.tree.map(lambda leaf: jnp.concatenate([leaf] * copies), free.state)
    together = substrate.settle(field, jnp.concatenate([x] * copies), nudge, start, throw=throw)

    def part(k: int) -> Solution:
        return jax.tree.map(lambda leaf: leaf[k * batch : (k + 1) * batch] if leaf.ndim else leaf, together)

    return free, tuple(part(k) for k in range(copies))
