"""RTRL: the exact gradient, carried forward in time."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._arrays import as_scalar
from .online_rule import AbstractOnlineRule, RuleState, StepContext


class RTRL(AbstractOnlineRule):
    r"""Real-time recurrent learning, $\Delta W(k) = -\eta\, S(k)^\top e(k)$, S the sensitivity of states to synapses.

    $$S(k) = J(k-1)\,S(k-1) + \frac{\partial F}{\partial W}\Big|_{x}, \qquad
      J = (1-h) I + h\,W D, \qquad \frac{\partial F_n}{\partial W_{ab}} = h\,\delta_{na}\,\varphi_b$$

    With the weights held still (`accumulated_update`) it is the gradient of BPTT, to rounding. With moving weights S
    mixes the sensitivities of several W, an error of the order of eta. Costs O(N^3 P) = O(N^4) time a step and O(N^2 P)
    memory, P = N + M sources. Source: Williams & Zipser 1989; in continuous time Pearlmutter 1995.

    Attributes:
        rate: eta, a step; it does not carry dt.
        biases: whether biases learn too.
    """

    rate: Float[Array, ""] = eqx.field(converter=as_scalar, default=0.05)
    biases: bool = eqx.field(static=True, default=False)

    def init(self, neurons: int, outputs: int, mask: Float[Array, "rows sources"]) -> RuleState:
        return jnp.zeros((neurons, neurons, mask.shape[1]), mask.dtype)

    def step(self, state: RuleState, context: StepContext) -> tuple[Float[Array, "neurons sources"], RuleState]:
        each = jnp.arange(len(context.step_size))
        sensitivity = context.propagate(state).at[each, each].add(jnp.outer(context.step_size, context.sources))
        return -self.rate * jnp.tensordot(context.error, sensitivity, 1), sensitivity
