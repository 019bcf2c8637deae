"""Learning while the network runs: the interface of every online rule, and the loop that they share."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int, Key, PyTree

from .._arrays import is_concrete
from ..signals import EXPLOSION_BOUND, Task
from ..vector_fields import AbstractVectorField, GraphField
from .bptt import check_task, teacher_of
from .driven import check_drive, started
from .readout import Readout

Memory = PyTree[Array]


class StepContext(eqx.Module):
    r"""One step of a driven network as a rule sees it: $x(k) = \kappa\,x(k-1) + h\,W\varphi(k-1)$, kappa = 1 - h.

    Attributes:
        weights: W = [recurrent, input (, bias)] BEFORE the step (neurons, sources).
        sources: phi(k-1) = [rho(x(k-1)), u(k-1) (, 1)], what every synapse carries.
        slopes: rho'(x(k-1)), 0 where a teacher stood in the neuron's place.
        keep: kappa by neuron, 0 for one that was clipped to its bound.
        gain: h = dt/tau by neuron, 0 for one that was clipped.
        error: e(k) = dE(k)/dx(k).
        previous_error: e(k-1); 0 at the first step, where there is none.
        outputs: how many neurons are read directly (the first ones); 0 with a readout of all.
        key: a fresh random key.
    """

    weights: Float[Array, "neurons sources"]
    sources: Float[Array, " sources"]
    slopes: Float[Array, " neurons"]
    keep: Float[Array, " neurons"]
    gain: Float[Array, " neurons"]
    error: Float[Array, " neurons"]
    previous_error: Float[Array, " neurons"]
    key: Key[Array, ""]
    outputs: int = eqx.field(static=True)

    @property
    def recurrent(self) -> Float[Array, "neurons neurons"]:
        """W without the columns of inputs and bias."""
        return self.weights[:, : len(self.slopes)]

    def propagate(self, tangents: Float[Array, "neurons *any"]) -> Float[Array, "neurons *any"]:
        """J tangents, with J = dx(k)/dx(k-1) = kappa + h W diag(rho')."""

        def rows(factor: Array) -> Array:
            return factor.reshape(-1, *[1] * (tangents.ndim - 1))

        among = jnp.tensordot(self.recurrent, rows(self.slopes) * tangents, 1)
        return rows(self.keep) * tangents + rows(self.gain) * among


class AbstractOnlineRule(eqx.Module):
    """Changes the synapses of a driven graph at every step, from what it has at hand and a memory of its own.

    Attributes:
        biases: whether biases learn too: they are the strengths of a clamped source that is always 1.
    """

    biases: eqx.AbstractVar[bool]

    @abc.abstractmethod
    def begin(self, neurons: int, outputs: int, visible: Float[Array, "rows sources"]) -> Memory:
        """The memory before the first sequence.

        Args:
            neurons: N.
            outputs: how many of them are read directly; 0 with a readout of all.
            visible: 1 where a neuron has a synapse from a source; a single row where all neurons have the same.
        """

    @abc.abstractmethod
    def restart(self, memory: Memory) -> Memory:
        """The memory when a sequence starts anew, the network having been put to its first state."""

    @abc.abstractmethod
    def step(self, memory: Memory, now: StepContext) -> tuple[Float[Array, "neurons sources"], Memory]:
        """The change of W at this step, and the memory for the next."""

    def check(self, field: GraphField) -> None:
        """Refuses networks that the rule is not defined for; none by default.

        Raises:
            ValueError: saying why, and what to use instead.
        """
        del field


class OnlineRun(eqx.Module):
    """What became of a network that learnt while it ran.

    Errors and changes are taken WHILE learning: the weights move within an epoch.

    Attributes:
        field: the network after its best epoch (the first one if it exploded before the end of an epoch).
        last: the network after its last epoch, or as it was when it exploded.
        error: the mean squared error of every epoch (epochs,); NaN from the explosion on.
        output_change: root mean square change a step of the synapses TO the output neurons (epochs,).
        internal_change: the same for all other neurons; NaN without any.
        exploded: the epoch in which the network or its learning exploded, from 0; -1 if it did not.
    """

    field: GraphField
    last: GraphField
    error: Float[Array, " epochs"]
    output_change: Float[Array, " epochs"]
    internal_change: Float[Array, " epochs"]
    exploded: Int[Array, ""]

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


def synapses(field: GraphField, biases: bool) -> Float[Array, "neurons sources"]:
    """W = [recurrent, input (, bias)] side by side; on a gradient, the gradient's."""
    columns = [field.weights, field.input_weights]
    return jnp.concatenate([*columns, field.biases[:, None]] if biases else columns, axis=1)


def with_synapses(field: GraphField, weights: Float[Array, "neurons sources"]) -> GraphField:
    """The field with these; its own biases where the matrix has none."""
    n, m = field.n_neurons, field.n_inputs
    biases = weights[:, n + m] if weights.shape[1] > n + m else field.biases
    new = (weights[:, :n], weights[:, n : n + m], biases)
    return eqx.tree_at(lambda f: (f.weights, f.input_weights, f.biases), field, new)


def learn_online(
    rule: AbstractOnlineRule,
    field: AbstractVectorField,
    task: Task,
    *,
    epochs: int = 1,
    key: Key[Array, ""] | None = None,
    start: ArrayLike | None = None,
    taught: bool = False,
    readout: Readout | None = None,
) -> OnlineRun:
    """Runs a task again and again, learning at every step; the sequences of a batch follow one another.

    The network makes the Euler steps of `EulerClock`, and goes back to `start` with each sequence. An epoch in which a
    state passes a million, or anything is not finite, is the last one. Runs under `jax.vmap` over field and key.

    Args:
        rule: how to learn.
        field: a `GraphField`.
        task: inputs and targets.
        epochs: how often.
        key: for rules that draw; the same draws every time by default.
        start: the state at the first sample, as for `simulate`.
        taught: whether targets are fed back in place of the outputs (teacher forcing).
        readout: what reads the outputs; it is not learnt.

    Raises:
        ValueError: for a field or a task that do not fit the rule or each other.
    """
    if epochs < 1:
        raise ValueError(f"epochs={epochs}: give at least one")
    plant, task, begun = _prepared(rule, field, task, start, taught, readout)
    return _learn(rule, plant, task, begun, jax.random.key(0) if key is None else key, epochs)


def total_change(
    rule: AbstractOnlineRule,
    field: AbstractVectorField,
    task: Task,
    *,
    key: Key[Array, ""] | None = None,
    start: ArrayLike | None = None,
    taught: bool = False,
    readout: Readout | None = None,
) -> GraphField:
    """The sum of the changes that a rule WOULD make, the weights held still: its batch form.

    Arguments as for `learn_online`. Returns the structure of `field.parameters()`; biases that do not learn have 0.

    Raises:
        ValueError: as `learn_online`.
    """
    plant, task, begun = _prepared(rule, field, task, start, taught, readout)
    key = jax.random.key(0) if key is None else key
    change = _total(rule, plant, task, begun, key)
    parameters = plant.field.parameters()
    return with_synapses(jax.tree.map(jnp.zeros_like, parameters), change)


class _Plant(eqx.Module):
    """The network and how it is read."""

    field: GraphField
    visible: Float[Array, "rows sources"]
    readout: Readout | None
    taught: bool = eqx.field(static=True)

    @property
    def reads(self) -> int:
        """How many neurons are read directly."""
        return self.field.n_outputs if self.readout is None else 0

    def outputs(self, state: Array) -> Array:
        return state[: self.field.n_outputs] if self.readout is None else self.readout(state)

    def seen(self, state: Array, target: Array) -> tuple[Array, Array | float]:
        """The state that synapses read, with targets in the place of the outputs where they are taught; and 0 there."""
        if not self.taught:
            return state, 1.0
        known = jnp.isfinite(target)
        forced = state.at[: len(target)].set(jnp.where(known, target, state[: len(target)]))
        return forced, jnp.ones_like(state).at[: len(target)].set(~known)

    def at_neurons(self, error: Array) -> Array:
        """dE/dx from the error of the outputs."""
        if self.readout is not None:
            return self.readout.pull_back(error)
        return jnp.pad(error, (0, self.field.n_neurons - self.field.n_outputs))


def _prepared(
    rule: AbstractOnlineRule,
    field: AbstractVectorField,
    task: Task,
    start: ArrayLike | None,
    taught: bool,
    readout: Readout | None,
) -> tuple[_Plant, Task, Array]:
    if not isinstance(field, GraphField):
        raise ValueError(
            f"online rules change one matrix of synapses, which {type(field).__name__} has not: use a GraphField "
            "(GraphField.from_layers for layers)"
        )
    rule.check(field)
    check_task(field, task, readout)
    check_drive(field, task.inputs, teacher_of(task) if taught else None)
    plant = _Plant(field, visible_sources(field, rule.biases), readout, taught)
    return plant, task.astype(field.dtype), started(field, task.batch, start)


def visible_sources(field: GraphField, biases: bool) -> Float[Array, "rows sources"]:
    """1 where a neuron has a synapse from a source; one row for all neurons where they have the same."""
    into = jnp.ones_like(field.input_weights) if field.input_mask is None else field.input_mask
    columns = [field.mask, into] + [jnp.ones((field.n_neurons, 1))] * biases
    visible = jnp.concatenate([column.astype(field.dtype) for column in columns], axis=1)
    return visible[:1] if is_concrete(visible) and bool(jnp.all(visible == visible[0])) else visible


class _Way(eqx.Module):
    """Where the run has come to."""

    state: Array
    error: Array
    weights: Array
    memory: Any
    alive: Array


def _one_step(
    rule: AbstractOnlineRule, plant: _Plant, step: Array, applied: bool, way: _Way, sample: Any
) -> tuple[_Way, tuple[Array, Array]]:
    """A step of network and rule; returns the change of W and the squared error, both 0 where nothing is learnt."""
    rates, forced, wanted, live, key = sample
    field = plant.field
    weights, h = way.weights, step / field.tau
    seen, own = plant.seen(way.state, forced)
    sources = jnp.concatenate([field.activation(seen), rates, jnp.ones(int(rule.biases), field.dtype)])
    held = 0.0 if rule.biases else field.biases
    moved = way.state + h * (weights @ sources + held - way.state)
    state, free = (field.activation(moved), field.activation.derivative(moved)) if field.projected else (moved, 1.0)
    scored = jnp.where(jnp.isfinite(wanted), plant.outputs(state) - wanted, 0)
    now = StepContext(
        weights=weights,
        sources=sources,
        slopes=own * field.activation.derivative(way.state),
        keep=free * (1 - h),
        gain=free * h,
        error=plant.at_neurons(scored),
        previous_error=way.error,
        outputs=plant.reads,
        key=key,
    )
    change, memory = rule.step(way.memory, now)
    change = jnp.where(plant.visible > 0, change, 0).astype(weights.dtype)
    sound = jnp.all(jnp.abs(state) < EXPLOSION_BOUND) & jnp.all(jnp.isfinite(change))
    after = _Way(state, now.error, weights + change if applied else weights, memory, way.alive & sound)
    goes_on = live & after.alive
    kept = jax.tree.map(lambda new, old: jnp.where(goes_on, new, old), after, way)
    kept = eqx.tree_at(lambda w: w.alive, kept, jnp.where(live, after.alive, way.alive))
    return kept, (jnp.where(goes_on, change, 0), jnp.where(goes_on, jnp.sum(scored**2), 0))


def _sequence(
    rule: AbstractOnlineRule, plant: _Plant, task: Task, start: Array, applied: bool, way: _Way, which: Any
) -> tuple[_Way, Any]:
    """One sequence of the batch: the sums of squared errors, of changes, and of squared changes."""
    b, key = which
    way = _Way(start[b], jnp.zeros_like(start[b]), way.weights, rule.restart(way.memory), way.alive)
    keys = jax.random.split(key, len(task.targets) - 1)
    targets, inputs = task.targets[:, b], task.inputs.values[:, b]
    samples = (inputs[:-1], targets[:-1], targets[1:], task.valid[1:, b], keys)

    def step(carry: tuple[_Way, Array, Array, Array], sample: Any) -> tuple[Any, None]:
        way, errors, total, squares = carry
        way, (change, squared) = _one_step(rule, plant, task.inputs.step, applied, way, sample)
        return (way, errors + squared, total + change, squares + change**2), None

    blank = jnp.zeros_like(way.weights)
    (way, *sums), _ = jax.lax.scan(step, (way, jnp.zeros((), start.dtype), blank, blank), samples)
    return way, sums


@eqx.filter_jit
def _total(rule: AbstractOnlineRule, plant: _Plant, task: Task, start: Array, key: Key[Array, ""]) -> Array:
    way = _begin(rule, plant, start)
    which = (jnp.arange(task.batch), jax.random.split(key, task.batch))
    _, (_, total, _) = jax.lax.scan(lambda w, at: _sequence(rule, plant, task, start, False, w, at), way, which)
    return jnp.sum(total, axis=0)


def _begin(rule: AbstractOnlineRule, plant: _Plant, start: Array) -> _Way:
    weights = jnp.where(plant.visible > 0, synapses(plant.field, rule.biases), 0)
    memory = rule.begin(plant.field.n_neurons, plant.reads, plant.visible)
    return _Way(start[0], jnp.zeros_like(start[0]), weights, memory, jnp.ones((), bool))


@eqx.filter_jit
def _learn(
    rule: AbstractOnlineRule, plant: _Plant, task: Task, start: Array, key: Key[Array, ""], epochs: int
) -> OnlineRun:
    scored = jnp.maximum(jnp.sum(jnp.isfinite(task.targets[1:])), 1)
    steps = jnp.sum(task.valid[1:])
    reads, columns = plant.field.n_outputs, synapses(plant.field, rule.biases).shape[1]

    def epoch(carry: Any, key: Key[Array, ""]) -> tuple[Any, Any]:
        way, best, lowest = carry
        which = (jnp.arange(task.batch), jax.random.split(key, task.batch))
        way, (errors, _, squares) = jax.lax.scan(
            lambda w, at: _sequence(rule, plant, task, start, True, w, at), way, which
        )
        squares = jnp.sum(squares, axis=0) / (steps * columns)
        output, internal = jnp.sum(squares[:reads]) / reads, jnp.sum(squares[reads:]) / (len(squares) - reads)
        found = jnp.stack([jnp.sum(errors) / scored, jnp.sqrt(output), jnp.sqrt(internal)])
        found = jnp.where(way.alive, found, jnp.nan)
        better = way.alive & (found[0] < lowest)
        best = jnp.where(better, way.weights, best)
        return (way, best, jnp.where(better, found[0], lowest)), (found, way.alive)

    way = _begin(rule, plant, start)
    begun = (way, way.weights, jnp.asarray(jnp.inf, start.dtype))
    (way, best, _), (found, alive) = jax.lax.scan(epoch, begun, jax.random.split(key, epochs))
    return OnlineRun(
        field=with_synapses(plant.field, best),
        last=with_synapses(plant.field, way.weights),
        error=found[:, 0],
        output_change=found[:, 1],
        internal_change=found[:, 2],
        exploded=jnp.where(jnp.all(alive), -1, jnp.argmin(alive)).astype(jnp.int32),
    )
