"""Networks and settled phases in files that other programs can read."""

import json
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from jaxtyping import Array, ArrayLike

from ._files import PathLike, write_atomically, write_npz
from ._tensor_file import TensorFileError, read_tensor_file
from .activations import activation
from .learning.base import Estimate
from .substrates.solution import Solution, Verdict
from .vector_fields import AbstractVectorField, ConvField, GraphField, HopfieldField, LayeredField
from .vector_fields.abstract_graph import AbstractGraph
from .vector_fields.base import State, check_projected
from .vector_fields.convolutional import architecture

_KEY = "eqprop_field"
_FORMAT = 1


class NetworkFileError(ValueError):
    """A file holds no network that can be used; the message says why."""


def save_phases(
    path: PathLike, field: AbstractVectorField, free: Solution, nudged: Solution, estimate: Estimate
) -> None:
    """Writes a free and a nudged phase, and the update they give, as `phases.npz`.

    The file holds `s0_i` and `sbeta_i` (batch, n_i) for every layer i, or `s0` and `sbeta` for a graph;
    `residual_free`, `residual_nudged` (batch,); `verdict_free`, `verdict_nudged` (batch,), the verdicts' names as text;
    `update_<tensor>`, the mean over the batch of the STDP-compatible change, end-point form. Where the substrate kept
    trajectories, also `t_free`, `t_nudged` (time,), `free_i`, `nudged_i` (time, batch, n_i) and `update_path_<tensor>`,
    the trajectory form.

    Raises:
        OSError: as for `write_atomically`.
    """
    del field  # the state's own structure names the arrays
    arrays: dict[str, ArrayLike] = {}
    for phase, short, solution in (("free", "s0", free), ("nudged", "sbeta", nudged)):
        arrays |= _by_layer(short, solution.state)
        arrays[f"residual_{phase}"] = solution.residual
        arrays[f"verdict_{phase}"] = np.array([Verdict(int(code)).name for code in np.asarray(solution.verdict)])
        if solution.trajectory is not None:
            arrays |= {f"t_{phase}": np.asarray(solution.times)}
            arrays |= _by_layer(phase, solution.trajectory)
    arrays |= {f"update_{name}": tensor for name, tensor in estimate.update.tensors().items()}
    if estimate.path_gradient is not None:
        update = jax.tree.map(jnp.negative, estimate.path_gradient)
        arrays |= {f"update_path_{name}": tensor for name, tensor in update.tensors().items()}
    write_npz(path, **arrays)


def _by_layer(name: str, state: State) -> dict[str, Array]:
    if isinstance(state, tuple):
        return {f"{name}_{i}": leaf for i, leaf in enumerate(state)}
    return {name: state}


def describe(field: AbstractVectorField) -> dict[str, Any]:
    """What a network file says beside the tensors: `{"format": 1, "field": ..., "config": {...}}`."""
    config = dict(field.config())
    return {"format": _FORMAT, "field": config.pop("field"), "config": config}


def save_network(path: PathLike, field: AbstractVectorField) -> None:
    """Writes a network file: safetensors, with `describe(field)` as JSON under the metadata key `eqprop_field`.

    A layered field has the tensors `W_i_j` (n_i, n_j), from layer j to layer i, and `b_i`. A convolutional field has
    `W_i_j` as kernels (k, k, channels nearer the image, channels nearer the output) or, between plain layers, matrices
    (n nearer the output, n nearer the image), in both directions, and `b_i` by channel. A graph has `W`, `W_in` and
    `b`, and a Hopfield field the same with each pair's weight in `W` once, above the diagonal. Time constants, `tau_i`
    or `tau`, are there unless all are 1; a graph's `mask` unless all pairs are joined, its `mask_in` unless all inputs
    are.

    Raises:
        ValueError: if a tensor holds NaN or infinity.
        OSError: as for `write_atomically`.
    """
    tensors = {name: np.asarray(tensor) for name, tensor in field.tensors().items()}
    taus = field.time_constants()
    named = {f"tau_{i}": tau for i, tau in enumerate(taus)} if isinstance(taus, tuple) else {"tau": taus}
    if any(bool(jnp.any(tau != 1)) for tau in named.values()):
        tensors |= {name: np.asarray(tau) for name, tau in named.items()}
    if isinstance(field, AbstractGraph):
        mask = np.asarray(field.mask)
        stored = np.triu(mask) if isinstance(field, HopfieldField) else mask
        tensors["W"] = np.where(stored, tensors["W"], 0)
        if not np.array_equal(mask, _all_pairs(len(mask))):
            tensors["mask"] = mask
        if field.input_mask is not None:
            tensors["mask_in"] = np.asarray(field.input_mask)
            tensors["W_in"] = np.where(tensors["mask_in"], tensors["W_in"], 0)
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise ValueError(f"cannot save this network: its tensor {name} holds NaN or infinity")
    metadata = {_KEY: json.dumps(describe(field), allow_nan=False)}
    write_atomically(path, safetensors.numpy.save(tensors, metadata))


