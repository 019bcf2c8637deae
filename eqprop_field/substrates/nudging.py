"""What a nudge adds to the vector field, and how nudged states are combined into a derivative by beta."""

import abc
import math
from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Inexact

from .._arrays import as_scalar, is_concrete
from ..costs import AbstractCost
from ..vector_fields.base import AbstractVectorField, State


class AbstractNudge(eqx.Module):
    """What is added to mu in a nudged phase."""

    @abc.abstractmethod
    def force(self, field: AbstractVectorField, state: State) -> State:
        """The addition to mu at this state, with the state's structure."""


class CostNudge(AbstractNudge):
    r"""The output neurons pulled towards a lower cost: $\mu^\beta = \mu - \beta\,\partial C/\partial s$.

    Source: Scellier et al. 2018, equation 13; with the quadratic cost it is $+\beta (y - s_0)$, equation 15.

    Attributes:
        beta: the influence parameter, ().
        target: y, (batch, outputs).
        cost: C.
    """

    beta: Inexact[Array, ""] = eqx.field(converter=as_scalar)
    target: Float[Array, "batch outputs"]
    cost: AbstractCost

    def force(self, field: AbstractVectorField, state: State) -> State:
        return field.embed(-self.beta * self.cost.gradient(field.output(state), self.target))


def nudged(field: AbstractVectorField, drive: State, nudge: AbstractNudge | None) -> Callable[[State], State]:
    """mu^beta as a function of the state alone (mu itself without a nudge)."""
    if nudge is None:
        return lambda state: field(state, drive)
    return lambda state: jax.tree.map(jnp.add, field(state, drive), nudge.force(field, state))


class Nudging(eqx.Module):
    r"""Which influence parameters to settle at, and how to read d s^beta / d beta from the states.

    $$\frac{\partial s^\beta}{\partial \beta}\Big|_0 \approx \sum_k w_k \,(s^{\beta_k} - s^0)$$

    Attributes:
        betas: beta_k, one nudged phase each.
        weights: w_k.
    """

    betas: tuple[Inexact[Array, ""], ...]
    weights: tuple[Inexact[Array, ""], ...]

    @classmethod
    def one_sided(cls, beta: ArrayLike) -> "Nudging":
        """(s^beta - s^0) / beta, with an error O(beta). Source: Scellier et al. 2018, equations 13-19.

        Raises:
            ValueError: for a beta of 0, or of -1 and below, where the output neurons' leak 1 + beta is not positive.
        """
        beta = _checked_beta(beta, "one-sided nudging", lambda b: b > -1, "above -1")
        return cls((beta,), (1 / beta,))

    @classmethod
    def symmetric(cls, beta: ArrayLike) -> "Nudging":
        """(s^beta - s^-beta) / 2 beta, with an error O(beta^2), from two nudged phases.

        Raises:
            ValueError: for a beta of 0, or with |beta| >= 1, where one of the output neurons' leaks 1 +- beta vanishes.
        """
        beta = _checked_beta(beta, "symmetric nudging", lambda b: abs(b) < 1, "between -1 and 1")
        return cls((beta, -beta), (0.5 / beta, -0.5 / beta))

    def nudges(self, cost: AbstractCost, target: Float[Array, "batch outputs"]) -> tuple[CostNudge, ...]:
        """One nudge for each beta."""
        return tuple(CostNudge(beta, target, cost) for beta in self.betas)

    def displacement(self, free: State, nudged_states: Sequence[State]) -> State:
        """The estimate of d s^beta / d beta at beta = 0."""
        return jax.tree.map(
            lambda s0, *s: sum(w * (si - s0) for w, si in zip(self.weights, s, strict=True)), free, *nudged_states
        )


def _checked_beta(beta: ArrayLike, what: str, allowed: Callable[[float], bool], interval: str) -> Array:
    """beta as a scalar array, refused where it is 0, not finite, or outside the interval."""
    scalar = as_scalar(beta)
    if is_concrete(scalar):
        value = float(scalar)
        if not math.isfinite(value) or value == 0 or not allowed(value):
            raise ValueError(f"beta={value:g} has no meaning for {what}: choose a beta {interval}, and not 0")
    return scalar
