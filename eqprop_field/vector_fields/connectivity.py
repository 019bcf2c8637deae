"""Connectivity of graphs: which neurons are joined, and how strongly at first."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Key

from .._arrays import as_real, checked_key
from ..activations import Activation
from .leaky import glorot
from .requests import checked_neurons, checked_sizes

Synapses = Bool[Array, "n n"]
InputSynapses = Bool[Array, "n inputs"]


def random_pairs(key: Key[Array, ""], neurons: int, density: float) -> Synapses:
    """Each PAIR of neurons joined, both ways, with probability `density`.

    Raises:
        ValueError: for a number of neurons below 1, a density outside (0, 1], or no key.
    """
    (neurons,) = checked_sizes("neurons", [neurons])
    if not 0.0 < density <= 1.0:
        raise ValueError(f"density={density}: give the share of joined pairs, above 0 and at most 1")
    upper = jnp.triu(jax.random.bernoulli(checked_key(key), density, (neurons, neurons)), 1)
    return upper | upper.T


def joined_layers(
    sizes: Sequence[int], skips: Sequence[tuple[int, int]] = (), lateral: Sequence[int] = ()
) -> tuple[Synapses, InputSynapses]:
    """The synapses of a network in layers, as masks for a graph.

    Neighbouring layers are joined, both ways; the input has forward synapses only. Layers are numbered as in the
    paper: 0 is the output, the last number the clamped input.

    Args:
        sizes: neurons per layer, INPUT FIRST: (64, 32, 10).
        skips: further pairs of layers to join, in any order: (0, 3) joins the output with what lies three layers back.
        lateral: layers whose neurons are joined among themselves, all pairs.

    Returns:
        The mask among the neurons, output layer first, and the mask from the inputs.

    Raises:
        ValueError: for fewer than two layers, a size below 1, or a layer that does not exist or cannot be joined so.
    """
    sizes = checked_sizes("sizes", sizes)
    if len(sizes) < 2:
        raise ValueError(f"sizes={sizes}: give at least an input and an output layer")
    last = len(sizes) - 1
    for i, j in skips:
        if i == j or not (0 <= i <= last and 0 <= j <= last):
            raise ValueError(f"skip {(i, j)}: give two different layers between 0, the output, and {last}, the input")
    for i in lateral:
        if not 0 <= i < last:
            raise ValueError(
                f"lateral layer {i}: give a layer between 0, the output, and {last - 1}; inputs are clamped"
            )
    joined = np.zeros((last + 1, last + 1), bool)
    for i, j in [*((i, i + 1) for i in range(last)), *((int(i), int(j)) for i, j in skips), *((i, i) for i in lateral)]:
        joined[i, j] = joined[j, i] = True
    layer_of = np.repeat(np.arange(last + 1), sizes[::-1])
    synapses = joined[np.ix_(layer_of, layer_of)] & ~np.eye(len(layer_of), dtype=bool)
    n = sum(sizes[1:])
    return jnp.asarray(synapses[:n, :n]), jnp.asarray(synapses[:n, n:])


def blank_graph(
    mask: Bool[Array, "..."],
    inputs: int,
    outputs: int,
    input_mask: Bool[Array, "..."] | None,
    *,
    activation: str | Activation,
    gain: float,
    projected: bool | None,
    tau: ArrayLike,
) -> dict[str, Any]:
    """What any field on a graph is made of, its weights and biases 0, after refusing whatever makes no graph.

    Raises:
        ValueError: for sizes that make no network, masks that do not fit or join a neuron with itself, a gain that is
            no scale, tau not positive, or an activation that cannot be projected on.
    """
    neurons = mask.shape[0] if mask.ndim else 0
    inputs, outputs = checked_sizes("inputs, outputs", (inputs, outputs))
    if outputs > neurons:
        raise ValueError(
            f"neurons={neurons}, inputs={inputs}, outputs={outputs}: all must be at least 1, outputs at most neurons"
        )
    if mask.shape != (neurons, neurons) or bool(jnp.any(jnp.diagonal(mask))):
        raise ValueError(f"mask has shape {mask.shape}: give (neurons, neurons) booleans with an empty diagonal")
    if input_mask is not None and input_mask.shape != (neurons, inputs):
        raise ValueError(f"input_mask has shape {input_mask.shape}, but this network needs ({neurons}, {inputs})")
    taus = jnp.broadcast_to(as_real("tau", tau, jnp.result_type(float)), (neurons,))
    if not bool(jnp.all(taus > 0)):
        raise ValueError("tau must be positive for every neuron")
    return {
        "weights": jnp.zeros(mask.shape, taus.dtype),
        "input_weights": jnp.zeros((neurons, inputs), taus.dtype),
        "biases": jnp.zeros(neurons, taus.dtype),
        "mask": mask,
        "tau": taus,
        "n_outputs": outputs,
        **checked_neurons(activation, gain, projected),
        "input_mask": input_mask,
    }


def draw_weights(
    key: Key[Array, ""], mask: Synapses, inputs: int, input_mask: InputSynapses | None, gain: float, dtype: jnp.dtype
) -> tuple[Float[Array, "n n"], Float[Array, "n n"], Float[Array, "n inputs"]]:
    """Two independent upper triangles of recurrent weights and the input weights, on Glorot's scale times `gain`.

    The fan of a recurrent synapse is twice the mean number of synapses a neuron has; that of an input synapse is the
    number of inputs plus the mean number of neurons that an input reaches.
    """
    n = len(mask)
    recurrent_key, independent_key, input_key = jax.random.split(key, 3)
    synapses = jnp.maximum(jnp.sum(mask), n) / n  # a neuron, at least one
    upper, other = (jnp.triu(glorot(k, (n, n), 2 * synapses, gain, dtype), 1) for k in (recurrent_key, independent_key))
    reached = n if input_mask is None else jnp.maximum(jnp.sum(input_mask), inputs) / inputs
    return upper, other, masked(input_mask, glorot(input_key, (n, inputs), reached + inputs, gain, dtype))


def masked(mask: Bool[Array, "_ _"] | None, weights: Array) -> Array:
    """The weights where there are synapses, 0 elsewhere; a mask of None has them everywhere."""
    return weights if mask is None else jnp.where(mask, weights, 0)
