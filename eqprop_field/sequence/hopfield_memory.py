"""Associative memory: patterns that a symmetric network falls back into, in binary and in continuous time."""

import enum
from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, Key

from ..activations import ACTIVATIONS
from ..vector_fields import GraphField, HopfieldField
from ..vector_fields.connectivity import masked

Patterns = Float[Array, "patterns neurons"]


class Storage(enum.Enum):
    """How patterns become weights; the value says when it works."""

    hebbian = "W = (1/N) sum xi xi^T: local; random patterns up to about 0.138 N (Amit, Gutfreund & Sompolinsky 1985)."
    projection = "W = (1/N) sum (C^-1) xi xi^T, C their overlaps: not local; any independent patterns, less than N."


def store(patterns: ArrayLike, storage: Storage = Storage.hebbian) -> Float[Array, "neurons neurons"]:
    """Symmetric weights with an empty diagonal that hold patterns of -1 and 1.

    Args:
        patterns: one a row (patterns, neurons).
        storage: how.

    Raises:
        ValueError: for entries other than -1 and 1, or dependent patterns where they are projected.
    """
    xi = checked_patterns(patterns)
    n = xi.shape[1]
    if storage is Storage.hebbian:
        weights = xi.T @ xi / n
    else:
        overlaps = xi @ xi.T / n
        if np.linalg.matrix_rank(np.asarray(overlaps)) < len(xi):
            raise ValueError("the patterns depend on each other linearly: leave some out, or store them by Hebb's rule")
        weights = xi.T @ jnp.linalg.solve(overlaps, xi) / n
    weights = 0.5 * (weights + weights.T)
    return weights - jnp.diag(jnp.diagonal(weights))


def checked_patterns(patterns: ArrayLike) -> Patterns:
    """Patterns as an array.

    Raises:
        ValueError: for another shape, or entries other than -1 and 1.
    """
    xi = jnp.asarray(patterns, jnp.result_type(float))
    if xi.ndim != 2 or 0 in xi.shape or not bool(jnp.all(jnp.abs(xi) == 1)):
        raise ValueError(f"patterns of shape {xi.shape}: give one pattern of -1 and 1 a row, (patterns, neurons)")
    return xi


class Recall(NamedTuple):
    """Where a binary memory came to.

    Attributes:
        states: the last states (batch, neurons).
        energies: before the first step and after each (time, batch).
        period: 1 for a fixed point, 2 for a cycle of two, 0 where neither was reached (batch,).
    """

    states: Array
    energies: Array
    period: Array


