"""Contrastive Hebbian learning with weak feedback, which tends to back-propagation."""

import math
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .._arrays import as_scalar, checked_pair, is_concrete
from ..costs import AbstractCost, Quadratic
from ..substrates.base import AbstractSubstrate
from ..substrates.clamping import RateClamp, check_rates
from ..substrates.equilibrium import Equilibrium
from ..substrates.solution import Solution, Verdict
from ..vector_fields.abstract_layered import AbstractLayered
from ..vector_fields.base import AbstractVectorField, State
from ..vector_fields.leaky import AbstractLeakyIntegrator
from ..vector_fields.rates import (
    as_parameters_of,
    firing_rates,
    rates_as_states,
    require_rate_neurons,
)
from .base import AbstractLearningRule, Estimate, mean_gradient, refuse_circuit, worst_verdict


class ContrastiveHebbian(AbstractLearningRule):
    r"""Contrastive Hebbian learning: what fires together with the output clamped, less what fires together without.

    $$\dot V_k = -V_k + \rho(W_k V_{k-1} + \gamma W_{k+1}^\top V_{k+1} + b_k), \qquad
      \Delta W_k = \gamma^{k-L}\,(\hat V_k \hat V_{k-1}^\top - \check V_k \check V_{k-1}^\top)$$

    with V-hat the rates while the output is clamped to y, and V-check those of the free phase; k counts from the
    input, L is the output. As gamma -> 0 the changes of the forward weights and biases tend to back-propagation
    through the feed-forward network with the output error y - V_L (without the output's slope), with an error
    O(gamma). The phases then differ by gamma^(L-1) only: the substrate's tolerance must lie far below that. At
    gamma = 1 it is the plain rule, on a layered network or any symmetric graph: the gradient of the difference of
    both phases' energies, not of a cost. Costs two settles and is local.

    The network must have W_back = gamma W_fwd^T (`LayeredField.with_feedback_gain`); its feedback weights change by
    gamma times the transposed changes of the forward ones, so that equal learning rates keep it so. Where JAX traces
    the weights, a network without it gives `not_defined` samples.
    Source: Xie & Seung 2003, Neural Computation 15:441-454; gamma = 1: Movellan 1990.

    Attributes:
        feedback_gain: gamma, above 0; 1 by default.
        substrate: where the phases run, under JAX; `Equilibrium()` by default.
        cost: what is reported of the free phase, and the penalty on the parameters. The rule itself follows the error
            y - V_0 of the output rates, without a slope, whatever the cost.
    """

    feedback_gain: Float[Array, ""] = eqx.field(converter=as_scalar, default=1.0)
    substrate: AbstractSubstrate = eqx.field(default_factory=Equilibrium)
    cost: AbstractCost = eqx.field(default_factory=Quadratic)

    def __check_init__(self) -> None:
        refuse_circuit(
            "contrastive Hebbian learning",
            self.substrate,
            "its clamped phase fixes output rates, for which there is no netlist",
        )
        if is_concrete(self.feedback_gain) and not 0 < float(self.feedback_gain) < math.inf:
            raise ValueError(f"feedback_gain={float(self.feedback_gain):g}: give a feedback gain above 0")

    def estimate(self, field: AbstractVectorField, x: ArrayLike, y: ArrayLike, *, throw: bool = True) -> Estimate:
        field = require_rate_neurons(field, "contrastive Hebbian learning")
        x, y = checked_pair(x, y, (field.n_inputs, field.n_outputs), field.dtype)
        check_rates("y", y, field.activation)
        _check_tied(field, self.feedback_gain)
        free, clamped = self.substrate.phases(field, x, (RateClamp(y),), throw=throw)
        return _estimate(self, field, x, y, free, clamped)


def _tolerance(field: AbstractVectorField) -> Array:
    """How far rounding may carry the two directions of a synapse apart."""
    return jnp.sqrt(jnp.finfo(field.dtype).eps)


def _check_tied(field: AbstractLeakyIntegrator, gain: Array) -> None:
    error = field.feedback_gain_error(gain)
    if not is_concrete(error) or bool(error <= _tolerance(field)):
        return
    if not isinstance(field, AbstractLayered):
        raise ValueError(
            "without layers contrastive Hebbian learning is defined for symmetric weights and feedback_gain=1: "
            "draw the network with symmetry=1, or use GeneRec"
        )
    raise ValueError(
        f"contrastive Hebbian learning is defined for layered networks with W_back = {float(gain):g} W_fwd^T, and this "
        f"one is a relative {float(error):.2g} off: make it by field.with_feedback_gain({float(gain):g})"
    )


@eqx.filter_jit
def _estimate(
    rule: ContrastiveHebbian,
    field: AbstractLeakyIntegrator,
    x: Array,
    y: Array,
    free: Solution,
    clamped: Sequence[Solution],
) -> Estimate:
    free_rates, clamped_rates = firing_rates(field, free.state), firing_rates(field, clamped[0].state, y)
    verdict = worst_verdict(free, *clamped)
    tied = field.feedback_gain_error(rule.feedback_gain) <= _tolerance(field)
    verdict = jnp.where(tied, verdict, jnp.maximum(verdict, Verdict.not_defined.value))
    # mean_gradient divides by the rows that settled; every sample has two: with the output clamped (+), and free (-).
    state = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), clamped_rates, free_rates)
    weighed = jax.tree.map(lambda a, b: 2 * jnp.concatenate([a, -b]), clamped_rates, free_rates)
    gradient = as_parameters_of(
        field,
        mean_gradient(
            rates_as_states(field),
            rule.cost,
            jnp.tile(x, (2, 1)),
            state,
            _amplified(field, rule.feedback_gain, weighed),
            jnp.tile(verdict, 2),
        ),
    )
    return Estimate(
        gradient=_tied(gradient, rule.feedback_gain),
        cost=rule.cost(field.output(free.state), y),
        verdict=verdict,
        free=free,
        nudged=tuple(clamped),
    )


def _amplified(field: AbstractVectorField, gain: Array, displacement: State) -> State:
    """gamma^(k-L): every layer makes up for the feedback that its signal came through."""
    if not isinstance(field, AbstractLayered):
        return displacement
    return tuple(d / gain.astype(d.dtype) ** i for i, d in enumerate(displacement))


def _tied(gradient: AbstractVectorField, gain: Array) -> AbstractVectorField:
    """The gradient with gamma times the transposed forward part for the feedback weights."""
    return gradient.with_feedback_gain(gain) if isinstance(gradient, AbstractLayered) else gradient
