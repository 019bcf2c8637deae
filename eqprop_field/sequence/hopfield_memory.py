"""Associative memories: Hopfield networks that store patterns, in binary and in continuous time."""

import dataclasses
import enum
from collections.abc import Sequence
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, Key

from ..activations import ACTIVATIONS
from ..results import AbstractPytreeResult, AbstractResult
from ..vector_fields import AbstractGraph, AbstractLeakyIntegrator, AbstractVectorField, field_class, flatten_state
from ..vector_fields.base import State
from ..vector_fields.leaky import require

Patterns = Float[Array, "patterns neurons"]


class Storage(enum.Enum):
    """Storage rules: how patterns become weights; the value says when each works."""

    hebbian = "W = (1/N) sum xi xi^T: local; random patterns up to about 0.138 N (Amit, Gutfreund & Sompolinsky 1985)."
    projection = "W = (1/N) sum (C^-1) xi xi^T, C their overlaps: not local; any independent patterns, less than N."


def store(patterns: ArrayLike, storage: Storage = Storage.hebbian) -> Float[Array, "neurons neurons"]:
    """Symmetric weights with an empty diagonal that store patterns of -1 and 1.

    Args:
        patterns: one a row (patterns, neurons).
        storage: the storage rule.

    Raises:
        ValueError: for entries other than -1 and 1, or dependent patterns where they are projected.
    """
    xi = np.asarray(checked_patterns(patterns))
    n = xi.shape[1]
    if storage is Storage.hebbian:
        weights = xi.T @ xi / n
    else:
        overlaps = xi @ xi.T / n
        if np.linalg.matrix_rank(overlaps) < len(xi):
            raise ValueError("the patterns depend on each other linearly: leave some out, or store them by Hebb's rule")
        weights = xi.T @ np.linalg.solve(overlaps, xi) / n
    weights = 0.5 * (weights + weights.T)
    np.fill_diagonal(weights, 0)
    return jnp.asarray(weights)


def checked_patterns(patterns: ArrayLike) -> Patterns:
    """Patterns as an array.

    Raises:
        ValueError: for another shape, or entries other than -1 and 1.
    """
    xi = jnp.asarray(patterns, jnp.result_type(float))
    if xi.ndim != 2 or 0 in xi.shape or not (np.abs(np.asarray(xi)) == 1).all():
        raise ValueError(f"patterns of shape {xi.shape}: give one pattern of -1 and 1 a row, (patterns, neurons)")
    return xi


class Recall(AbstractPytreeResult):
    """The result of a recall from a binary memory.

    Attributes:
        states: the last states (batch, neurons).
        energies: before the first update and after each (time, batch).
        period: 1 for a fixed point, 2 for a cycle of two, 0 where neither was reached (batch,).
    """

    states: Float[Array, "batch neurons"]
    energies: Float[Array, "time batch"]
    period: Int[Array, " batch"]
    stem: ClassVar[str] = "recall"

    def rows(self) -> list[dict[str, Any]]:
        """One row a sequence: `sequence`, `first_energy`, `last_energy`, `period`."""
        columns = zip(self.energies[0].tolist(), self.energies[-1].tolist(), self.period.tolist(), strict=True)
        names = ("first_energy", "last_energy", "period")
        return [{"sequence": b} | dict(zip(names, row, strict=True)) for b, row in enumerate(columns)]

    def summary(self) -> dict[str, Any]:
        periods = np.asarray(self.period)
        return {
            "sequences": len(periods),
            "neurons": self.states.shape[1],
            "fixed_points": int((periods == 1).sum()),
            "cycles": int((periods == 2).sum()),
            "unfinished": int((periods == 0).sum()),
        }


