"""Newton's method without a matrix: a root finder for fields of any scale, a batch at a time."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..._arrays import per_sample
from ...vector_fields.base import State, flatten_state, unflatten_state
from ..dynamics import AbstractSystem
from ..implicit import Linearised
from ..krylov import minimal_residual
from ..solution import has_diverged, residual_of
from .base import AbstractIteration, Iterate
from .sweeps import Sweeps

_CYCLE, _PRODUCTS = 32, 256
_LINEAR = 1e-4  # of the right side: how much of it GMRES may leave over
_HALVINGS, _ENOUGH = 12, 1e-4


class NewtonKrylov(AbstractIteration):
    r"""Newton's method on $\mu^\beta(s) = 0$ among the neurons that can move, by products with the Jacobian alone.

    $$s \leftarrow \Pi\,[\,s + \alpha\,\delta\,], \qquad J\,\delta = -\mu^\beta(s)$$

    J delta = -mu is solved by restarted GMRES; alpha is 1, halved until the length of mu among the neurons that can
    move falls. A few damped sweeps come first, and count where they come nearer. The scale of mu does not matter, nor
    does rotation: a pair of neurons with large weights of opposite signs comes to rest in time, and sweeps do not.

    It knows nothing of time: it may end on an equilibrium that is unstable, which `Equilibrium.check_stability` tells,
    or on another one than the dynamics come to. Sources: Knoll & Keyes 2004; Dembo, Eisenstat & Steihaug 1982.

    Attributes:
        max_iterations: after how many Newton steps to give up.
        sweeps: how many damped sweeps come first.
    """

    max_iterations: Int[Array, ""] = eqx.field(converter=lambda n: jnp.asarray(n, jnp.int32), default=50)
    sweeps: Int[Array, ""] = eqx.field(converter=lambda n: jnp.asarray(n, jnp.int32), default=6)

    @property
    def attracted(self) -> bool:
        return False

    def run(self, system: AbstractSystem, start: State, tol: Float[Array, ""]) -> Iterate:
        velocity = system.velocity()

        def moves(it: Iterate) -> Array:
            return (it.residual > tol) & ~has_diverged(it.state) & (it.iterations < self.max_iterations)

        def newton(it: Iterate) -> Iterate:
            moving = moves(it)
            step = _step(system, it.state, it.velocity)
            state, mu = _shortened(system, velocity, it, jax.tree.map(lambda d: per_sample(moving, d) * d, step))
            return Iterate(state, mu, residual_of(system, state, mu), it.iterations + moving)

        first = _nearer(system, velocity, system.project(start), Sweeps(self.sweeps).run(system, start, tol))
        return jax.lax.while_loop(lambda it: jnp.any(moves(it)), newton, first)


def _nearer(system: AbstractSystem, velocity: Callable[[State], State], start: State, swept: Iterate) -> Iterate:
    """Each sample where its residual is smaller: at the start, or after the sweeps."""
    mu = velocity(start)
    residual = residual_of(system, start, mu)
    better = swept.residual < residual
    pick = lambda a, b: jax.tree.map(lambda x, y: jnp.where(per_sample(better, x), x, y), a, b)  # noqa: E731
    state, mu = pick((swept.state, swept.velocity), (start, mu))
    return Iterate(state, mu, jnp.where(better, swept.residual, residual), jnp.zeros(residual.shape, jnp.int32))


def _step(system: AbstractSystem, state: State, mu: State) -> State:
    """delta, 0 for neurons that cannot move."""
    moving = system.active(state, mu)
    linearised = Linearised(system, state, moving)
    product = lambda flat: flatten_state(linearised.product(unflatten_state(state, flat)))  # noqa: E731
    right_side = flatten_state(jax.tree.map(lambda p, m: -p * m, moving, mu))
    step, _ = minimal_residual(product, right_side, tol=_LINEAR, most=_PRODUCTS, cycle=_CYCLE)
    return unflatten_state(state, step)


def _shortened(
    system: AbstractSystem, velocity: Callable[[State], State], it: Iterate, step: State
) -> tuple[State, State]:
    """The state after so much of the step that mu becomes shorter, and mu there; each sample by itself."""

    def length(state: State, mu: State) -> Float[Array, " batch"]:
        return jnp.linalg.norm(flatten_state(jax.tree.map(jnp.multiply, system.active(state, mu), mu)), axis=1)

    before = length(it.state, it.velocity)

    def ahead(alpha: Array) -> tuple[State, State]:
        state = system.project(jax.tree.map(lambda s, d: s + per_sample(alpha, d) * d, it.state, step))
        return state, velocity(state)

    def too_long(alpha: Array, state: State, mu: State) -> Array:
        return ~(length(state, mu) <= (1 - _ENOUGH * alpha) * before) & (alpha > 0.5**_HALVINGS)

    def shorter(carry: tuple[Array, State, State]) -> tuple[Array, State, State]:
        alpha = jnp.where(too_long(*carry), carry[0] / 2, carry[0])
        return alpha, *ahead(alpha)

    whole = jnp.ones_like(it.residual)
    _, state, mu = jax.lax.while_loop(lambda c: jnp.any(too_long(*c)), shorter, (whole, *ahead(whole)))
    return state, mu
