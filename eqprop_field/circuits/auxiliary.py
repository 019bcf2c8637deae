"""An auxiliary system, such as an adjoint, beside the network it reads: one circuit, and one transient."""

import functools
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from .._arrays import as_scalar
from ..substrates.base import SystemAt
from ..substrates.dynamics import AbstractSystem
from ..substrates.nudging import AbstractNudge
from ..substrates.solution import Solution, Verdict
from ..vector_fields import AbstractVectorField
from ..vector_fields.base import UNBOUNDED, State, project
from .element_chip import AbstractBuiltField


def _opaque(system_at: SystemAt) -> Callable[..., tuple[AbstractSystem, State]]:
    """The same function without arrays that JAX sees: whatever it holds are known numbers to the circuit."""
    return functools.partial(system_at)


class FollowedField(AbstractBuiltField):
    """A field, and room for an auxiliary system, which stays where it is unless a `Follower` moves it.

    Attributes:
        field: what the auxiliary system reads; it never feels it.
        begin: where that starts, one row a sample.
        time_constants_of: its time constants.
    """

    field: AbstractVectorField
    begin: State
    time_constants_of: PyTree

    @property
    def leaf_bounds(self) -> tuple[tuple[float, float], ...]:
        return (*self.field.leaf_bounds, *(UNBOUNDED,) * len(jax.tree.leaves(self.begin)))

    def initial_state(self, batch: int) -> State:
        zeros = jax.tree.map(lambda leaf: jnp.zeros((batch, *leaf.shape[1:]), leaf.dtype), self.begin)
        return self.field.initial_state(batch), zeros

    def time_constants(self) -> PyTree:
        return self.field.time_constants(), self.time_constants_of

    def drive(self, x: Float[Array, "batch inputs"]) -> PyTree:
        return self.field.drive(x)

    def velocity(self, drive: PyTree) -> Callable[[State], State]:
        mu = self.field.velocity(drive)
        return lambda state: (mu(state[0]), jax.tree.map(jnp.zeros_like, state[1]))


class Follower(AbstractNudge):
    """What an auxiliary system does beside a network: it goes to its start, and where the share is 1 it moves.

    Attributes:
        target: y of every sample.
        x: the inputs of every sample.
        system_at: see `AbstractSubstrate.auxiliary`.
        share: 1 in the window of the auxiliary system, 0 in that of the free phase.
    """

    target: Float[Array, "batch outputs"]
    x: Array
    system_at: Callable[..., tuple[AbstractSystem, State]] = eqx.field(static=True, converter=_opaque)
    share: Array = eqx.field(converter=as_scalar, default=1.0)

    def system(self, field: AbstractVectorField, state: State) -> tuple[AbstractSystem, State]:
        """The system that reads the network at this state, and where it begins."""
        nothing = jnp.zeros(len(self.x), jnp.int32)
        at_rest = jnp.full(len(self.x), Verdict.converged.value, jnp.int32)
        free = Solution(state, jnp.zeros(len(self.x)), at_rest, steps=nothing, evaluations=nothing)
        return self.system_at(field, self.x, self.target, free)

    def anchored(self, field: AbstractVectorField, x: Array, free: State) -> "Follower":
        del field, free
        return Follower(self.target, x, self.system_at, self.share)

    def switched(self, share: Array) -> "Follower":
        return Follower(self.target, self.x, self.system_at, share)

    def force(self, field: FollowedField, state: tuple[State, State]) -> tuple[State, State]:
        network, auxiliary = state
        # A clamp gives way by a millionth, which is not at its bound.
        system, begin = self.system(field.field, project(field.field, network))
        moved = jax.tree.map(
            lambda f, b, a: self.share * f + (1 - self.share) * (b - a),
            *(system.velocity()(auxiliary), begin, auxiliary),
        )
        return jax.tree.map(jnp.zeros_like, network), moved
