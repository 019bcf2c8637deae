"""Online learning: a driven network whose synapses a rule changes at every step."""

from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Key

from ..results import AbstractPytreeResult, known
from ..signals import EXPLOSION_BOUND, Task
from ..vector_fields import AbstractGraph, AbstractVectorField
from .online_rule import AbstractOnlineRule, RuleState, StepContext
from .online_setup import OnlineSetup, synapses, with_synapses
from .readout import Readout


class OnlineRun(AbstractPytreeResult):
    """The result of online learning.

    Errors and changes are taken WHILE learning: the weights move within an epoch.

    Attributes:
        field: the network after its best epoch (the first one if it exploded before the end of an epoch).
        last: the network after its last epoch, or as it was when it exploded.
        error: the mean squared error of every epoch (epochs,); NaN from the explosion on.
        output_change: root mean square change a step of the synapses TO the output neurons (epochs,).
        internal_change: the same for all other neurons; NaN without any.
        exploded: the epoch in which the network or its learning exploded, from 0; -1 if it did not.
    """

    field: AbstractGraph
    last: AbstractGraph
    error: Float[Array, " epochs"]
    output_change: Float[Array, " epochs"]
    internal_change: Float[Array, " epochs"]
    exploded: Int[Array, ""]
    stem: ClassVar[str] = "online"

    @property
    def best(self) -> Int[Array, ""]:
        """The epoch with the smallest error, from 0."""
        return jnp.argmin(jnp.where(jnp.isfinite(self.error), self.error, jnp.inf))

    @property
    def advice(self) -> str:
        """One sentence on how it ended."""
        if int(self.exploded) < 0:
            return f"all {len(self.error)} epochs were run; the best was number {int(self.best) + 1}"
        kept = f"epoch {int(self.best) + 1}" if int(self.exploded) else "the beginning"
        return (
            f"exploded in epoch {int(self.exploded) + 1} and was stopped there; the weights of {kept} are kept: "
            "lower the learning rate, start from smaller weights, or sample more finely"
        )

    def rows(self) -> list[dict[str, Any]]:
        """One row an epoch, counted from 1: `epoch`, `mean_squared_error`, `output_change`, `internal_change`."""
        curves = np.stack([self.error, self.output_change, self.internal_change], axis=1).tolist()
        names = ("mean_squared_error", "output_change", "internal_change")
        return [{"epoch": i + 1} | dict(zip(names, map(known, row), strict=True)) for i, row in enumerate(curves)]

    def summary(self) -> dict[str, Any]:
        return {
            "epochs": len(self.error),
            "best_epoch": int(self.best) + 1,
            "lowest_error": known(self.error[self.best]),
            "last_error": known(self.error[-1]),
            "exploded": int(self.exploded),
            "ended": self.advice,
        }

    @property
    def failure(self) -> str | None:
        return self.advice if int(self.exploded) == 0 else None


def learn_online(
    rule: AbstractOnlineRule,
    field: AbstractVectorField,
    task: Task,
    *,
    epochs: int = 1,
    key: Key[Array, ""] | None = None,
    start: ArrayLike | None = None,
    teacher_forcing: bool = False,
    readout: Readout | None = None,
) -> OnlineRun:
    """Runs a task again and again, learning at every step; the sequences of a batch follow one another.

    The network makes the Euler steps of `EulerSteps`, and goes back to `start` with each sequence. An epoch in which a
    state passes a million, or anything is not finite, is the last one. Runs under `jax.vmap` over field and key.

    Args:
        rule: how to learn.
        field: leaky integrators whose synapses are dense matrices, such as a graph of neurons.
        task: inputs and targets.
        epochs: how often.
        key: for rules that draw; the same draws every time by default.
        start: the state at the first sample, as for `simulate`.
        teacher_forcing: whether targets are fed back in place of the outputs.
        readout: the readout; it is not learnt. The output neurons are read by default.

    Raises:
        ValueError: for a field or a task that do not fit the rule or each other.
    """
    if epochs < 1:
        raise ValueError(f"epochs={epochs}: give at least one")
    options: dict[str, Any] = {"start": start, "teacher_forcing": teacher_forcing, "readout": readout}
    setup = _checked(rule, OnlineSetup.of(field, task, rule.biases, **options))
    return _learn(rule, setup, jax.random.key(0) if key is None else key, epochs)