class BinaryMemory(eqx.Module):
    r"""Neurons of -1 and 1: $s_i \leftarrow \mathrm{sign}(\sum_j W_{ij} s_j + b_i)$, kept where the sum is 0.

    With symmetric W without a diagonal, updates one after another never raise $E = -\tfrac12 s^\top W s - b^\top s$ and
    end in a fixed point after finitely many; all at once, they end in a fixed point or a cycle of two. Source: Hopfield
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

    def one_by_one(self, states: ArrayLike, key: Key[Array, ""], *, sweeps: int = 100) -> Recall:
        """Updates every neuron in turn, in a new random order each sweep.

        Args:
            states: where to begin (batch, neurons).
            key: for the orders.
            sweeps: the longest way.

        Raises:
            ValueError: for states other than -1 and 1.
        """
        return _one_by_one(self, checked_patterns(states), jax.random.split(key, sweeps))

    def all_at_once(self, states: ArrayLike, *, steps: int = 200) -> Recall:
        """Updates all neurons together. Arguments and errors as for `one_by_one`."""
        return _all_at_once(self, checked_patterns(states), steps)

    def field(self, states: Array, which: Array | slice = slice(None)) -> Array:
        """The summed input of these neurons."""
        return states @ self.weights[:, which] + self.biases[which]


@eqx.filter_jit
def _one_by_one(memory: BinaryMemory, states: Array, keys: Array) -> Recall:
    def sweep(carry: tuple[Array, Array], key: Array) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        def update(carry: tuple[Array, Array], i: Array) -> tuple[tuple[Array, Array], Array]:
            states, energy = carry
            field = memory.field(states, i)
            new = jnp.where(field == 0, states[:, i], jnp.sign(field))
            energy = energy - (new - states[:, i]) * field  # a neuron does not act on itself
            return (states.at[:, i].set(new), energy), energy

        after, energies = jax.lax.scan(update, carry, jax.random.permutation(key, states.shape[1]))
        return after, (energies, jnp.all(after[0] == carry[0], axis=1))

    begun = memory.energy(states)
    (last, _), (energies, same) = jax.lax.scan(sweep, (states, begun), keys)
    path = jnp.concatenate([begun[None], energies.reshape(-1, len(states))])
    return Recall(last, path, same[-1].astype(int))


@eqx.filter_jit
def _all_at_once(memory: BinaryMemory, states: Array, steps: int) -> Recall:
    def updated(states: Array) -> Array:
        field = memory.field(states)
        return jnp.where(field == 0, states, jnp.sign(field))

    def step(pair: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], Array]:
        after = updated(pair[1])
        return (pair[1], after), memory.energy(after)

    (before, last), energies = jax.lax.scan(step, (states, states), None, length=steps)
    after = updated(last)
    period = jnp.where(jnp.all(after == last, axis=1), 1, jnp.where(jnp.all(after == before, axis=1), 2, 0))
    return Recall(last, jnp.concatenate([memory.energy(states)[None], energies]), period)


def continuous_memory(patterns: ArrayLike, *, gain: float = 4.0, storage: Storage = Storage.hebbian) -> HopfieldField:
    """A `HopfieldField` with tanh units that holds patterns: start it near one, and any substrate lets it settle there.

    Its one input has no synapses; give it zeros. The gain multiplies the stored weights: 0 is the only memory of a
    network whose gain is at most 1.

    Args:
        patterns: of -1 and 1, one a row.
        gain: of the weights.
        storage: how patterns become weights.

    Raises:
        ValueError: as `store`, and for a gain of at most 1.
    """
    if not gain > 1:
        raise ValueError(f"gain={gain}: with a gain of at most 1 nothing but the state 0 is remembered")
    weights = gain * store(patterns, storage)
    n = len(weights)
    return HopfieldField(
        weights=jnp.triu(weights, 1),
        input_weights=jnp.zeros((n, 1)),
        biases=jnp.zeros(n),
        mask=~jnp.eye(n, dtype=bool),
        tau=jnp.ones(n),
        n_outputs=n,
        activation=ACTIVATIONS["tanh"],
        projected=False,
    )


def overlap(states: Float[Array, "batch n"], patterns: Patterns) -> Float[Array, "batch patterns"]:
    """The mean of s_i xi_i, of signs of states: 1 where a pattern is recalled, 0 where it is forgotten."""
    return jnp.sign(states) @ patterns.T / patterns.shape[1]


def graded_energy(
    field: GraphField, state: Float[Array, "batch n"], drive: Float[Array, "batch n"]
) -> Float[Array, " batch"]:
    r"""Hopfield's energy of graded neurons, for leaky integrators with symmetric weights, x' = -x + W rho(x) + d.

    $$E = -\tfrac12 V^\top W V - d^\top V + \sum_i \int_0^{V_i} \rho^{-1}(v)\,dv, \qquad V = \rho(x), \qquad
      \dot E = -\sum_i \tau_i\,\rho'(x_i)\,\dot x_i^2 \le 0$$

    with the integral as x rho(x) - int_0^x rho. Source: Hopfield 1984.

    Args:
        field: with W = W^T.
        state: x.
        drive: d = W_in u + b, as `field.drive(u)` gives it.

    Raises:
        ValueError: for an activation without an inverse that is known here (tanh and sigmoid), or asymmetric weights.
    """
    if field.activation.name not in _PRIMITIVES:
        raise ValueError(f"{field.activation.name} has no inverse to integrate: use {' or '.join(_PRIMITIVES)}")
    w = masked(field.mask, field.weights)
    if not bool(jnp.allclose(w, w.T, rtol=0, atol=1e-12)):
        raise ValueError("asymmetric weights have no energy: symmetrise them, or look at the trajectory itself")
    rates = field.activation(state)
    stored = state * rates - _PRIMITIVES[field.activation.name](state)
    return jnp.sum(stored, axis=1) - 0.5 * jnp.sum(rates * (rates @ w), axis=1) - jnp.sum(drive * rates, axis=1)


# int_0^x rho.
_PRIMITIVES = {
    "tanh": lambda x: jnp.logaddexp(x, -x) - jnp.log(2.0),
    "sigmoid": lambda x: jax.nn.softplus(x) - jnp.log(2.0),
}


class Capacity(NamedTuple):
    """How well a memory recalls, against how much it holds.

    Attributes:
        stored: patterns held (loads,).
        overlap: with the pattern asked for, after recall (loads, trials).
    """

    stored: Int[np.ndarray, " loads"]
    overlap: Float[np.ndarray, "loads trials"]


def capacity(
    key: Key[Array, ""],
    *,
    neurons: int = 200,
    stored: Sequence[int] = (4, 10, 16, 20, 24, 28, 32, 40, 60),
    trials: int = 20,
    flipped: float = 0.1,
    storage: Storage = Storage.hebbian,
) -> Capacity:
    """Asks binary memories of random patterns for one of them, with a share of its neurons flipped.

    Args:
        key: a JAX random key.
        neurons: N.
        stored: how many patterns, for each point of the curve.
        trials: memories a point.
        flipped: the share of neurons that the cue has wrong.
        storage: how patterns become weights.

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
            recalled = BinaryMemory.of(patterns, storage).one_by_one(cue, keys[2], sweeps=30).states
            found[i, trial] = float(overlap(recalled, patterns)[0, 0])
    return Capacity(loads, found)
