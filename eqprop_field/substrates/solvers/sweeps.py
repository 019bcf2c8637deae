"""Damped sweeps: the iteration for leaky integrators, each sample with a damping and an end of its own."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ..._arrays import per_sample
from ...vector_fields.base import State
from ..dynamics import AbstractSystem
from ..solution import has_diverged, residual_of
from .base import AbstractIteration, Iterate

_WINDOW = 3  # sweeps between two decisions about the damping: over a single one the residual may rise and be right
_LEAST_DAMPING = 2.0**-6  # of the first: below this a network that grows would only seem to stand still


class Sweeps(AbstractIteration):
    r"""Damped sweeps: a Picard iteration that layers take in turns.

    $$s \leftarrow \Pi\,\Big[\,s + h\,\frac{\mu^\beta(s)}{1 + \kappa}\,\Big]$$

    with the projection on the field's bounds, kappa what the nudge adds to a neuron's leak (beta at the outputs, with
    the quadratic cost), and h = 1 at first, or 4 / |J| where that is less and the field no leaky integrator, whose leak
    is 1. Layers of even and of odd number take turns: with h = 1 each half is solved exactly, given the other, and a
    sweep costs one evaluation of the field (block Gauss-Seidel in the red-black order of
    `AbstractVectorField.colours`). A graph moves all neurons at once (Picard). A sample's h is halved, at most to 1/64
    of that, whenever its residual did not fall over a few sweeps, and recovers while it does, so equilibria that are
    stable in continuous time are reached although the plain iteration leaves them. A sample that is done no longer
    moves, whatever the rest of its batch does.

    Attributes:
        max_iterations: after how many sweeps to give up.
    """

    max_iterations: Int[Array, ""] = eqx.field(converter=lambda n: jnp.asarray(n, jnp.int32), default=2000)

    def run(self, system: AbstractSystem, start: State, tol: Float[Array, ""]) -> Iterate:
        noise = 100 * jnp.finfo(tol.dtype).eps  # below this a growing residual is rounding, not divergence
        velocity = system.velocity()

        def moves(state: State, residual: Array, iterations: Array) -> Array:
            return (residual > tol) & ~has_diverged(state) & (iterations < self.max_iterations)

        def sweep(it: _Damped) -> _Damped:
            state, mu = _sweep(system, velocity, jnp.where(it.moving, it.damping, 0), it.state, it.velocity)
            residual, iterations = residual_of(system, state, mu), it.iterations + it.moving
            # Standing still counts as growing: a plain iteration can lock into a cycle that the ODE does not have.
            grew = (residual > 0.999 * it.before) & (residual > noise)
            lower, higher = jnp.maximum(it.damping / 2, _LEAST_DAMPING * most), jnp.minimum(1.2 * it.damping, 1.0)
            due = (it.iterations + 1) % _WINDOW == 0
            return _Damped(
                state=state,
                velocity=mu,
                residual=residual,
                iterations=iterations,
                moving=moves(state, residual, iterations),
                before=jnp.where(due, residual, it.before),
                damping=jnp.where(due, jnp.where(grew, lower, higher), it.damping),
            )

        start = system.project(start)
        mu = velocity(start)
        residual = residual_of(system, start, mu)
        none, most = jnp.zeros(residual.shape, jnp.int32), system.first_damping(start)
        first = _Damped(start, mu, residual, none, moves(start, residual, none), before=residual, damping=most)
        return jax.lax.while_loop(lambda it: jnp.any(it.moving), sweep, first)


class _Damped(Iterate):
    """An iterate, which samples go on, and their damping; `before` is the residual when that was last decided upon."""

    moving: Bool[Array, " batch"]
    before: Float[Array, " batch"]
    damping: Float[Array, " batch"]


def _sweep(
    system: AbstractSystem,
    velocity: Callable[[State], State],
    damping: Float[Array, " batch"],
    state: State,
    mu: State,
) -> tuple[State, State]:
    """From the states and their mu to the next. The compiler drops the half of mu that is not read."""
    colours = system.colours(state)

    def pick(of_colour_0: State, of_colour_1: State) -> State:
        leaves = zip(colours, jax.tree.leaves(of_colour_0), jax.tree.leaves(of_colour_1), strict=True)
        return jax.tree.unflatten(jax.tree.structure(of_colour_0), [b if colour else a for colour, a, b in leaves])

    def steps(state: State) -> State:
        return jax.tree.map(lambda s, p: per_sample(damping, s) * p, state, system.step_sizes(state))

    def moved(state: State, mu: State) -> State:
        return system.project(jax.tree.map(lambda s, h, m: s + h * m, state, steps(state), mu))

    halfway = pick(moved(state, mu), state)
    mu = velocity(halfway)
    # Of its own neurons a leaf of colour 1 feels the leak alone, so its mu after the move needs no evaluation. Where
    # clipping cut the move short what is left points outwards, here as there, and does not count.
    rest = jax.tree.map(lambda h, m: (1 - h) * m, steps(halfway), mu)
    state = pick(halfway, moved(halfway, mu))
    return state, pick(velocity(state), rest)
