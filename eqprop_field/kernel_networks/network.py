"""Kernel networks: a unit with its weights, and which of these are learnt, frozen, bounded or shared."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, Key

from ..signals import Recording, Signal
from .dynamics import run
from .nodes import AbstractUnit, UnitStructure, Weights, structure_of


class KernelNetwork(eqx.Module):
    r"""Kernel networks: nodes as weighted sums of kernels, $x_n(t) = \Phi_{n0t} + \sum_d W_{nd}\,\Phi_{ndt}$.

    Sample 0 is rest, where all nodes are 0; sample k is x after k steps, the first of which reads sample 0 of the
    input.
    Source: Vieville et al. 2017, equation 1.

    Attributes:
        unit: the form of its nodes.
        weights: W by group (nodes, kernels).
        labels: which parameter each weight is; weights of one label are shared, -1 is frozen.
        low: lower bounds of the parameters (parameters,).
        high: upper bounds.
        sharing: whether any two weights are one parameter.
        nonuniform: the groups in which some nodes learn other kernels than the rest.
    """

    unit: AbstractUnit = eqx.field(static=True)
    weights: Weights
    labels: dict[str, Int[Array, "_ _"]]
    low: Float[Array, " parameters"]
    high: Float[Array, " parameters"]
    sharing: bool = eqx.field(static=True)
    nonuniform: tuple[str, ...] = eqx.field(static=True)

    @classmethod
    def create(
        cls, unit: AbstractUnit, key: Key[Array, ""], *, mean: float = 0.0, spread: float | None = None
    ) -> "KernelNetwork":
        """A network with normal random weights, cut to their bounds.

        Args:
            unit: the form of its nodes.
            key: a JAX random key.
            mean: the mean weight.
            spread: their standard deviation; 0.5 / sqrt(units) by default.

        Raises:
            ValueError: for a unit whose kernels do not fit together, or a spread that is negative or not finite.
        """
        deviation = 0.5 / unit.units**0.5 if spread is None else spread
        if not 0 <= deviation < np.inf:
            raise ValueError(f"spread={spread}: give a standard deviation, zero or a finite positive number")
        known = structure_of(unit)
        counts = known.kernel_counts
        shapes = {name: (group.count, counts[name]) for name, group in known.groups.items() if name in counts}
        weights = {
            name: np.array(drawn) for name, drawn in _normal(key, tuple(shapes.items()), mean, deviation).items()
        }
        labels, count = {}, 0
        for name, shape in shapes.items():
            labels[name] = count + np.arange(shape[0] * shape[1]).reshape(shape)
            count += labels[name].size
        lows, highs = np.full(count, -np.inf), np.full(count, np.inf)
        for name, columns in unit.bounds().items():
            for column, (low, high) in columns.items():
                lows[labels[name][:, column]], highs[labels[name][:, column]] = low, high
                weights[name][:, column] = np.clip(weights[name][:, column], low, high)
        for name, columns in unit.frozen().items():
            for column, value in columns.items():
                weights[name][:, column], labels[name][:, column] = value, -1
        return _relabelled(unit, {name: jnp.asarray(w) for name, w in weights.items()}, labels, lows, highs)

    @classmethod
    def frozen(
        cls, unit: AbstractUnit, weights: Mapping[str, ArrayLike | Sequence[Sequence[float]]]
    ) -> "KernelNetwork":
        """A network with these weights, by group (nodes, kernels), all of them frozen.

        Raises:
            ValueError: for weights of other groups or shapes than the unit's.
        """
        known = structure_of(unit)
        arrays = {name: jnp.asarray(values, jnp.result_type(float)) for name, values in weights.items()}
        shapes = {name: (known.groups[name].count, kernels) for name, kernels in known.kernel_counts.items()}
        if {name: array.shape for name, array in arrays.items()} != shapes:
            found = {name: array.shape for name, array in arrays.items()}
            raise ValueError(f"weights of shapes {found}: {type(unit).__name__} needs {shapes}")
        labels = {name: np.full(shape, -1) for name, shape in shapes.items()}
        return _relabelled(unit, arrays, labels, np.zeros(0), np.zeros(0))

    @property
    def structure(self) -> UnitStructure:
        """The structure of the unit: its groups of nodes, and what they read."""
        return structure_of(self.unit)

    @property
    def parameters(self) -> Float[Array, " parameters"]:
        """The learnt weights as one vector; shared ones once."""
        return _parameters(self)

    def weights_at(self, theta: Float[Array, " parameters"]) -> Weights:
        """All weights: those that are learnt from this vector, the others as they are."""
        return {
            name: jnp.where(self.labels[name] < 0, weights, theta[self.labels[name]]) if theta.size else weights
            for name, weights in self.weights.items()
        }

    def clip(self, theta: Float[Array, " parameters"]) -> Float[Array, " parameters"]:
        """The nearest parameters within the bounds."""
        return jnp.clip(theta, self.low, self.high)

    def with_parameters(self, theta: Float[Array, " parameters"]) -> "KernelNetwork":
        """The network with these parameters, cut to their bounds."""
        return _with_parameters(self, theta)

    def with_weights(self, name: str, values: ArrayLike, where: Any = ...) -> "KernelNetwork":
        """The network with other weights of a group, cut to their bounds.

        Args:
            name: the group.
            values: the weights.
            where: which ones; anything that indexes a (nodes, kernels) array, such as `np.s_[:, 0]`; all by default.

        Raises:
            ValueError: for a group that has no weights.
        """
        weights = self._weights_of(name).at[where].set(jnp.asarray(values, self.low.dtype))
        changed = eqx.tree_at(lambda network: network.weights[name], self, weights)
        return changed.with_parameters(changed.parameters)

    def freeze(self, name: str, values: ArrayLike | None = None, where: Any = ...) -> "KernelNetwork":
        """The network with weights of a group frozen, not learnt; frozen at 0 they are missing connections.

        Arguments as for `with_weights`; without values they are frozen as they are.
        """
        network = self if values is None else self.with_weights(name, values, where)
        labels = {group: np.array(found) for group, found in network.labels.items()}
        labels[name][where] = -1
        low, high = np.asarray(network.low), np.asarray(network.high)
        return _relabelled(network.unit, network.weights, labels, low, high)

    def bound(self, name: str, low: float, high: float, where: Any = ...) -> "KernelNetwork":
        """The network with weights of a group within these bounds: (0, inf) for excitatory ones, for instance.

        Raises:
            ValueError: for a group that has no weights, or bounds that leave nothing between them.
        """
        if not low <= high:
            raise ValueError(f"bounds {low:g} and {high:g}: give the lower one first")
        self._weights_of(name)
        chosen = np.asarray(self.labels[name])[where].ravel()
        lows, highs = np.array(self.low), np.array(self.high)
        lows[chosen[chosen >= 0]], highs[chosen[chosen >= 0]] = low, high
        changed = eqx.tree_at(
            lambda network: (network.low, network.high), self, (jnp.asarray(lows), jnp.asarray(highs))
        )
        return changed.with_parameters(changed.parameters)

    def share(self, *places: tuple[str, int, int]) -> "KernelNetwork":
        """The network in which these weights, (group, node, kernel) each, are one parameter: the first one's.

        Raises:
            ValueError: for fewer than two places, or a frozen weight.
        """
        labels = {group: np.array(found) for group, found in self.labels.items()}
        numbers = [int(labels[name][node, kernel]) for name, node, kernel in places]
        if len(places) < 2 or min(numbers) < 0:
            raise ValueError("share at least two weights, none of which is frozen")
        for found in labels.values():
            found[np.isin(found, numbers)] = numbers[0]
        changed = _relabelled(self.unit, self.weights, labels, np.asarray(self.low), np.asarray(self.high))
        return changed.with_parameters(changed.parameters)

    def run(self, inputs: Signal, *, throw: bool = True) -> Recording:
        """Simulates the network with these inputs; the states are all nodes, the observed ones first.

        Args:
            inputs: the input signal; only its samples are read.
            throw: whether to raise if a state explodes. Nothing is raised while JAX traces.

        Raises:
            ValueError: for a signal with other channels than the network has inputs.
            ExplodedError: if a sequence exploded and `throw` is true.
        """
        inputs.check_channels(self.unit.inputs, "network")
        recording = _record(self, inputs)
        if throw:
            recording.check()
        return recording

    def _weights_of(self, name: str) -> Array:
        if name not in self.weights:
            raise ValueError(f"nodes {name!r} have no weights; those that have: {', '.join(self.weights)}")
        return self.weights[name]


@jax.jit
def _parameters(network: KernelNetwork) -> Float[Array, " parameters"]:
    theta = jnp.zeros_like(network.low)
    for name, weights in network.weights.items():
        labels = network.labels[name]
        theta = theta.at[jnp.where(labels < 0, theta.size, labels)].set(weights, mode="drop")
    return theta


@jax.jit
def _with_parameters(network: KernelNetwork, theta: Float[Array, " parameters"]) -> KernelNetwork:
    weights = network.weights_at(network.clip(theta))
    return eqx.tree_at(lambda changed: changed.weights, network, weights)


@functools.partial(jax.jit, static_argnames="shapes")
def _normal(
    key: Key[Array, ""], shapes: tuple[tuple[str, tuple[int, int]], ...], mean: float | Array, deviation: float | Array
) -> Weights:
    keys = jax.random.split(key, len(shapes))
    return {name: mean + deviation * jax.random.normal(k, shape) for k, (name, shape) in zip(keys, shapes, strict=True)}


@jax.jit
def _record(network: KernelNetwork, inputs: Signal) -> Recording:
    states = run(network.unit, network.weights, inputs.values.astype(network.low.dtype))
    return Recording(inputs.times, states, states[..., : network.unit.outputs], network.structure.carried)


def _relabelled(
    unit: AbstractUnit, weights: Weights, labels: dict[str, np.ndarray], low: np.ndarray, high: np.ndarray
) -> KernelNetwork:
    """A network whose parameters are numbered without gaps."""
    flat = np.concatenate([found.ravel() for found in labels.values()]) if labels else np.zeros(0, int)
    kept, counts = np.unique(flat[flat >= 0], return_counts=True)
    number = np.full(len(low) + 1, -1)
    number[kept] = np.arange(len(kept))
    dtype = jnp.result_type(float)
    return KernelNetwork(
        unit=unit,
        weights=dict(weights),
        labels={name: jnp.asarray(number[found]) for name, found in labels.items()},
        low=jnp.asarray(low[kept], dtype),
        high=jnp.asarray(high[kept], dtype),
        sharing=bool((counts > 1).any()),
        nonuniform=tuple(name for name, found in labels.items() if ((found < 0) != (found[:1] < 0)).any()),
    )
