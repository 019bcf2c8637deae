"""Online learning rules: the interface of rules that change the synapses of a driven network at every step."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from .._arrays import check_not_negative
from ..vector_fields import AbstractGraph

RuleState = PyTree[Array]


class StepContext(eqx.Module):
    r"""One step of a driven network as a rule sees it: $x(k) = \kappa\,x(k-1) + h\,W\varphi(k-1)$, kappa = 1 - h.

    Attributes:
        weights: W = [recurrent, input (, bias)] BEFORE the step (neurons, sources).
        sources: phi(k-1) = [rho(x(k-1)), u(k-1) (, 1)], the presynaptic rates.
        slopes: rho'(x(k-1)), 0 where a teacher replaced the neuron's state.
        decay: kappa by neuron, 0 for one that was clipped to its bound.
        step_size: h = dt/tau by neuron, 0 for one that was clipped.
        error: e(k) = dE(k)/dx(k).
        previous_error: e(k-1); 0 at the first step, where there is none.
        output_error: the errors of the outputs themselves (outputs,), which a rule with feedback weights of its own
            brings back by them.
        n_outputs: how many neurons are read directly (the first ones); 0 with a readout of all.
        key: a fresh random key.
    """

    weights: Float[Array, "neurons sources"]
    sources: Float[Array, " sources"]
    slopes: Float[Array, " neurons"]
    decay: Float[Array, " neurons"]
    step_size: Float[Array, " neurons"]
    error: Float[Array, " neurons"]
    previous_error: Float[Array, " neurons"]
    output_error: Float[Array, " outputs"]
    key: Key[Array, ""]
    n_outputs: int = eqx.field(static=True)

    @property
    def recurrent(self) -> Float[Array, "neurons neurons"]:
        """W without the columns of inputs and bias."""
        return self.weights[:, : len(self.slopes)]

    def propagate(self, tangents: Float[Array, "neurons *any"]) -> Float[Array, "neurons *any"]:
        """J tangents, with J = dx(k)/dx(k-1) = kappa + h W diag(rho')."""

        def rows(factor: Array) -> Array:
            return factor.reshape(-1, *[1] * (tangents.ndim - 1))

        recurrent = jnp.tensordot(self.recurrent, rows(self.slopes) * tangents, 1)
        return rows(self.decay) * tangents + rows(self.step_size) * recurrent


class AbstractOnlineRule(eqx.Module):
    """An online rule: the change of the synapses at every step, from the step's context and a state of the rule.

    Attributes:
        biases: whether biases learn too: they are the strengths of a clamped source that is always 1.
    """

    biases: eqx.AbstractVar[bool]

    def __check_init__(self) -> None:
        if hasattr(self, "rate"):
            check_not_negative(self, "rate")

    @abc.abstractmethod
    def init(self, neurons: int, outputs: int, mask: Float[Array, "rows sources"]) -> RuleState:
        """The state of the rule before the first sequence.

        Args:
            neurons: N.
            outputs: how many of them are read directly; 0 with a readout of all.
            mask: 1 where a neuron has a synapse from a source; a single row where all neurons have the same.
        """

    def reset(self, state: RuleState) -> RuleState:
        """The state of the rule at the start of a sequence, the network being in its initial state; 0 by default."""
        return jax.tree.map(jnp.zeros_like, state)

    @abc.abstractmethod
    def step(self, state: RuleState, context: StepContext) -> tuple[Float[Array, "neurons sources"], RuleState]:
        """The change of W at this step, and the state of the rule for the next."""

    def check(self, field: AbstractGraph, outputs: int) -> None:
        """Refuses networks that the rule is not defined for; none by default.

        Args:
            field: the network.
            outputs: how many outputs are scored, those of a readout where there is one.

        Raises:
            ValueError: saying why, and what to use instead.
        """
        del field, outputs


class AbstractTraceRule(AbstractOnlineRule):
    """A rule whose state is one trace a synapse (neurons, sources)."""

    def init(self, neurons: int, outputs: int, mask: Float[Array, "rows sources"]) -> RuleState:
        return jnp.zeros((neurons, mask.shape[1]), mask.dtype)
