"""Atiya-Parlos recurrent learning in continuous time, online and for whole sequences."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .._arrays import as_scalar
from .._linalg import pseudo_inverse, solve
from ..signals import Recording, Task
from ..vector_fields import AbstractVectorField, GraphField
from .bptt import SequenceEstimate, check_task, teacher_of
from .driven import EulerClock, simulate
from .online import AbstractOnlineRule, Memory, StepContext, visible_sources, with_synapses
from .readout import Readout


class Correlations(NamedTuple):
    """What the online rule remembers: the inverse of V, and B."""

    inverse: Array
    errors: Array


class APRL(AbstractOnlineRule):
    r"""Asks for states that lower the error, and takes the weights that come closest to giving them.

    With $\gamma(k) = -e(k) + [(1-h) I + h\,W D(k-1)]\,e(k-1)$ (equation 10), q = V^{-1} phi(k-1), s = 1 + phi^T q:

    $$\Delta W = \frac{\eta}{h}\,\frac{(\gamma - B q)\,q^\top}{s}, \qquad B \mathrel{+}= \gamma\varphi^\top, \qquad
      V^{-1} \mathrel{-}= \frac{q q^\top}{s}$$

    from V = eps I and B = 0. Not a gradient: the least-squares answer to one step of error. For held weights the
    changes add up to (eta/h) B (eps I + V)^{-1}. With one output neuron the rows of all other neurons change in
    constant proportions, W_i1(0) : W_j1(0); with q outputs their changes have rank q at most. Costs O(N P + P^2) a
    step; with missing synapses every neuron has a V of its own, O(N P^2). V^{-1} is made symmetric at every step.
    Source: Schiller & Steil 2003, equations 5-10 and the online algorithm; Atiya & Parlos 2000.

    The paper does not say what becomes of V and B at the end of an epoch. With V carried over and B reset, the default,
    the errors have the shape of its Figure 1. Not defined for projected dynamics, where a clipped state answers no
    weight.

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

    def begin(self, neurons: int, outputs: int, visible: Float[Array, "rows sources"]) -> Memory:
        width = visible.shape[1]
        ridge = self.ridge.astype(visible.dtype)
        # A source that a row does not see has neither variance nor covariance: its change is 0 for good.
        inverse = jnp.eye(width) * visible[:, :, None] / ridge
        return Correlations(inverse.astype(visible.dtype), jnp.zeros((neurons, width), visible.dtype))

    def restart(self, memory: Memory) -> Memory:
        seen = (jnp.diagonal(memory.inverse, axis1=1, axis2=2) > 0).astype(memory.inverse.dtype)
        fresh = self.begin(len(memory.errors), 0, seen)
        return Correlations(
            memory.inverse if self.carry_inverse else fresh.inverse,
            memory.errors if self.carry_errors else fresh.errors,
        )

    def step(self, memory: Memory, now: StepContext) -> tuple[Float[Array, "neurons sources"], Memory]:
        wanted = -now.error + now.propagate(now.previous_error)
        q = memory.inverse @ now.sources  # (rows, sources)
        s = 1 + q @ now.sources
        missed = wanted - jnp.sum(memory.errors * q, axis=1)
        change = self.rate / now.gain[:, None] * missed[:, None] * (q / s[:, None])
        inverse = memory.inverse - q[:, :, None] * q[:, None, :] / s[:, None, None]
        inverse = 0.5 * (inverse + jnp.swapaxes(inverse, 1, 2))
        return change, Correlations(inverse, memory.errors + jnp.outer(wanted, now.sources))

    def check(self, field: GraphField) -> None:
        check_unbounded(field)


class BatchAPRL(eqx.Module):
    r"""The same for whole sequences: $\Delta W = \frac{\eta}{h} B V^{-1}$ (equations 7-10), the weights held still.

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

    def estimate(
        self,
        field: GraphField,
        task: Task,
        *,
        start: ArrayLike | None = None,
        taught: bool = False,
        readout: Readout | None = None,
    ) -> SequenceEstimate:
        """MINUS the weight change at eta = 1, in the place of a gradient: `optax.sgd(eta)` makes the rule's step.

        Arguments as for `BPTT.estimate`.

        Raises:
            ValueError: for a task that does not fit the field, and for projected dynamics.
        """
        check_unbounded(field)
        check_task(field, task, readout)
        task = task.astype(field.dtype)
        teacher = teacher_of(task) if taught else None
        run = simulate(
            field, task.inputs, integrator=EulerClock(), start=start, teacher=teacher, readout=readout, throw=False
        )
        visible = visible_sources(field, self.biases)
        read = jnp.where(jnp.isfinite(task.targets), task.targets, run.states[..., : task.outputs]) if taught else None
        gradient = _batch_gradient(self, field, task, run, visible, read, readout)
        return SequenceEstimate(gradient, task.mean_squared_error(run.outputs), run)


def check_unbounded(field: AbstractVectorField) -> None:
    """Refuses projected dynamics.

    Raises:
        ValueError: for a field whose states are clipped.
    """
    if field.projected:
        raise ValueError(
            "APRL divides by what a weight does to the next state, and that is nothing for a state clipped to its "
            "bound: use an activation without projection, such as tanh"
        )


@eqx.filter_jit
def _batch_gradient(
    rule: BatchAPRL,
    field: GraphField,
    task: Task,
    run: Recording,
    visible: Array,
    read: Array | None,
    readout: Readout | None,
) -> GraphField:
    n, k = field.n_neurons, field.n_outputs
    errors = task.errors(run.outputs)
    e = jnp.pad(errors, ((0, 0), (0, 0), (0, n - k))) if readout is None else readout.pull_back(errors)
    states, slopes = run.states, field.activation.derivative(run.states)
    if read is not None:
        states = states.at[..., :k].set(read)
        slopes = slopes.at[..., :k].multiply(jnp.isnan(task.targets))
    ones = jnp.ones((*states.shape[:2], int(rule.biases)), states.dtype)
    live = task.valid[1:, :, None]
    sources = live * jnp.concatenate([field.activation(states), task.inputs.values, ones], axis=2)[:-1]
    h = task.inputs.step / field.tau
    wanted = live * (-e[1:] + (1 - h) * e[:-1] + h * ((slopes * e)[:-1] @ field.recurrent_matrix().T))
    seen = visible[:, None, :] * visible[:, :, None]
    v = seen * jnp.einsum("tbp,tbq->pq", sources, sources)
    b = visible * jnp.einsum("tbn,tbp->np", wanted, sources)

    def solved(v: Array, b: Array) -> Array:
        """b V^-1 for the rows that share this V."""
        ridge = rule.ridge * (jnp.trace(v) / len(v) if rule.relative else 1.0)
        regular = solve(v + jnp.where(ridge > 0, ridge, 1) * jnp.eye(len(v)), b.T).T
        return jnp.where(ridge > 0, regular, b @ pseudo_inverse(v))

    change = solved(v[0], b) if len(v) == 1 else jax.vmap(lambda v, b: solved(v, b[None])[0])(v, b)
    blank = jax.tree.map(jnp.zeros_like, field.parameters())
    return with_synapses(blank, -change / h[:, None])
