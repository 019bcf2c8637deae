"""Settling by fixed-point iteration: the equilibrium alone, without the way there."""

import functools
from collections.abc import Callable, Sequence
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int, PyTree

from .._arrays import as_scalar, checked_data
from ..vector_fields.base import AbstractVectorField, State, project
from .base import AbstractSubstrate, resting, settle_together
from .nudging import AbstractNudge, as_its_velocity, nudged
from .solution import (
    FAR,
    Solution,
    default_tolerance,
    judge_unbounded,
    raise_unless_converged,
    residual_of,
    speed_of,
    verdict_of,
)

_WINDOW = 3  # sweeps between two decisions about the damping: over a single one the residual may rise and be right
_LEAST_DAMPING = 2.0**-6  # below this a network that grows would only seem to stand still


class Equilibrium(AbstractSubstrate):
    r"""Damped sweeps to a residual tolerance, batched, each sample with its own damping and its own end.

    $$s \leftarrow \Pi\,\Big[\,s + h\,\frac{\mu^\beta(s)}{1 + \kappa}\,\Big]$$

    with the projection on the field's bounds, kappa what the nudge adds to a neuron's leak (beta at the outputs, with
    the quadratic cost), and h = 1 at first. Layers of even and of odd number take turns: with h = 1 each half is solved
    exactly, given the other, and a sweep costs one evaluation of the field (block Gauss-Seidel in the red-black order
    of `AbstractVectorField.colours`). A graph moves all neurons at once (Picard). A sample's h is halved, at most to
    1/64, whenever its residual did not fall over a few sweeps, and recovers while it does, so equilibria that are
    stable in continuous time are reached although the plain iteration leaves them. A sample that is done no longer
    moves, whatever the rest of its batch does. Nudged phases of the same kind are settled as one batch.

    Not valid where only the trajectory is wanted, or for networks that oscillate: those end as `not_settled`.

    Attributes:
        tol: the residual max_i |mu_i| to reach; by default 1e-5 in float32 and 1e-9 in float64.
        max_iterations: after how many sweeps to give up.
        start: where free phases start, a state with the batch's size; the state at rest, s = 0, by default.
        check_stability: whether to look at the Jacobian's eigenvalues too (dense: up to about a thousand neurons).
    """

    traceable: ClassVar[bool] = True
    tol: Float[Array, ""] | None = eqx.field(converter=as_scalar, default=None)
    max_iterations: Int[Array, ""] = eqx.field(converter=lambda n: jnp.asarray(n, jnp.int32), default=2000)
    start: State | None = None
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
        solution = _settle_from_inputs(self, field, x, nudge, start)
        if throw:
            raise_unless_converged("free" if nudge is None else "nudged", solution.verdict)
        return solution

    def phases(
        self, field: AbstractVectorField, x: ArrayLike, nudges: Sequence[AbstractNudge], *, throw: bool = True
    ) -> tuple[Solution, tuple[Solution, ...]]:
        return settle_together(functools.partial(self._settle, field), field, x, nudges, throw)

    def _settle(
        self, field: AbstractVectorField, drive: State, nudge: AbstractNudge | None, start: State | None
    ) -> Solution:
        return _settle(self, field, drive, nudge, self.start if start is None else start)

    def relax(self, velocity: Callable[[State], State], start: State, time_constants: PyTree) -> Solution:
        del time_constants  # they move no equilibrium
        tol = default_tolerance(self.tol, jax.tree.leaves(start)[0].dtype)
        colours = (0,) * len(jax.tree.leaves(start))
        last = _sweep_to_rest(
            self, velocity, colours, _ones, lambda state: state, lambda _, mu: speed_of(mu), start, tol
        )
        residual, verdict = judge_unbounded(last.state, last.mu, tol)
        return Solution(last.state, residual, verdict, steps=last.sweeps, evaluations=last.sweeps + 1)


class _Iterate(eqx.Module):
    """Where the sweeps are; `before` is the residual when the damping was last decided upon."""

    state: State
    mu: State
    residual: Float[Array, " batch"]
    before: Float[Array, " batch"]
    damping: Float[Array, " batch"]
    sweeps: Int[Array, " batch"]