def accumulated_update(
    rule: AbstractOnlineRule,
    field: AbstractVectorField,
    task: Task,
    *,
    key: Key[Array, ""] | None = None,
    start: ArrayLike | None = None,
    teacher_forcing: bool = False,
    readout: Readout | None = None,
) -> AbstractGraph:
    """The sum of the changes that a rule WOULD make, the weights held still: its batch form.

    Arguments as for `learn_online`. Returns the structure of `field.parameters()`; biases that do not learn have 0.

    Raises:
        ValueError: as `learn_online`.
    """
    options: dict[str, Any] = {"start": start, "teacher_forcing": teacher_forcing, "readout": readout}
    setup = _checked(rule, OnlineSetup.of(field, task, rule.biases, **options))
    change = _accumulate(rule, setup, jax.random.key(0) if key is None else key)
    return with_synapses(jax.tree.map(jnp.zeros_like, setup.field.parameters()), change)


def _checked(rule: AbstractOnlineRule, setup: OnlineSetup) -> OnlineSetup:
    rule.check(setup.field, setup.task.outputs)
    return setup


class _LoopState(NamedTuple):
    """The state of the loop over samples.

    Attributes:
        state: of the neurons.
        error: e(k-1).
        weights: W.
        rule: the state of the rule.
        alive: whether nothing has exploded.
    """

    state: Float[Array, " neurons"]
    error: Float[Array, " neurons"]
    weights: Float[Array, "neurons sources"]
    rule: RuleState
    alive: Bool[Array, ""]


class _Sample(NamedTuple):
    """One sample of a sequence: inputs and targets before the step, targets after it."""

    rates: Array
    forced: Array
    targets: Array
    valid: Array
    key: Array


class _Sums(NamedTuple):
    """Sums over the samples of a sequence: squared errors, changes of W, and squared changes."""

    errors: Array
    changes: Array
    squared_changes: Array


def _step(
    rule: AbstractOnlineRule, setup: OnlineSetup, update: bool, before: _LoopState, sample: _Sample
) -> tuple[_LoopState, tuple[Array, Array]]:
    """A step of network and rule; returns the change of W and the squared error, both 0 where nothing is learnt."""
    field, weights, h = setup.field, before.weights, setup.task.inputs.step / setup.field.tau
    seen, free = setup.presynaptic(before.state, sample.forced)
    sources = jnp.concatenate([field.activation(seen), sample.rates, jnp.ones(int(rule.biases), field.dtype)])
    fixed = 0.0 if rule.biases else field.biases
    moved = before.state + h * (weights @ sources + fixed - before.state)
    state, inside = (field.activation(moved), field.activation.derivative(moved)) if field.projected else (moved, 1.0)
    errors = jnp.where(jnp.isfinite(sample.targets), setup.outputs(state) - sample.targets, 0)
    context = StepContext(
        weights=weights,
        sources=sources,
        slopes=free * field.activation.derivative(before.state),
        decay=inside * (1 - h),
        step_size=inside * h,
        error=setup.state_errors(errors),
        previous_error=before.error,
        output_error=errors,
        n_outputs=setup.directly_read,
        key=sample.key,
    )
    change, rule_state = rule.step(before.rule, context)
    change = jnp.where(setup.mask > 0, change, 0).astype(weights.dtype)
    sound = jnp.all(jnp.abs(state) < EXPLOSION_BOUND) & jnp.all(jnp.isfinite(change))
    weights = weights + change if update else weights
    after = _LoopState(state, context.error, weights, rule_state, before.alive & sound)
    accepted = sample.valid & after.alive
    kept = jax.tree.map(lambda new, old: jnp.where(accepted, new, old), after, before)
    kept = kept._replace(alive=jnp.where(sample.valid, after.alive, before.alive))
    return kept, (jnp.where(accepted, change, 0), jnp.where(accepted, jnp.sum(errors**2), 0))


