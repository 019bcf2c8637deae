"""Contrastive Hebbian learning with weak feedback, which tends to back-propagation."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._arrays import as_scalar, is_concrete
from ..costs import AbstractCost, Quadratic
from ..substrates.base import AbstractSubstrate
from ..substrates.capabilities import Capability
from ..substrates.clamping import RateClamp, check_rates
from ..substrates.equilibrium import Equilibrium
from ..substrates.resolution import read_twice, resolved
from ..substrates.solution import Solution, Verdict
from ..vector_fields.abstract_layered import AbstractLayered
from ..vector_fields.base import AbstractVectorField, State
from ..vector_fields.leaky import AbstractLeakyIntegrator, is_a
from ..vector_fields.rates import as_parameters_of, firing_rates, rates_as_states, require_rate_neurons
from .base import AbstractLearningRule, Reading, amplified, highest_verdict, summed_update


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
        if is_concrete(self.feedback_gain) and not 0 < float(self.feedback_gain) < math.inf:
            raise ValueError(f"feedback_gain={float(self.feedback_gain):g}: give a feedback gain above 0")

    @property
    def needs(self) -> frozenset[Capability]:
        return frozenset({Capability.nudged_phases, Capability.clamped_outputs})

    def _check(self, field: AbstractVectorField, y: Float[Array, "batch outputs"]) -> None:
        network = _network(field)
        check_rates("y", y, network.activation)
        _check_tied(network, self.feedback_gain)

    def _nudges(self, y: Float[Array, "batch outputs"]) -> tuple[RateClamp, ...]:
        return (RateClamp(y),)

    def _read(
        self, field: AbstractVectorField, x: Array, y: Array, free: Solution, nudged: tuple[Solution, ...]
    ) -> Reading:
        network = _network(field)

        def read(free: State, clamped: State) -> tuple[State, State, State]:
            minus, plus = firing_rates(network, free), firing_rates(network, clamped, y)
            return minus, plus, amplified(field, jax.tree.map(jnp.subtract, plus, minus), self.feedback_gain)

        (minus, plus, difference), ahead = read_twice(read, free, *nudged)
        verdict = resolved(highest_verdict(free, *nudged), difference, None if ahead is None else ahead[2])
        tied = _gain_error(network, self.feedback_gain) <= _tolerance(field)
        verdict = jnp.where(tied, verdict, jnp.maximum(verdict, Verdict.not_defined.value))
        # Two rows a sample: with the output clamped (+), and free (-).
        state = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), plus, minus)
        signed = jax.tree.map(lambda a, b: jnp.concatenate([a, -b]), plus, minus)
        signed = amplified(field, signed, self.feedback_gain)
        update = summed_update(rates_as_states(network), jnp.tile(x, (2, 1)), state, signed, jnp.tile(verdict, 2))
        return Reading(_tied(as_parameters_of(field, update), self.feedback_gain), verdict, nudged)


def _network(field: AbstractVectorField) -> AbstractLeakyIntegrator:
    return require_rate_neurons(field, "contrastive Hebbian learning")


def _tolerance(field: AbstractVectorField) -> Array:
    """How far rounding may carry the two directions of a synapse apart."""
    return jnp.sqrt(jnp.finfo(field.dtype).eps)


def _gain_error(network: AbstractLeakyIntegrator, gain: Array) -> Float[Array, ""]:
    """`feedback_gain_error`, by the matrix where a subclass changed the layers."""
    if isinstance(network, AbstractLayered) and not is_a(network, AbstractLayered):
        return AbstractLeakyIntegrator.feedback_gain_error(network, gain)
    return network.feedback_gain_error(gain)


def _check_tied(network: AbstractLeakyIntegrator, gain: Array) -> None:
    error = _gain_error(network, gain)
    if not is_concrete(error) or bool(error <= _tolerance(network)):
        return
    if not is_a(network, AbstractLayered):
        raise ValueError(
            "without layers contrastive Hebbian learning is defined for symmetric weights and feedback_gain=1: "
            "draw the network with symmetry=1, or use GeneRec"
        )
    raise ValueError(
        f"contrastive Hebbian learning is defined for layered networks with W_back = {float(gain):g} W_fwd^T, and this "
        f"one is a relative {float(error):.2g} off: make it by field.with_feedback_gain({float(gain):g})"
    )


def _tied(update: AbstractVectorField, gain: Array) -> AbstractVectorField:
    """The update with gamma times the transposed forward part for the feedback weights."""
    return update.with_feedback_gain(gain) if is_a(update, AbstractLayered) else update
