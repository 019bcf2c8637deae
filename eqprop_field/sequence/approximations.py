r"""Approximations of RTRL: online rules that keep a part of its sensitivity $S(k)$, or a random estimate of it.

RFLO, e-prop and SnAp-1 drop the effect of a neuron's synapses on other neurons: biased, and local. UORO and KF-RTRL
keep all of it in random projections: unbiased, and noisy. All take the negative gradient times a rate, as `RTRL` does.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from .._arrays import as_scalar
from ..vector_fields import AbstractGraph
from .online_rule import AbstractOnlineRule, AbstractTraceRule, RuleState, StepContext

_TINY = 1e-30  # under a square root: no division by a norm of 0


class RFLO(AbstractTraceRule):
    r"""Random-feedback local online learning: traces that only leak, and errors that come back at random.

    $$p_{ab}(k) = (1-h_a)\,p_{ab}(k-1) + h_a\,\varphi_b(k-1), \qquad
      \Delta W_{ab} = -\eta\,\Big[e_a + \rho'(x_a)\sum_o B_{ao}\,e_o\Big]\,p_{ab}$$

    The second term is what neurons that are not read learn from, by fixed random weights B in the place of the ones
    they reach the output with; with a readout, whose error reaches all of them, $\Delta W_{ab} = -\eta \sum_o B_{ao}
    e_o\,p_{ab}$. Costs O(N P) time a step and memory.
    Source: Murray 2019, eLife 8, e43299, in which the activation is on the summed input; here it is on the state, so
    that the trace carries no rho'.

    Attributes:
        feedback: B (neurons, outputs); nothing reaches neurons that are not read with B = 0. Make one with
            `random_feedback`.
        rate: eta, a step.
        biases: whether biases learn too.
    """

    feedback: Float[Array, "neurons outputs"]
    rate: Float[Array, ""] = eqx.field(converter=as_scalar, default=0.05)
    biases: bool = eqx.field(static=True, default=False)

    def step(self, state: RuleState, context: StepContext) -> tuple[Float[Array, "neurons sources"], RuleState]:
        trace = leaky_trace(state, context)
        back = (self.feedback @ context.error[: context.n_outputs]) * context.slopes if context.n_outputs else 0.0
        signal = _error(self.feedback, context) + back
        return -self.rate * signal[:, None] * trace, trace

    def check(self, field: AbstractGraph, outputs: int) -> None:
        _check_feedback(self.feedback, field, outputs)


class EProp(AbstractOnlineRule):
    r"""Eligibility propagation: the trace of RFLO, filtered by the output neurons and weighted by the synapses to them.

    $$\varepsilon_{ab}(k) = (1-h_a)\,\varepsilon_{ab}(k-1) + h_a\,\varphi_b(k-1), \qquad
      \bar\varepsilon_{oab}(k) = (1-h_o)\,\bar\varepsilon_{oab}(k-1) + h_o W_{oa}\,\rho'(x_a)\,\varepsilon_{ab}(k-1)$$

    $$\Delta W_{ab} = -\eta\,\Big[e_a\,\varepsilon_{ab} + \sum_o e_o\,\bar\varepsilon_{oab}\Big]$$

    Exact where the neurons that are not read do not act on each other, and the output neurons act on no neuron,
    themselves included; there it is RTRL. With `feedback`, B_ao stands in the place of W_oa (random e-prop). Costs
    O(K N P) time a step and memory for K output neurons; O(N P) with a readout, whose error comes back by its own
    weights or by B. Source: Bellec et al. 2020, Nature Communications 11, 3625.

    Attributes:
        rate: eta, a step.
        feedback: B (neurons, outputs); the synapses to the output neurons themselves by default.
        biases: whether biases learn too.
    """

    rate: Float[Array, ""] = eqx.field(converter=as_scalar, default=0.05)
    feedback: Float[Array, "neurons outputs"] | None = None
    biases: bool = eqx.field(static=True, default=False)

    def init(self, neurons: int, outputs: int, mask: Float[Array, "rows sources"]) -> RuleState:
        trace = jnp.zeros((neurons, mask.shape[1]), mask.dtype)
        return trace, jnp.zeros((outputs, *trace.shape), trace.dtype)

    def step(self, state: RuleState, context: StepContext) -> tuple[Float[Array, "neurons sources"], RuleState]:
        before, filtered = state
        trace = leaky_trace(before, context)
        k = context.n_outputs
        change = _error(self.feedback, context)[:, None] * trace
        if k:
            to_outputs = context.recurrent[:k] if self.feedback is None else self.feedback.T
            # The effect of an output neuron on itself is its leak alone, and is in its own trace.
            to_outputs = to_outputs.at[:, :k].set(0)
            arriving = (to_outputs * context.slopes)[:, :, None] * before
            filtered = context.decay[:k, None, None] * filtered + context.step_size[:k, None, None] * arriving
            change += jnp.tensordot(context.error[:k], filtered, 1)
        return -self.rate * change, (trace, filtered)

    def check(self, field: AbstractGraph, outputs: int) -> None:
        if self.feedback is not None:
            _check_feedback(self.feedback, field, outputs)


class SnAp1(AbstractTraceRule):
    r"""SnAp-1: RTRL with the sensitivity of a neuron to its own synapses alone.

    $$s_{ab}(k) = J_{aa}\,s_{ab}(k-1) + h_a\,\varphi_b(k-1), \qquad \Delta W_{ab} = -\eta\,e_a\,s_{ab}$$

    with $J_{aa} = 1 - h_a + h_a W_{aa}\,\rho'(x_a)$. Exact for neurons that do not act on each other. A neuron that is
    not read learns nothing: use it with a readout of all neurons. Costs O(N P) time a step and memory. Source: Menick
    et al. 2021, arXiv 2006.07232.

    Attributes:
        rate: eta, a step.
        biases: whether biases learn too.
    """

    rate: Float[Array, ""] = eqx.field(converter=as_scalar, default=0.05)
    biases: bool = eqx.field(static=True, default=False)

    def step(self, state: RuleState, context: StepContext) -> tuple[Float[Array, "neurons sources"], RuleState]:
        diagonal = context.decay + context.step_size * jnp.diagonal(context.recurrent) * context.slopes
        trace = diagonal[:, None] * state + jnp.outer(context.step_size, context.sources)
        return -self.rate * context.error[:, None] * trace, trace


class RankOne(NamedTuple):
    """The factors of a rank-one estimate of S: the outer product of `neurons` and `synapses`."""

    neurons: Array
    synapses: Array


class UORO(AbstractOnlineRule):
    r"""Unbiased online recurrent optimisation: the sensitivity as a random matrix of rank one.

    $$\tilde s \leftarrow \rho_0\, J \tilde s + \rho_1 \nu, \qquad
      \tilde\theta \leftarrow \tilde\theta/\rho_0 + \nu^\top \tfrac{\partial F}{\partial W}/\rho_1, \qquad
      \Delta W = -\eta\,(e^\top \tilde s)\,\tilde\theta$$

    with random signs nu and the factors that keep both parts of one size, rho_0 = sqrt(|theta~| / |J s~|) and rho_1 =
    sqrt(|nu dF/dW| / |nu|). The mean over the signs is RTRL for held weights; the variance grows with N. Costs O(N^2 +
    N P) time a step and O(N P) memory. Source: Tallec & Ollivier 2018, arXiv 1702.05043.

    Attributes:
        rate: eta, a step.
        biases: whether biases learn too.
    """

    rate: Float[Array, ""] = eqx.field(converter=as_scalar, default=0.01)
    biases: bool = eqx.field(static=True, default=False)

    def init(self, neurons: int, outputs: int, mask: Float[Array, "rows sources"]) -> RuleState:
        return RankOne(jnp.zeros(neurons, mask.dtype), jnp.zeros((neurons, mask.shape[1]), mask.dtype))

    def step(self, state: RuleState, context: StepContext) -> tuple[Float[Array, "neurons sources"], RuleState]:
        signs = _signs(context.key, context.step_size.shape, context.step_size.dtype)
        carried = context.propagate(state.neurons)
        explicit = jnp.outer(signs * context.step_size, context.sources)
        first, second = _balance(state.synapses, carried), _balance(explicit, signs)
        after = RankOne(first * carried + second * signs, state.synapses / first + explicit / second)
        return -self.rate * jnp.dot(context.error, after.neurons) * after.synapses, after


class KFRTRL(AbstractOnlineRule):
    r"""Kronecker-factored RTRL: the sensitivity as $S_{nab} = A_{na} u_b$, unbiased, with less noise than `UORO`.

    $$u \leftarrow c_1 p_1 u + c_2 p_2\,\varphi, \qquad
      A \leftarrow \frac{c_1}{p_1} J A + \frac{c_2}{p_2}\,\mathrm{diag}(h), \qquad
      \Delta W = -\eta\,(A^\top e)\,u^\top$$

    with random signs c and p_1 = sqrt(|J A| / |u|), p_2 = sqrt(|h| / |phi|). The mean over the signs is RTRL for held
    weights. Costs O(N^3) time a step and O(N^2 + P) memory. Source: Mujika et al. 2018, arXiv 1805.10842.

    Attributes:
        rate: eta, a step.
        biases: whether biases learn too.
    """

    rate: Float[Array, ""] = eqx.field(converter=as_scalar, default=0.01)
    biases: bool = eqx.field(static=True, default=False)

    def init(self, neurons: int, outputs: int, mask: Float[Array, "rows sources"]) -> RuleState:
        return RankOne(jnp.zeros((neurons, neurons), mask.dtype), jnp.zeros(mask.shape[1], mask.dtype))

    def step(self, state: RuleState, context: StepContext) -> tuple[Float[Array, "neurons sources"], RuleState]:
        one, two = _signs(context.key, (2,), context.step_size.dtype)
        carried = context.propagate(state.neurons)
        first, second = _balance(carried, state.synapses), _balance(context.step_size, context.sources)
        sources = one * first * state.synapses + two * second * context.sources
        after = RankOne(one / first * carried + two / second * jnp.diag(context.step_size), sources)
        return -self.rate * jnp.outer(context.error @ after.neurons, after.synapses), after


def random_feedback(
    key: Key[Array, ""], neurons: int, outputs: int, scale: float = 1.0, *, readout: bool = False
) -> Float[Array, "n k"]:
    """Fixed feedback weights, uniform on [-scale, scale], 0 to the output neurons, which see their error directly.

    With a readout of all neurons none of them does.
    """
    drawn = scale * jax.random.uniform(key, (neurons, outputs), minval=-1.0, maxval=1.0)
    return drawn if readout else drawn.at[:outputs].set(0)


def _error(feedback: Array | None, context: StepContext) -> Array:
    """The error of every neuron; a readout's comes back by feedback weights where the rule has some."""
    if feedback is None or context.n_outputs:
        return context.error
    return feedback @ context.output_error


def _check_feedback(feedback: Array, field: AbstractGraph, outputs: int) -> None:
    needed = (field.n_neurons, outputs)
    if feedback.shape != needed:
        raise ValueError(f"feedback has shape {feedback.shape}, but this network needs {needed}: use random_feedback")


def leaky_trace(before: Array, context: StepContext) -> Array:
    """The presynaptic rates of every synapse, filtered by the leak of its neuron."""
    return context.decay[:, None] * before + jnp.outer(context.step_size, context.sources)


def _signs(key: Key[Array, ""], shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
    return jax.random.rademacher(key, shape, dtype)


def _balance(numerator: Array, denominator: Array) -> Array:
    """sqrt(|a| / |b|); 1 where either is 0, and nothing is there to balance."""
    a, b = jnp.sum(numerator**2), jnp.sum(denominator**2)
    return jnp.where((a > _TINY) & (b > _TINY), jnp.sqrt(jnp.sqrt(a + _TINY) / jnp.sqrt(b + _TINY)), 1.0)