class BinaryMemory(eqx.Module):
    r"""Binary Hopfield networks: $s_i \leftarrow \mathrm{sign}(\sum_j W_{ij} s_j + b_i)$, unchanged where the sum is 0.

    With symmetric W without a diagonal, asynchronous updates never raise $E = -\tfrac12 s^\top W s - b^\top s$ and
    end in a fixed point after finitely many; synchronous ones end in a fixed point or a cycle of two. Source: Hopfield
    1982; for the cycle Goles & Olivos 1981.

    Attributes:
        weights: W (neurons, neurons).
        biases: b (neurons,).
    """

    weights: Float[Array, "n n"]
    biases: Float[Array, " n"]

    def __check_init__(self) -> None:
        w = np.asarray(self.weights)
        if not np.array_equal(w, w.T) or np.diagonal(w).any():
            raise ValueError("a memory has symmetric weights with an empty diagonal, or its energy may rise")

    @classmethod
    def of(cls, patterns: ArrayLike, storage: Storage = Storage.hebbian) -> "BinaryMemory":
        """A memory of patterns. Arguments and errors as for `store`."""
        weights = store(patterns, storage)
        return cls(weights, jnp.zeros(len(weights), weights.dtype))

    def energy(self, states: Float[Array, "batch n"]) -> Float[Array, " batch"]:
        """E of every state."""
        return -0.5 * jnp.sum(states * (states @ self.weights), axis=1) - states @ self.biases

    def asynchronous_update(self, states: ArrayLike, key: Key[Array, ""], *, sweeps: int = 100) -> Recall:
        """Updates every neuron in turn, in a new random order each sweep.

        Args:
            states: the initial states (batch, neurons).
            key: for the orders.
            sweeps: at most so many.

        Raises:
            ValueError: for states other than -1 and 1.
        """
        return _asynchronous(self, checked_patterns(states), jax.random.split(key, sweeps))

    def synchronous_update(self, states: ArrayLike, *, steps: int = 200) -> Recall:
        """Updates all neurons together. Arguments and errors as for `asynchronous_update`."""
        return _synchronous(self, checked_patterns(states), steps)

    def local_field(self, states: Array, which: Array | slice = slice(None)) -> Array:
        """The summed input of these neurons."""
        return states @ self.weights[:, which] + self.biases[which]


@eqx.filter_jit
def _asynchronous(memory: BinaryMemory, states: Array, keys: Array) -> Recall:
    def sweep(carry: tuple[Array, Array], key: Array) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        def update(carry: tuple[Array, Array], i: Array) -> tuple[tuple[Array, Array], Array]:
            states, energy = carry
            field = memory.local_field(states, i)
            new = jnp.where(field == 0, states[:, i], jnp.sign(field))
            energy = energy - (new - states[:, i]) * field  # a neuron does not act on itself
            return (states.at[:, i].set(new), energy), energy

        after, energies = jax.lax.scan(update, carry, jax.random.permutation(key, states.shape[1]))
        return after, (energies, jnp.all(after[0] == carry[0], axis=1))

    initial = memory.energy(states)
    (last, _), (energies, same) = jax.lax.scan(sweep, (states, initial), keys)
    path = jnp.concatenate([initial[None], energies.reshape(-1, len(states))])
    return Recall(last, path, same[-1].astype(int))


@eqx.filter_jit
def _synchronous(memory: BinaryMemory, states: Array, steps: int) -> Recall:
    def updated(states: Array) -> Array:
        field = memory.local_field(states)
        return jnp.where(field == 0, states, jnp.sign(field))

    def step(pair: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], Array]:
        after = updated(pair[1])
        return (pair[1], after), memory.energy(after)

    (before, last), energies = jax.lax.scan(step, (states, states), None, length=steps)
    after = updated(last)
    period = jnp.where(jnp.all(after == last, axis=1), 1, jnp.where(jnp.all(after == before, axis=1), 2, 0))
    return Recall(last, jnp.concatenate([memory.energy(states)[None], energies]), period)


def continuous_memory(patterns: ArrayLike, *, gain: float = 4.0, storage: Storage = Storage.hebbian) -> AbstractGraph:
    """A continuous Hopfield field with tanh units that stores patterns, to which it settles from states nearby.

    Its one input has no synapses; give it zeros. The gain multiplies the stored weights: 0 is the only memory of a
    network whose gain is at most 1.

    Args:
        patterns: of -1 and 1, one a row.
        gain: of the weights.
        storage: the storage rule.

    Raises:
        ValueError: as `store`, and for a gain of at most 1.
    """
    if not gain > 1:
        raise ValueError(f"gain={gain}: with a gain of at most 1 nothing but the state 0 is remembered")
    weights = gain * store(patterns, storage)
    n = len(weights)
    return field_class("hopfield")(
        weights=jnp.triu(weights, 1),
        input_weights=jnp.zeros((n, 1)),
        biases=jnp.zeros(n),
        mask=~jnp.eye(n, dtype=bool),
        tau=jnp.ones(n),
        n_outputs=n,
        activation=ACTIVATIONS["tanh"],
        projected=False,
    )


@jax.jit
def overlap(states: Float[Array, "batch n"], patterns: Patterns) -> Float[Array, "batch patterns"]:
    """The mean of sign(s_i) xi_i: 1 for a recalled pattern, about 0 for an unrelated one."""
    return jnp.sign(states) @ patterns.T / patterns.shape[1]


