"""Real-time recurrent learning: the exact gradient, carried forward with the network."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._arrays import as_scalar
from .online import AbstractOnlineRule, Memory, StepContext


class RTRL(AbstractOnlineRule):
    r"""Carries the sensitivity of every state to every synapse: $\Delta W(k) = -\eta\, S(k)^\top e(k)$.

    $$S(k) = J(k-1)\,S(k-1) + \frac{\partial F}{\partial W}\Big|_{x}, \qquad
      J = (1-h) I + h\,W D, \qquad \frac{\partial F_n}{\partial W_{ab}} = h\,\delta_{na}\,\varphi_b$$

    With the weights held still (`total_change`) it is the gradient of backpropagation through time, to rounding. With
    moving weights S mixes what several W gave, an error of the order of eta. Costs O(N^3 P) = O(N^4) time a step and
    O(N^2 P) memory, P = N + M sources. Source: Williams & Zipser 1989; in continuous time Pearlmutter 1995.

    Attributes:
        rate: eta, a step; it does not carry dt.
        biases: whether biases learn too.
    """

    rate: Float[Array, ""] = eqx.field(converter=as_scalar, default=0.05)
    biases: bool = eqx.field(static=True, default=False)

    def begin(self, neurons: int, outputs: int, visible: Float[Array, "rows sources"]) -> Memory:
        return jnp.zeros((neurons, neurons, visible.shape[1]), visible.dtype)

    def restart(self, memory: Memory) -> Memory:
        return jnp.zeros_like(memory)

    def step(self, memory: Memory, now: StepContext) -> tuple[Float[Array, "neurons sources"], Memory]:
        own = jnp.arange(len(now.gain))
        sensitivity = now.propagate(memory).at[own, own].add(jnp.outer(now.gain, now.sources))
        return -self.rate * jnp.tensordot(now.error, sensitivity, 1), sensitivity
