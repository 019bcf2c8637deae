"""Atiya-Parlos recurrent learning (APRL) in continuous time, online and for whole sequences."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .._arrays import as_scalar, check_not_negative, check_positive
from .._linalg import pseudo_inverse, solve
from ..signals import Recording, Task
from ..vector_fields import AbstractGraph, AbstractVectorField
from .bptt import SequenceEstimate, teacher_signal
from .driven import EulerSteps, simulate
from .online_rule import AbstractOnlineRule, RuleState, StepContext
from .online_setup import OnlineSetup, with_synapses
from .readout import Readout


class Correlations(NamedTuple):
    """The state of the online rule: the inverse of V, and B."""

    inverse: Array
    errors: Array


class APRL(AbstractOnlineRule):
    r"""Online APRL: target states that lower the error, and the least-squares change of the weights towards them.

    With $\gamma(k) = -e(k) + [(1-h) I + h\,W D(k-1)]\,e(k-1)$ (equation 10), q = V^{-1} phi(k-1), s = 1 + phi^T q:

    $$\Delta W = \frac{\eta}{h}\,\frac{(\gamma - B q)\,q^\top}{s}, \qquad B \mathrel{+}= \gamma\varphi^\top, \qquad
      V^{-1} \mathrel{-}= \frac{q q^\top}{s}$$

    from V = eps I and B = 0. Not a gradient: the least-squares answer to one step of error. For held weights the
    changes add up to (eta/h) B (eps I + V)^{-1}. With one output neuron the rows of all other neurons change in
    constant proportions, W_i1(0) : W_j1(0); with q outputs their changes have rank q at most. Costs O(N P + P^2) a
    step; with missing synapses every neuron has a V of its own, O(N P^2). V^{-1} is made symmetric at every step.
    Source: Schiller & Steil 2003, equations 5-10 and the online algorithm; Atiya & Parlos 2000.

    The paper does not say whether V and B are kept at the end of an epoch. With V carried over and B reset, the
    default, the errors have the shape of its Figure 1. Not defined for projected dynamics, where a clipped state does
    not depend on the weights.

    Attributes:
        rate: eta, of the order of 1.
        ridge: eps, the start of V.
        carry_inverse: whether V is kept when a sequence starts anew.
        carry_errors: whether B is.
        biases: whether biases learn too, as synapses from a constant source.
    """

    rate: Float[Array, ""] = eqx.field(converter=as_scalar, default=1.0)
    ridge: Float[Array, ""] = eqx.field(converter=as_scalar, default=0.1)
    carry_inverse: bool = eqx.field(static=True, default=True)
    carry_errors: bool = eqx.field(static=True, default=False)
    biases: bool = eqx.field(static=True, default=False)

    def __check_init__(self) -> None:
        check_positive(self, "ridge")

    def init(self, neurons: int, outputs: int, mask: Float[Array, "rows sources"]) -> RuleState:
        width = mask.shape[1]
        ridge = self.ridge.astype(mask.dtype)
        # A source from which a row has no synapse has neither variance nor covariance: its change is 0 for good.
        inverse = jnp.eye(width) * mask[:, :, None] / ridge
        return Correlations(inverse.astype(mask.dtype), jnp.zeros((neurons, width), mask.dtype))

    def reset(self, state: RuleState) -> RuleState:
        seen = (jnp.diagonal(state.inverse, axis1=1, axis2=2) > 0).astype(state.inverse.dtype)
        fresh = self.init(len(state.errors), 0, seen)
        return Correlations(
            state.inverse if self.carry_inverse else fresh.inverse,
            state.errors if self.carry_errors else fresh.errors,
        )

    def step(self, state: RuleState, context: StepContext) -> tuple[Float[Array, "neurons sources"], RuleState]:
        desired = -context.error + context.propagate(context.previous_error)
        q = state.inverse @ context.sources  # (rows, sources)
        s = 1 + q @ context.sources
        missed = desired - jnp.sum(state.errors * q, axis=1)
        change = self.rate / context.step_size[:, None] * missed[:, None] * (q / s[:, None])
        inverse = state.inverse - q[:, :, None] * q[:, None, :] / s[:, None, None]
        inverse = 0.5 * (inverse + jnp.swapaxes(inverse, 1, 2))
        return change, Correlations(inverse, state.errors + jnp.outer(desired, context.sources))

    def check(self, field: AbstractGraph, outputs: int) -> None:
        check_unprojected(field)


class BatchAPRL(eqx.Module):
    r"""Batch APRL, for whole sequences: $\Delta W = \frac{\eta}{h} B V^{-1}$ (equations 7-10), the weights held still.

    $V = \sum_k \varphi(k)\varphi(k)^\top$ and $B = \sum_k \gamma(k)\varphi(k-1)^\top$ over all sequences. V is close to
    singular where states are nearly collinear, as for smooth signals: give a ridge. Costs O(T (N P + P^2) + P^3).

    Attributes:
        ridge: eps, added to V's diagonal, times the mean of that diagonal if `relative`; 0 takes the pseudo-inverse.
        relative: whether the ridge is relative to tr(V)/P.
        biases: whether biases learn too.
    """

    ridge: Float[Array, ""] = eqx.field(converter=as_scalar, default=1e-4)
    relative: bool = eqx.field(static=True, default=True)
    biases: bool = eqx.field(static=True, default=False)

    def __check_init__(self) -> None:
        check_not_negative(self, "ridge")

    def estimate(
        self,
        field: AbstractVectorField,
        task: Task,
        *,
        start: ArrayLike | None = None,
        teacher_forcing: bool = False,
        readout: Readout | None = None,
    ) -> SequenceEstimate:
        """The negative weight change at eta = 1, in the place of a gradient: `optax.sgd(eta)` makes the rule's step.

        Args:
            field: leaky integrators whose synapses are dense matrices, such as a graph of neurons.
            task: inputs and targets.
            start: as for `BPTT.estimate`.
            teacher_forcing: as for `BPTT.estimate`.
            readout: as for `BPTT.estimate`.

        Raises:
            ValueError: for a field or task that `learn_online` refuses, and for projected dynamics.
        """
        setup = OnlineSetup.of(field, task, self.biases, start=start, teacher_forcing=teacher_forcing, readout=readout)
        check_unprojected(setup.field)
        teacher = teacher_signal(setup.task) if teacher_forcing else None
        run = simulate(
            field,
            setup.task.inputs,
            integrator=EulerSteps(),
            start=start,
            teacher=teacher,
            readout=readout,
            throw=False,
        )
        return SequenceEstimate(_gradient(self, setup, run), setup.task.mean_squared_error(run.outputs), run)


def check_unprojected(field: AbstractGraph) -> None:
    """Refuses projected dynamics.

    Raises:
        ValueError: for a field whose states are clipped.
    """
    if field.projected:
        raise ValueError(
            "APRL divides by the effect of a weight on the next state, which is 0 for a state clipped to its bound: "
            "use an activation without projection, such as tanh"
        )


@eqx.filter_jit
def _gradient(rule: BatchAPRL, setup: OnlineSetup, run: Recording) -> AbstractGraph:
    field, task = setup.field, setup.task
    e = setup.state_errors(task.errors(run.outputs))
    states, free = setup.presynaptic(run.states, task.targets)
    slopes = field.activation.derivative(run.states) * free
    ones = jnp.ones((*states.shape[:2], int(rule.biases)), states.dtype)
    valid = task.valid[1:, :, None]
    sources = valid * jnp.concatenate([field.activation(states), task.inputs.values, ones], axis=2)[:-1]
    h = task.inputs.step / field.tau
    recurrent = (slopes * e)[:-1] @ field.recurrent_matrix().T
    desired = valid * (-e[1:] + (1 - h) * e[:-1] + h * recurrent)
    v = setup.mask[:, None, :] * setup.mask[:, :, None] * jnp.einsum("tbp,tbq->pq", sources, sources)
    b = setup.mask * jnp.einsum("tbn,tbp->np", desired, sources)

    def solved(v: Array, b: Array) -> Array:
        """b V^-1 for the rows that share this V."""
        ridge = rule.ridge * (jnp.trace(v) / len(v) if rule.relative else 1.0)
        regular = solve(v + jnp.where(ridge > 0, ridge, 1) * jnp.eye(len(v)), b.T).T
        return jnp.where(ridge > 0, regular, b @ pseudo_inverse(v))

    change = solved(v[0], b) if len(v) == 1 else jax.vmap(lambda v, b: solved(v, b[None])[0])(v, b)
    blank = jax.tree.map(jnp.zeros_like, field.parameters())
    return with_synapses(blank, -change / h[:, None])
