"""Equilibrium propagation that is exact for asymmetric weights."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Inexact

from .._arrays import checked_pair
from ..costs import AbstractCost, Quadratic
from ..substrates.base import AbstractSubstrate
from ..substrates.equilibrium import Equilibrium
from ..substrates.nudging import AbstractNudge, Nudging
from ..vector_fields.base import AbstractVectorField, State, jacobian_products
from .base import AbstractLearningRule, Estimate, compare_phases


class AEP(AbstractLearningRule):
    r"""Asymmetric equilibrium propagation: the nudged phase follows the transposed Jacobian.

    $$\tau\frac{ds}{dt} = \mu(s) - \beta\frac{\partial C}{\partial s} - (J_0 - J_0^\top)(s - s^0),
      \qquad J_0 = \frac{\partial\mu}{\partial s}(s^0)$$

    To first order the deviation solves $J_0^\top (s^\beta - s^0) = \beta\,\partial C/\partial s$, so that
    $(\partial\mu/\partial\theta)^\top (s^\beta - s^0)/\beta$ tends to $-dJ/d\theta$ WHATEVER the symmetry of the
    weights, with an error O(beta) for one-sided and O(beta^2) for symmetric nudging. J_0 and its transpose are applied
    without a matrix. A nudged phase is stable where the free one is: both are governed by the same eigenvalues.

    For projected dynamics J_0 is taken among the neurons that can move at s^0: those held at a bound stay there for a
    small beta and have no part in the gradient (see `ImplicitGradient`); a beta that moves neurons onto a bound or
    off it has an error O(1).

    Costs as much as EqProp in phases, three times as much in evaluations of the field. Local with a second, transposed
    copy of the synapses that acts on the deviation from the stored free state, which the behavioural circuit builds.
    Source: Scurria, Vanden Abeele, Mognetti & Massar, arXiv 2602.03670.

    Attributes:
        nudging: which betas, and how the derivative is read; symmetric with beta = 0.1 by default.
        substrate: where the phases run; `Equilibrium()` by default.
        cost: C; `Quadratic()` by default.
    """

    nudging: Nudging = eqx.field(default_factory=lambda: Nudging.symmetric(0.1))
    substrate: AbstractSubstrate = eqx.field(default_factory=Equilibrium)
    cost: AbstractCost = eqx.field(default_factory=Quadratic)

    def estimate(self, field: AbstractVectorField, x: ArrayLike, y: ArrayLike, *, throw: bool = True) -> Estimate:
        self.nudging.check(field)
        x, y = checked_pair(x, y, (field.n_inputs, field.n_outputs), field.dtype)
        nudges = [TransposingNudge(nudge) for nudge in self.nudging.nudges(self.cost, y)]
        free, nudged = self.substrate.phases(field, x, nudges, throw=throw)
        return compare_phases(self.nudging, self.cost, field, x, y, free, nudged)


class TransposingNudge(AbstractNudge):
    r"""A nudge, and $-(J_0 - J_0^\top)(s - s^0)$, which turns the Jacobian at the free state into its transpose.

    Attributes:
        nudge: what pulls the outputs.
        free: s^0, the free equilibrium; None until the free phase has ended (`anchored`).
        drive: what the clamped input does, `field.drive(x)`.
    """

    nudge: AbstractNudge
    free: State | None = None
    drive: State | None = None

    def anchored(self, field: AbstractVectorField, x: Array, free: State) -> "TransposingNudge":
        return TransposingNudge(self.nudge.anchored(field, x, free), free, field.drive(x))

    def force(self, field: AbstractVectorField, state: State) -> State:
        forward, backward = jacobian_products(field, self.drive, self.free)
        deviation = jax.tree.map(jnp.subtract, state, self.free)
        return jax.tree.map(
            lambda pull, jv, jtv: pull - jv + jtv,
            self.nudge.force(field, state),
            forward(deviation),
            backward(deviation),
        )

    def stiffness(self, field: AbstractVectorField, state: State) -> Inexact[Array, "batch outputs"] | float:
        return self.nudge.stiffness(field, state)  # J_0 and its transpose have the same diagonal
