"""Dyadic equilibrium propagation: two copies of every neuron, and no bias of a finite beta."""

import dataclasses
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .._arrays import checked_pair
from ..costs import AbstractCost, Quadratic
from ..substrates.base import AbstractSubstrate
from ..substrates.equilibrium import Equilibrium
from ..substrates.nudging import checked_beta
from ..substrates.solution import Solution, raise_unless_converged
from ..vector_fields.base import AbstractVectorField, State, active_set
from .base import AbstractLearningRule, Estimate, first_failure, mean_gradient, refuse_circuit


def _finite(beta: ArrayLike) -> Array:
    return checked_beta(beta, "Dyadic EP", lambda _: True, "of any size and sign")


class DyadicEqProp(AbstractLearningRule):
    r"""Dyadic equilibrium propagation: the saddle of $d^\top\mu(m) + \beta C(m)$ by two copies u and v of the network.

    $$m = \tfrac12(u + v),\quad d = u - v, \qquad \tau\dot m = \mu(m), \quad
      \tau\dot d = \Big(\frac{\partial\mu}{\partial s}(m)\Big)^{\!\top} d + \beta\frac{\partial C}{\partial s}(m)$$

    The mean of the copies stays at the free equilibrium for ANY beta, and their difference settles at
    $d = -\beta J^{-\top}\,\partial C/\partial s$, so $(\partial\mu/\partial\theta)^\top d/\beta = dJ/d\theta$ exactly,
    whatever the weights: all that is left is the tolerance of the phases, over beta. In u and v a force on the
    difference acts half on the one copy and half, reversed, on the other.

    For projected dynamics, neurons held at a bound in the free phase stay there and have d = 0.

    Costs one free phase and one phase of twice the neurons, with one product with J^T a step. Local in the two copies,
    with a transposed copy of the synapses for the difference; no simulated circuit has it yet.
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

    def estimate(self, field: AbstractVectorField, x: ArrayLike, y: ArrayLike, *, throw: bool = True) -> Estimate:
        refuse_circuit("Dyadic EP", self.substrate, "its second phase has two copies of every neuron, joined by J^T")
        x, y = checked_pair(x, y, (field.n_inputs, field.n_outputs), field.dtype)
        free = self.substrate.settle(field, x, throw=throw)
        estimate = _estimate(self, field, x, y, free)
        if throw:
            raise_unless_converged("nudged", estimate.verdict)
        return estimate


@eqx.filter_jit
def _estimate(rule: DyadicEqProp, field: AbstractVectorField, x: Array, y: Array, free: Solution) -> Estimate:
    taus = field.time_constants()
    dyad = rule.substrate.relax(_velocity(rule, field, x, y, free), (free.state, free.state), (taus, taus))
    u, v = dyad.state
    mean = jax.tree.map(lambda a, b: 0.5 * (a + b), u, v)
    # d/beta estimates dJ/dtheta; a displacement estimates its opposite.
    displacement = jax.tree.map(lambda a, b: (b - a) / rule.beta.astype(a.dtype), u, v)
    verdict = first_failure(free, dyad)
    return Estimate(
        gradient=mean_gradient(field, rule.cost, x, mean, displacement, verdict),
        cost=rule.cost(field.output(free.state), y),
        verdict=verdict,
        free=free,
        nudged=(dataclasses.replace(dyad, state=u), dataclasses.replace(dyad, state=v)),
    )


def _velocity(
    rule: DyadicEqProp, field: AbstractVectorField, x: Array, y: Array, free: Solution
) -> Callable[[tuple[State, State]], tuple[State, State]]:
    """tau du/dt and tau dv/dt, among the neurons that move at the free equilibrium."""
    drive = field.drive(x)
    moving = active_set(field, free.state, field(free.state, drive))
    # A sample without a free equilibrium is not pulled: it has nothing to settle at.
    beta = jnp.where(free.converged, rule.beta.astype(field.dtype), 0)[:, None]

    def velocity(copies: tuple[State, State]) -> tuple[State, State]:
        mean = jax.tree.map(lambda u, v: 0.5 * (u + v), *copies)
        difference = jax.tree.map(lambda p, u, v: p * (u - v), moving, *copies)
        mu, transpose = jax.vjp(lambda s: field(s, drive), mean)
        pull = field.embed(beta * rule.cost.gradient(field.output(mean), y))
        force = jax.tree.map(jnp.add, transpose(difference)[0], pull)
        return (
            jax.tree.map(lambda p, m, f: p * (m + 0.5 * f), moving, mu, force),
            jax.tree.map(lambda p, m, f: p * (m - 0.5 * f), moving, mu, force),
        )

    return velocity