def graded_energy(field: AbstractVectorField, state: State, drive: State) -> Float[Array, " batch"]:
    r"""Hopfield's energy of graded neurons, for leaky integrators with symmetric weights, x' = -x + W rho(x) + d.

    $$E = -\tfrac12 V^\top W V - d^\top V + \sum_i \int_0^{V_i} \rho^{-1}(v)\,dv, \qquad V = \rho(x), \qquad
      \dot E = -\sum_i \tau_i\,\rho'(x_i)\,\dot x_i^2 \le 0$$

    with the integral as x rho(x) - int_0^x rho. Source: Hopfield 1984.

    Args:
        field: leaky integrators with W = W^T.
        state: x.
        drive: d = W_in u + b, as `field.drive(u)` gives it.

    Raises:
        ValueError: for another field than leaky integrators, an activation without an inverse that is known here (tanh
            and sigmoid), linear output neurons, or asymmetric weights.
    """
    neurons = require(field, AbstractLeakyIntegrator, "the energy of graded neurons")
    rho = neurons.activation
    if rho.name not in _PRIMITIVES or neurons.free_outputs:
        raise ValueError(
            f"{rho.name} neurons have no inverse to integrate: use {' or '.join(_PRIMITIVES)} for all of them"
        )
    w = neurons.recurrent_matrix()
    if not bool(jnp.allclose(w, w.T, rtol=0, atol=1e-12)):
        raise ValueError("asymmetric weights have no energy: symmetrise them, or look at the trajectory itself")
    x, d = flatten_state(state), flatten_state(drive)
    rates = rho(x)
    stored = x * rates - _PRIMITIVES[rho.name](x)
    return jnp.sum(stored, axis=1) - 0.5 * jnp.sum(rates * (rates @ w), axis=1) - jnp.sum(d * rates, axis=1)


# int_0^x rho.
_PRIMITIVES = {
    "tanh": lambda x: jnp.logaddexp(x, -x) - jnp.log(2.0),
    "sigmoid": lambda x: jax.nn.softplus(x) - jnp.log(2.0),
}


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Capacity(AbstractResult):
    """The overlap of recalled states with the patterns cued, against the number of patterns stored.

    Attributes:
        stored: patterns stored (loads,).
        overlap: with the pattern that was cued, after recall (loads, trials).
        neurons: N.
    """

    stored: Int[np.ndarray, " loads"]
    overlap: Float[np.ndarray, "loads trials"]
    neurons: int
    stem: ClassVar[str] = "capacity"

    def rows(self) -> list[dict[str, Any]]:
        """One row a memory: `stored`, `load` (patterns a neuron), `trial`, `overlap`."""
        return [
            {"stored": stored, "load": stored / self.neurons, "trial": trial, "overlap": overlap}
            for stored, overlaps in zip(self.stored.tolist(), self.overlap.tolist(), strict=True)
            for trial, overlap in enumerate(overlaps)
        ]

    def summary(self) -> dict[str, Any]:
        """The mean overlap by load, and the largest load at which it is at least 0.9."""
        means = self.overlap.mean(axis=1)
        recalled = self.stored[means >= 0.9]
        return {
            "neurons": self.neurons,
            "trials": self.overlap.shape[1],
            "largest_load": float(recalled.max() / self.neurons) if len(recalled) else 0.0,
            "mean_overlap": dict(zip(map(str, self.stored.tolist()), means.tolist(), strict=True)),
        }


def capacity(
    key: Key[Array, ""],
    *,
    neurons: int = 200,
    stored: Sequence[int] = (4, 10, 16, 20, 24, 28, 32, 40, 60),
    trials: int = 20,
    flipped: float = 0.1,
    storage: Storage = Storage.hebbian,
) -> Capacity:
    """Measures recall against load: binary memories of random patterns are cued by one, some of its neurons flipped.

    Args:
        key: a JAX random key.
        neurons: N.
        stored: how many patterns, for each point of the curve.
        trials: memories a point.
        flipped: the share of neurons that are flipped in the cue.
        storage: the storage rule.

    Raises:
        ValueError: for numbers of patterns below 1, or a share outside [0, 0.5].
    """
    loads = np.asarray(stored, int)
    if loads.ndim != 1 or not loads.size or loads.min() < 1 or trials < 1 or neurons < 2:
        raise ValueError(f"stored={loads.tolist()}, trials={trials}, neurons={neurons}: give at least 1, 1 and 2")
    if not 0 <= flipped <= 0.5:
        raise ValueError(f"flipped={flipped}: give a share between 0 and 0.5")
    found = np.empty((len(loads), trials))
    for i, load in enumerate(loads.tolist()):
        for trial in range(trials):
            keys = jax.random.split(jax.random.fold_in(key, i * trials + trial), 3)
            patterns = jax.random.rademacher(keys[0], (load, neurons), jnp.result_type(float))
            wrong = jnp.arange(neurons) < round(flipped * neurons)
            cue = patterns[:1] * jnp.where(jax.random.permutation(keys[1], wrong), -1, 1)
            recalled = BinaryMemory.of(patterns, storage).asynchronous_update(cue, keys[2], sweeps=30).states
            found[i, trial] = float(overlap(recalled, patterns)[0, 0])
    return Capacity(loads, found, neurons)
