"""Dyadic equilibrium propagation: two copies of every neuron, and no bias of a finite beta."""

import dataclasses
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PyTree

from .._arrays import per_sample
from ..costs import AbstractCost, Quadratic
from ..substrates.base import AbstractSubstrate
from ..substrates.dynamics import AbstractSystem
from ..substrates.equilibrium import Equilibrium
from ..substrates.nudging import checked_beta
from ..substrates.resolution import read_twice, resolved, rounding_of
from ..substrates.solution import Solution
from ..vector_fields.base import AbstractVectorField, State, active_set
from .base import AbstractAuxiliaryRule, Reading, first_failure, summed_update


def _finite(beta: ArrayLike) -> Array:
    return checked_beta(beta, "Dyadic EP", lambda _: True, "of any size and sign")


class DyadicEqProp(AbstractAuxiliaryRule):
    r"""Dyadic equilibrium propagation: the saddle of $d^\top\mu(m) + \beta C(m)$ by two copies u and v of the network.

    $$m = \tfrac12(u + v),\quad d = u - v, \qquad \tau\dot m = \mu(m), \quad
      \tau\dot d = \Big(\frac{\partial\mu}{\partial s}(m)\Big)^{\!\top} d + \beta\frac{\partial C}{\partial s}(m)$$

    The mean of the copies stays at the free equilibrium for ANY beta, and their difference settles at
    $d = -\beta J^{-\top}\,\partial C/\partial s$, so $(\partial\mu/\partial\theta)^\top d/\beta = dJ/d\theta$ exactly,
    whatever the weights: all that is left is the tolerance of the phases, over beta. In u and v a force on the
    difference acts half on the one copy and half, reversed, on the other.

    For projected dynamics, neurons held at a bound in the free phase stay there and have d = 0.

    Costs one free phase and one phase of twice the neurons, with one product with J^T a step. Local in the two copies,
    with a transposed copy of the synapses for the difference; the behavioural circuit settles them.
    Source: Scurria, Vanden Abeele, Mognetti & Massar, arXiv 2602.03670.

    `Estimate.nudged` holds the settled copies, u and then v.

    Attributes:
        beta: the influence parameter, any finite number but 0.
        substrate: where the phases run; `Equilibrium()` by default.
        cost: C; `Quadratic()` by default.
    """

    beta: Float[Array, ""] = eqx.field(converter=_finite, default=0.5)
    substrate: AbstractSubstrate = eqx.field(default_factory=Equilibrium)
    cost: AbstractCost = eqx.field(default_factory=Quadratic)

    def _auxiliary(
        self, field: AbstractVectorField, x: Array, y: Array, free: Solution
    ) -> tuple[AbstractSystem, State]:
        drive = field.drive(x)
        moving = active_set(field, free.state, field(free.state, drive))
        # A sample without a free equilibrium is not pulled: it has nothing to settle at.
        beta = jnp.where(free.converged, self.beta.astype(field.dtype), 0)
        return _Dyad(field, self.cost, drive, free.state, moving, beta, y), (free.state, free.state)

    def _read(
        self, field: AbstractVectorField, x: Array, y: Array, free: Solution, nudged: tuple[Solution, ...]
    ) -> Reading:
        (dyad,) = nudged
        u, v = dyad.state
        mean = jax.tree.map(lambda a, b: 0.5 * (a + b), u, v)

        def read(copies: tuple[State, State]) -> State:
            # d/beta estimates dJ/dtheta; a displacement estimates its opposite.
            return jax.tree.map(lambda a, b: (b - a) / self.beta.astype(a.dtype), *copies)

        displacement, ahead = read_twice(read, dyad)
        verdict = resolved(first_failure(free, dyad), displacement, ahead, rounding_of(u) / jnp.abs(self.beta))
        copies = tuple(dataclasses.replace(dyad, state=state, correction=None) for state in (u, v))
        return Reading(summed_update(field, x, mean, displacement, verdict), verdict, copies)


class _Dyad(AbstractSystem):
    """tau du/dt and tau dv/dt; neurons that cannot move at the free equilibrium are kept there."""

    field: AbstractVectorField
    cost: AbstractCost
    drive: State
    free: State
    moving: State
    beta: Float[Array, " batch"]
    target: Float[Array, "batch outputs"]

    def time_constants(self) -> PyTree:
        return (self.field.time_constants(),) * 2

    def velocity(self) -> Callable[[tuple[State, State]], tuple[State, State]]:
        mu = self.field.velocity(self.drive)

        def velocity(copies: tuple[State, State]) -> tuple[State, State]:
            mean = jax.tree.map(lambda u, v: 0.5 * (u + v), *copies)
            difference = jax.tree.map(lambda p, u, v: p * (u - v), self.moving, *copies)
            at_mean, transpose = jax.vjp(mu, mean)
            slope = self.cost.slope(self.field, mean, self.target)
            force = jax.tree.map(lambda jtd, c: jtd + per_sample(self.beta, c) * c, transpose(difference)[0], slope)

            def moved(copy: State, share: float) -> State:
                return jax.tree.map(
                    lambda p, m, f, s, s0: p * (m + share * f) + (1 - p) * (s0 - s),
                    *(self.moving, at_mean, force, copy, self.free),
                )

            return moved(copies[0], 0.5), moved(copies[1], -0.5)

        return velocity
