"""Settling by fixed-point iteration: the equilibrium alone, without the way there."""

from collections.abc import Callable, Sequence
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int, PyTree

from .._arrays import as_scalar, checked_data
from ..vector_fields.base import AbstractVectorField, State, project
from .base import AbstractSubstrate, settle_in_turn
from .nudging import AbstractNudge, as_its_velocity, nudged
from .solution import (
    Solution,
    default_tolerance,
    has_diverged,
    judge,
    judge_unbounded,
    raise_unless_converged,
    residual_of,
    speed_of,
)

_WINDOW = 4  # iterations between two looks at the residual
_LEAST_DAMPING = 2.0**-6  # below this a network that grows would only seem to stand still


class Equilibrium(AbstractSubstrate):
    r"""Damped Picard iteration to a residual tolerance, batched, each sample with its own damping and its own end.

    $$s \leftarrow \Pi\,[\,s + h\,\mu^\beta(s)\,]$$

    with the projection on the field's bounds and h = 1 at first. A sample's h is halved, at most to 1/64, whenever its
    residual did not fall over a few iterations, and recovers while it does, so the iteration reaches equilibria that
    are stable in continuous time although the plain iteration is not. A sample that is done no longer moves, whatever
    the rest of its batch does.

    Not valid where only the trajectory is wanted, or for networks that oscillate: those end as `not_settled`.

    Attributes:
        tol: the residual max_i |mu_i| to reach; by default 1e-5 in float32 and 1e-9 in float64.
        max_iterations: when to give up.
        check_stability: whether to look at the Jacobian's eigenvalues too (dense: up to about a thousand neurons).
    """

    traceable: ClassVar[bool] = True
    tol: Float[Array, ""] | None = eqx.field(converter=as_scalar, default=None)
    max_iterations: Int[Array, ""] = eqx.field(converter=lambda n: jnp.asarray(n, jnp.int32), default=2000)
    check_stability: bool = eqx.field(static=True, default=False)

    def settle(
        self,
        field: AbstractVectorField,
        x: ArrayLike,
        nudge: AbstractNudge | None = None,
        start: State | None = None,
        *,
        throw: bool = True,
    ) -> Solution:
        x = checked_data("x", x, field.n_inputs, field.dtype)
        solution = _settle(self, field, x, nudge, field.initial_state(x.shape[0]) if start is None else start)
        if throw:
            raise_unless_converged("free" if nudge is None else "nudged", solution.verdict)
        return solution

    def phases(
        self, field: AbstractVectorField, x: ArrayLike, nudges: Sequence[AbstractNudge], *, throw: bool = True
    ) -> tuple[Solution, tuple[Solution, ...]]:
        return settle_in_turn(self, field, x, nudges, throw)

    def relax(self, velocity: Callable[[State], State], start: State, time_constants: PyTree) -> Solution:
        del time_constants  # they move no equilibrium
        tol = default_tolerance(self.tol, jax.tree.leaves(start)[0].dtype)
        last = _iterate(self, velocity, lambda state: state, lambda _, mu: speed_of(mu), start, tol)
        residual, verdict = judge_unbounded(last.state, last.mu, tol)
        return Solution(last.state, residual, verdict, steps=last.iterations, evaluations=last.iterations + 1)


class _Iterate(eqx.Module):
    state: State
    mu: State
    residual: Float[Array, " batch"]
    damping: Float[Array, " batch"]
    done: Array
    iterations: Int[Array, " batch"]


@eqx.filter_jit
def _settle(
    substrate: Equilibrium, field: AbstractVectorField, x: Array, nudge: AbstractNudge | None, start: State
) -> Solution:
    drive = field.drive(x)
    velocity = nudged(field, drive, nudge)
    tol = default_tolerance(substrate.tol, field.dtype)
    last = _iterate(
        substrate,
        velocity,
        lambda state: project(field, state),
        lambda state, mu: residual_of(field, state, mu),
        as_its_velocity(velocity, start),
        tol,
    )
    state, residual, verdict = judge(field, drive, nudge, last.state, tol, substrate.check_stability)
    return Solution(state, residual, verdict, steps=last.iterations, evaluations=last.iterations + 1)


def _iterate(
    substrate: Equilibrium,
    velocity: Callable[[State], State],
    projection: Callable[[State], State],
    residual_at: Callable[[State, State], Array],
    start: State,
    tol: Array,
) -> _Iterate:
    """The damped iteration from `start` until every sample is at rest, has diverged, or has no iterations left."""
    noise = 100 * jnp.finfo(tol.dtype).eps  # below this a growing residual is rounding, not divergence

    def columns(values: Array, leaf: Array) -> Array:
        return values.reshape(-1, *[1] * (leaf.ndim - 1))

    def window(it: _Iterate) -> _Iterate:
        def iteration(_: Array, carry: tuple[State, State]) -> tuple[State, State]:
            state, mu = carry
            moved = projection(jax.tree.map(lambda s, m: s + columns(it.damping, s) * m, state, mu))
            state = jax.tree.map(lambda s, new: jnp.where(columns(it.done, s), s, new), state, moved)
            return state, velocity(state)

        state, mu = jax.lax.fori_loop(0, _WINDOW, iteration, (it.state, it.mu))
        residual = residual_at(state, mu)
        # Standing still counts as growing: a plain iteration can lock into a cycle that the ODE does not have.
        grew = (residual > 0.999 * it.residual) & (residual > noise)
        return _Iterate(
            state=state,
            mu=mu,
            residual=residual,
            damping=jnp.where(grew, jnp.maximum(it.damping / 2, _LEAST_DAMPING), jnp.minimum(1.2 * it.damping, 1.0)),
            done=(residual <= tol) | has_diverged(state),
            iterations=it.iterations + jnp.where(it.done, 0, _WINDOW),
        )

    def going_on(it: _Iterate) -> Array:
        return jnp.any(~it.done & (it.iterations < substrate.max_iterations))

    start = projection(start)
    mu = velocity(start)
    residual = residual_at(start, mu)
    batch = residual.shape[0]
    first = _Iterate(
        state=start,
        mu=mu,
        residual=residual,
        damping=jnp.ones(batch, tol.dtype),
        done=residual <= tol,
        iterations=jnp.zeros(batch, jnp.int32),
    )
    return jax.lax.while_loop(going_on, window, first)