def load_network(path: PathLike) -> AbstractVectorField:
    """Reads a network file, in the file's precision where JAX allows it (float64 needs `jax_enable_x64`).

    Raises:
        NetworkFileError: if the file is missing, damaged, or describes no network known here.
    """
    try:
        metadata, tensors = read_tensor_file(path)
        kind, config = _description(metadata)
        return _BUILDERS[kind](config, tensors)
    except TensorFileError as error:
        raise NetworkFileError(f"{path} {error}; give a network file as `init` and `save_network` write it") from error


def _description(metadata: dict[str, str]) -> tuple[str, dict[str, Any]]:
    if _KEY not in metadata:
        raise TensorFileError(f"is a safetensors file without the metadata {_KEY!r}")
    try:
        said = json.loads(metadata[_KEY])
    except (ValueError, RecursionError) as error:
        raise TensorFileError(f"has metadata {_KEY!r} that is not JSON") from error
    if not isinstance(said, dict) or not isinstance(said.get("config"), dict):
        raise TensorFileError(f"has metadata {_KEY!r} without the description of a network")
    if said.get("format") != _FORMAT:
        raise TensorFileError(f"has format {said.get('format')!r:.40}, where this version reads format {_FORMAT}")
    if said.get("field") not in tuple(_BUILDERS):
        raise TensorFileError(f"holds a field {said.get('field')!r:.40}, where {', '.join(_BUILDERS)} are known")
    return said["field"], said["config"]


def _layered(config: dict[str, Any], tensors: dict[str, np.ndarray]) -> LayeredField:
    sizes = config.get("sizes")
    if not isinstance(sizes, list) or len(sizes) < 2:
        raise TensorFileError(f"has sizes={sizes!r:.40}, not a list of at least two layers")
    n = [_count("sizes", size) for size in sizes[::-1]]
    depth = len(n) - 1
    forward = {f"W_{i}_{i + 1}": (n[i], n[i + 1]) for i in range(depth)}
    feedback = {f"W_{i + 1}_{i}": (n[i + 1], n[i]) for i in range(depth - 1)}
    biases = {f"b_{i}": (n[i],) for i in range(depth)}
    taus = {f"tau_{i}": (n[i],) for i in range(depth)}
    arrays = _checked_tensors(tensors, forward | feedback | biases, taus)
    pick = lambda names: tuple(arrays[name] for name in names)  # noqa: E731
    return LayeredField(
        forward=pick(forward),
        feedback=pick(feedback),
        biases=pick(biases),
        tau=pick(taus),
        free_outputs=_free_outputs(config),
        **_common(config),
    )


def _conv(config: dict[str, Any], tensors: dict[str, np.ndarray]) -> ConvField:
    image, sizes, convolutions = (config.get(name) for name in ("image", "sizes", "convolutions"))
    triples = [image, *convolutions] if isinstance(convolutions, list) else []
    if not isinstance(sizes, list) or not triples or any(not isinstance(t, list) or len(t) != 3 for t in triples):
        raise TensorFileError("does not say its image, convolutions and sizes as lists")
    for part in [sizes, *triples]:
        for value in part:
            _count("image, convolutions or sizes", value)
    try:
        shapes, pools, kernels = architecture(tuple(triples[0]), [tuple(layer) for layer in triples[1:]], sizes)
    except ValueError as error:
        raise TensorFileError(f"describes no usable network ({error})") from error
    depth = len(kernels)
    forward = {f"W_{i}_{i + 1}": kernel for i, kernel in enumerate(kernels)}
    feedback = {f"W_{i + 1}_{i}": kernels[i] for i in range(depth - 1)}
    biases = {f"b_{i}": shapes[i][-1:] for i in range(depth)}
    taus = {f"tau_{i}": shapes[i] for i in range(depth)}
    arrays = _checked_tensors(tensors, forward | feedback | biases, taus)
    pick = lambda names: tuple(arrays[name] for name in names)  # noqa: E731
    return ConvField(
        forward=pick(forward),
        feedback=pick(feedback),
        biases=pick(biases),
        tau=pick(taus),
        shapes=shapes,
        pools=pools,
        free_outputs=_free_outputs(config),
        **_common(config),
    )


def _free_outputs(config: dict[str, Any]) -> bool:
    free = config.get("free_outputs", False)
    if not isinstance(free, bool):
        raise TensorFileError(f"has free_outputs={free!r:.40}, neither true nor false")
    return free


def _graph(config: dict[str, Any], tensors: dict[str, np.ndarray]) -> GraphField:
    parts = _graph_parts(config, tensors)
    if bool(jnp.any((parts["weights"] != 0) & ~parts["mask"])):
        raise TensorFileError("has strengths in W where there is no synapse (a zero diagonal, unless a mask has it)")
    return GraphField(**parts)