@eqx.filter_jit
def _settle(
    substrate: Equilibrium, field: AbstractVectorField, drive: State, nudge: AbstractNudge | None, start: State | None
) -> Solution:
    start = resting(field, drive) if start is None else start
    velocity = nudged(field, drive, nudge)
    tol = default_tolerance(substrate.tol, field.dtype)

    def pace(state: State) -> PyTree:
        """1 / (1 + kappa): the step that brings a neuron to rest while all others are held."""
        if nudge is None:
            return _ones(state)
        more = 1 / (1 + nudge.stiffness(field, state)) - jnp.ones_like(field.output(state))
        return jax.tree.map(lambda leaf, s: (1 + leaf).astype(s.dtype), field.embed(more), state)

    last = _sweep_to_rest(
        substrate,
        velocity,
        field.colours,
        pace,
        lambda state: project(field, state),
        lambda state, mu: residual_of(field, state, mu),
        as_its_velocity(velocity, start),
        tol,
    )
    verdict = verdict_of(field, drive, nudge, last.state, last.residual, tol, substrate.check_stability)
    return Solution(last.state, last.residual, verdict, steps=last.sweeps, evaluations=last.sweeps + 1)


@eqx.filter_jit
def _settle_from_inputs(
    substrate: Equilibrium, field: AbstractVectorField, x: Array, nudge: AbstractNudge | None, start: State | None
) -> Solution:
    return substrate._settle(field, field.drive(x), nudge, start)


def _sweep_to_rest(
    substrate: Equilibrium,
    velocity: Callable[[State], State],
    colours: tuple[int, ...],
    pace: Callable[[State], PyTree],
    projection: Callable[[State], State],
    residual_at: Callable[[State, State], Array],
    start: State,
    tol: Array,
) -> _Iterate:
    """Sweeps from `start` until every sample is at rest, has diverged, or has no sweeps left."""
    noise = 100 * jnp.finfo(tol.dtype).eps  # below this a growing residual is rounding, not divergence

    def moves(it: _Iterate) -> Array:
        return (it.residual > tol) & (it.residual < FAR) & (it.sweeps < substrate.max_iterations)

    def sweep(it: _Iterate) -> _Iterate:
        moving = moves(it)
        state, mu = _sweep(velocity, colours, pace, projection, jnp.where(moving, it.damping, 0), it.state, it.mu)
        residual = residual_at(state, mu)
        # Standing still counts as growing: a plain iteration can lock into a cycle that the ODE does not have.
        grew = (residual > 0.999 * it.before) & (residual > noise)
        damping = jnp.where(grew, jnp.maximum(it.damping / 2, _LEAST_DAMPING), jnp.minimum(1.2 * it.damping, 1.0))
        due = (it.sweeps + 1) % _WINDOW == 0
        return _Iterate(
            state=state,
            mu=mu,
            residual=residual,
            before=jnp.where(due, residual, it.before),
            damping=jnp.where(due, damping, it.damping),
            sweeps=it.sweeps + moving,
        )

    start = projection(start)
    mu = velocity(start)
    residual = residual_at(start, mu)
    first = _Iterate(start, mu, residual, residual, jnp.ones_like(residual), jnp.zeros(residual.shape, jnp.int32))
    return jax.lax.while_loop(lambda it: jnp.any(moves(it)), sweep, first)


def _sweep(
    velocity: Callable[[State], State],
    colours: tuple[int, ...],
    pace: Callable[[State], PyTree],
    projection: Callable[[State], State],
    damping: Float[Array, " batch"],
    state: State,
    mu: State,
) -> tuple[State, State]:
    """From the states and their mu to the next. The compiler drops the half of mu that is not read."""

    def pick(of_colour_0: State, of_colour_1: State) -> State:
        leaves = zip(colours, jax.tree.leaves(of_colour_0), jax.tree.leaves(of_colour_1), strict=True)
        return jax.tree.unflatten(jax.tree.structure(of_colour_0), [b if colour else a for colour, a, b in leaves])

    def steps(state: State) -> PyTree:
        return jax.tree.map(lambda s, p: _column(damping, s) * p, state, pace(state))

    def moved(state: State, mu: State) -> State:
        return projection(jax.tree.map(lambda s, h, m: s + h * m, state, steps(state), mu))

    halfway = pick(moved(state, mu), state)
    mu = velocity(halfway)
    # Of its own neurons a leaf of colour 1 feels the leak alone, so its mu after the move needs no evaluation. Where
    # clipping cut the move short what is left points outwards, here as there, and does not count.
    rest = jax.tree.map(lambda h, m: (1 - h) * m, steps(halfway), mu)
    state = pick(halfway, moved(halfway, mu))
    return state, pick(velocity(state), rest)


def _ones(state: State) -> PyTree:
    return jax.tree.map(lambda _: 1.0, state)


def _column(values: Array, leaf: Array) -> Array:
    """One value a sample, against a leaf of any shape."""
    return values.reshape(-1, *[1] * (leaf.ndim - 1))