def _sequence(
    rule: AbstractOnlineRule, setup: OnlineSetup, update: bool, loop: _LoopState, which: tuple[Array, Array]
) -> tuple[_LoopState, _Sums]:
    """One sequence of the batch, by its number and a key."""
    b, key = which
    task, start = setup.task, setup.start[b]
    loop = loop._replace(state=start, error=jnp.zeros_like(start), rule=rule.reset(loop.rule))
    targets, inputs = task.targets[:, b], task.inputs.values[:, b]
    keys = jax.random.split(key, len(targets) - 1)
    samples = _Sample(inputs[:-1], targets[:-1], targets[1:], task.valid[1:, b], keys)

    def step(carry: tuple[_LoopState, _Sums], sample: _Sample) -> tuple[tuple[_LoopState, _Sums], None]:
        loop, sums = carry
        loop, (change, squared) = _step(rule, setup, update, loop, sample)
        return (loop, _Sums(sums[0] + squared, sums[1] + change, sums[2] + change**2)), None

    zero = jnp.zeros_like(loop.weights)
    (loop, sums), _ = jax.lax.scan(step, (loop, _Sums(jnp.zeros((), start.dtype), zero, zero)), samples)
    return loop, sums


def _epoch(
    rule: AbstractOnlineRule, setup: OnlineSetup, update: bool, loop: _LoopState, key: Key[Array, ""]
) -> tuple[_LoopState, _Sums]:
    """All sequences of the batch, one after another; sums by sequence."""
    which = (jnp.arange(setup.task.batch), jax.random.split(key, setup.task.batch))
    return jax.lax.scan(lambda loop, at: _sequence(rule, setup, update, loop, at), loop, which)


def _loop_state(rule: AbstractOnlineRule, setup: OnlineSetup) -> _LoopState:
    start = setup.start[0]
    weights = jnp.where(setup.mask > 0, synapses(setup.field, rule.biases), 0)
    rule_state = rule.init(setup.field.n_neurons, setup.directly_read, setup.mask)
    return _LoopState(start, jnp.zeros_like(start), weights, rule_state, jnp.ones((), bool))


@eqx.filter_jit
def _accumulate(rule: AbstractOnlineRule, setup: OnlineSetup, key: Key[Array, ""]) -> Array:
    _, sums = _epoch(rule, setup, False, _loop_state(rule, setup), key)
    return jnp.sum(sums.changes, axis=0)


@eqx.filter_jit
def _learn(rule: AbstractOnlineRule, setup: OnlineSetup, key: Key[Array, ""], epochs: int) -> OnlineRun:
    scored = jnp.maximum(jnp.sum(jnp.isfinite(setup.task.targets[1:])), 1)
    steps = jnp.sum(setup.task.valid[1:])
    k, columns = setup.field.n_outputs, synapses(setup.field, rule.biases).shape[1]

    def epoch(carry: tuple[_LoopState, Array, Array], key: Key[Array, ""]) -> tuple[Any, tuple[Array, Array]]:
        loop, best, lowest = carry
        loop, sums = _epoch(rule, setup, True, loop, key)
        squares = jnp.sum(sums.squared_changes, axis=0) / (steps * columns)
        output, internal = jnp.sum(squares[:k]) / k, jnp.sum(squares[k:]) / (len(squares) - k)
        found = jnp.stack([jnp.sum(sums.errors) / scored, jnp.sqrt(output), jnp.sqrt(internal)])
        found = jnp.where(loop.alive, found, jnp.nan)
        better = loop.alive & (found[0] < lowest)
        best = jnp.where(better, loop.weights, best)
        return (loop, best, jnp.where(better, found[0], lowest)), (found, loop.alive)

    loop = _loop_state(rule, setup)
    start = (loop, loop.weights, jnp.asarray(jnp.inf, setup.start.dtype))
    (loop, best, _), (found, alive) = jax.lax.scan(epoch, start, jax.random.split(key, epochs))
    return OnlineRun(
        field=with_synapses(setup.field, best),
        last=with_synapses(setup.field, loop.weights),
        error=found[:, 0],
        output_change=found[:, 1],
        internal_change=found[:, 2],
        exploded=jnp.where(jnp.all(alive), -1, jnp.argmin(alive)).astype(jnp.int32),
    )