def _hopfield(config: dict[str, Any], tensors: dict[str, np.ndarray]) -> HopfieldField:
    parts = _graph_parts(config, tensors)
    if not bool((parts["mask"] == parts["mask"].T).all()) or bool(jnp.diagonal(parts["mask"]).any()):
        raise TensorFileError("has a mask that is not symmetric with an empty diagonal")
    if bool(jnp.any((parts["weights"] != 0) & ~jnp.triu(parts["mask"]))):
        raise TensorFileError("has strengths in W below the diagonal or where there is no synapse (each pair has one)")
    return HopfieldField(**parts)


def _graph_parts(config: dict[str, Any], tensors: dict[str, np.ndarray]) -> dict[str, Any]:
    """What graphs with free and with shared weights have in common."""
    n, inputs, outputs = (_count(name, config.get(name)) for name in ("neurons", "inputs", "outputs"))
    if outputs > n:
        raise TensorFileError(f"has {outputs} output neurons among {n} neurons")
    tensors = dict(tensors)
    mask, input_mask = tensors.pop("mask", None), tensors.pop("mask_in", None)
    arrays = _checked_tensors(tensors, {"W": (n, n), "W_in": (n, inputs), "b": (n,)}, {"tau": (n,)})
    if mask is None:
        mask = _all_pairs(n)
    elif mask.dtype != bool or mask.shape != (n, n):
        raise TensorFileError(f"has a mask that is not ({n}, {n}) booleans")
    if input_mask is not None and (input_mask.dtype != bool or input_mask.shape != (n, inputs)):
        raise TensorFileError(f"has a mask_in that is not ({n}, {inputs}) booleans")
    return {
        "weights": arrays["W"],
        "input_weights": arrays["W_in"],
        "biases": arrays["b"],
        "mask": jnp.asarray(mask),
        "tau": arrays["tau"],
        "n_outputs": outputs,
        "input_mask": None if input_mask is None else jnp.asarray(input_mask),
        **_common(config),
    }


_BUILDERS: dict[str, Callable[[dict[str, Any], dict[str, np.ndarray]], AbstractVectorField]] = {
    "layered": _layered,
    "conv": _conv,
    "graph": _graph,
    "hopfield": _hopfield,
}


def _all_pairs(n: int) -> np.ndarray:
    return ~np.eye(n, dtype=bool)


def _count(name: str, value: Any) -> int:
    if type(value) is not int or value < 1:
        raise TensorFileError(f"has {name}={value!r:.40}, where whole numbers of at least 1 are needed")
    return value


def _common(config: dict[str, Any]) -> dict[str, Any]:
    """What every field has: activation, projected, gain."""
    name, projected, gain = config.get("activation"), config.get("projected"), config.get("gain")
    if not isinstance(name, str) or not isinstance(projected, bool):
        raise TensorFileError("does not say which activation the network has and whether it is projected")
    if isinstance(gain, bool) or not isinstance(gain, (int, float)) or not math.isfinite(gain):
        raise TensorFileError(f"has gain={gain!r:.40}, not a finite number")
    try:
        rho = activation(name)
        return {"activation": rho, "projected": check_projected(rho, projected), "gain": float(gain)}
    except ValueError as error:
        raise TensorFileError(f"describes no usable network ({error})") from error


def _checked_tensors(
    tensors: dict[str, np.ndarray], needed: dict[str, tuple[int, ...]], taus: dict[str, tuple[int, ...]]
) -> dict[str, Array]:
    """The tensors as finite JAX arrays of one precision; time constants of 1 where the file has none."""
    if not any(name in tensors for name in taus):
        like = next(iter(tensors.values()), np.zeros(0))
        tensors = tensors | {name: np.ones(shape, like.dtype) for name, shape in taus.items()}
    needed = needed | taus
    for name in needed.keys() ^ tensors.keys():
        raise TensorFileError(f"{'lacks' if name in needed else 'holds an unexpected'} tensor {name!r:.40}")
    dtype = tensors[next(iter(needed))].dtype
    arrays = {}
    for name, shape in needed.items():
        tensor = tensors[name]
        if tensor.shape != shape:
            raise TensorFileError(f"has tensor {name} of shape {tensor.shape}, where its description needs {shape}")
        if tensor.dtype != dtype or dtype.kind != "f":
            raise TensorFileError(f"has tensor {name} as {tensor.dtype}, where all must be float32 or all float64")
        arrays[name] = jnp.asarray(tensor)
        if not bool(jnp.isfinite(arrays[name]).all()):
            raise TensorFileError(f"has NaN or infinity in tensor {name}")
        if name in taus and not bool((arrays[name] > 0).all()):
            raise TensorFileError(f"has a time constant in {name} that is not positive")
    return arrays
