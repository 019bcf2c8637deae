"""How a network settles: the interface of every substrate."""

import abc
import itertools
from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PyTree

from .._arrays import checked_data
from ..vector_fields.base import AbstractVectorField, State
from .nudging import AbstractNudge, stacked
from .solution import Solution, raise_unless_converged


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

    def oscillate(
        self,
        field: AbstractVectorField,
        x: ArrayLike,
        nudge: AbstractNudge,
        omega: float,
        times: ArrayLike,
        *,
        throw: bool = True,
    ) -> tuple[Solution, Solution]:
        r"""Runs the free phase from rest, then one under the nudge times cos(omega t), outside JAX.

        Args:
            field: what moves; x: inputs; throw: whether to raise.
            nudge: what nudges at t = 0.
            omega: angular frequency, radians a time unit.
            times: since the nudge began, whole periods from first to last; the trajectory is kept there.

        Returns:
            The free phase, and the driven one, which is settled where its first and last states are the same.

        Raises:
            ValueError: for a substrate that runs under JAX, where the rule integrates by itself.
        """
        raise ValueError(f"{type(self).__name__} has no nudge that oscillates: the rule integrates it by itself")

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
    settle: Callable[[State, AbstractNudge | None, State | None], Solution],
    field: AbstractVectorField,
    x: ArrayLike,
    nudges: Sequence[AbstractNudge],
    throw: bool,
) -> tuple[Solution, tuple[Solution, ...]]:
    """`phases` with nudges of one kind as one batch, for substrates in which no sample depends on its batch.

    Args:
        settle: one phase from the drive, the nudge and the start.
        field: what moves; x: inputs; nudges: what nudges; throw: whether to raise.
    """
    x = checked_data("x", x, field.n_inputs, field.dtype)
    drive = drive_of(field, x)
    free = settle(drive, None, None)
    if throw:
        raise_unless_converged("free", free.verdict)
    anchored = [nudge.anchored(field, x, free.state) for nudge in nudges]
    nudged: list[Solution] = []
    for _, kind in itertools.groupby(anchored, jax.tree.structure):
        alike, batch = list(kind), x.shape[0]
        together = settle(_tiled(drive, len(alike)), stacked(alike, batch), _tiled(free.state, len(alike)))
        nudged += [_rows(together, slice(k * batch, (k + 1) * batch)) for k in range(len(alike))]
    if throw:
        for solution in nudged:
            raise_unless_converged("nudged", solution.verdict)
    return free, tuple(nudged)


@eqx.filter_jit
def drive_of(field: AbstractVectorField, x: Float[Array, "batch inputs"]) -> State:
    """`field.drive(x)`, compiled."""
    return field.drive(x)


def resting(field: AbstractVectorField, drive: State) -> State:
    """The state at rest, for the batch of this drive."""
    return field.initial_state(jax.tree.leaves(drive)[0].shape[0])


def _tiled(state: PyTree, copies: int) -> PyTree:
    return jax.tree.map(lambda leaf: jnp.concatenate([leaf] * copies), state)


def _rows(solution: Solution, rows: slice) -> Solution:
    return jax.tree.map(lambda leaf: leaf[rows] if leaf.ndim else leaf, solution)
