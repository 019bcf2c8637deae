"""Checks on what network files say of the built-in fields: nothing is believed before it is checked."""

import sys
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._tensor_file import TensorFileError
from ..activations import ACTIVATIONS, Activation, activation
from .leaky import check_projected

_LARGEST = sys.float_info.max  # JSON has whole numbers beyond it


def checked_count(name: str, value: Any) -> int:
    """A whole number of at least 1, as sizes of arrays are.

    Raises:
        TensorFileError: for anything else.
    """
    if type(value) is not int or not 1 <= value < 2**63:
        raise TensorFileError(f"has {name}={value!r:.40}, where whole numbers of at least 1 are needed")
    return value


def registered_activation(rho: Activation) -> str:
    """The name under which `ACTIVATIONS` has this activation.

    Raises:
        ValueError: where it does not.
    """
    if ACTIVATIONS.get(rho.name) is not rho:
        raise ValueError(
            f"cannot save an activation that is not ACTIVATIONS[{rho.name!r}]: put it there, under a name of its own, "
            "here and wherever the file is to be read"
        )
    return rho.name


def neuron_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """Activation, projected and gain, which every network of neurons has.

    Raises:
        TensorFileError: where they are missing or make no network.
    """
    name, projected, gain = config.get("activation"), config.get("projected"), config.get("gain")
    if not isinstance(name, str) or not isinstance(projected, bool):
        raise TensorFileError("does not say which activation the network has and whether it is projected")
    if isinstance(gain, bool) or not isinstance(gain, (int, float)) or not 0 <= gain <= _LARGEST:
        raise TensorFileError(f"has gain={gain!r:.40}, not a finite scale of at least 0")
    try:
        rho = activation(name)
        return {"activation": rho, "projected": check_projected(rho, projected), "gain": float(gain)}
    except ValueError as error:
        raise TensorFileError(f"describes no usable network ({error})") from error


def layered_parts(
    config: Mapping[str, Any],
    tensors: Mapping[str, np.ndarray],
    *,
    forward: list[tuple[int, ...]],
    feedback: list[tuple[int, ...]],
    biases: list[tuple[int, ...]],
    tau: list[tuple[int, ...]],
) -> dict[str, Any]:
    """What a field in layers is made of, from tensors `W_i_j`, `b_i` and `tau_i` of these shapes.

    Raises:
        TensorFileError: where the file holds anything else.
    """
    free = config.get("free_outputs", False)
    if not isinstance(free, bool):
        raise TensorFileError(f"has free_outputs={free!r:.40}, neither true nor false")
    weak = config.get("feedback_gain", 1.0)
    if type(weak) not in (int, float) or not 0 < weak <= _LARGEST:
        raise TensorFileError(f"has feedback_gain={weak!r:.40}, not a finite number above 0")
    names = {
        "forward": {f"W_{i}_{i + 1}": shape for i, shape in enumerate(forward)},
        "feedback": {f"W_{i + 1}_{i}": shape for i, shape in enumerate(feedback)},
        "biases": {f"b_{i}": shape for i, shape in enumerate(biases)},
        "tau": {f"tau_{i}": shape for i, shape in enumerate(tau)},
    }
    arrays = checked_tensors(tensors, names["forward"] | names["feedback"] | names["biases"], names["tau"])
    parts = {part: tuple(arrays[name] for name in shapes) for part, shapes in names.items()}
    return parts | {"free_outputs": free, "feedback_gain": float(weak)} | neuron_options(config)


def checked_tensors(
    tensors: Mapping[str, np.ndarray], needed: dict[str, tuple[int, ...]], taus: dict[str, tuple[int, ...]]
) -> dict[str, Array]:
    """The tensors as finite JAX arrays of one precision; time constants of 1 where the file has none.

    Raises:
        TensorFileError: for a tensor that is missing, unexpected, of another shape or type, or not finite.
    """
    given = taus.keys() & tensors.keys()
    needed = needed | (taus if given else {})
    for name in needed.keys() ^ tensors.keys():
        raise TensorFileError(f"{'lacks' if name in needed else 'holds an unexpected'} tensor {name!r:.40}")
    dtype = tensors[next(iter(needed))].dtype
    arrays = {}
    for name, shape in needed.items():
        tensor = tensors[name]
        if tensor.shape != shape:
            raise TensorFileError(
                f"has tensor {name} of shape {tensor.shape}, where its description needs {shape!s:.80}"
            )
        if tensor.dtype != dtype or dtype.kind != "f":
            raise TensorFileError(f"has tensor {name} as {tensor.dtype}, where all must be float32 or all float64")
        # By numpy, as all that looks at values once: JAX would compile every operation.
        if not np.isfinite(tensor).all():
            raise TensorFileError(f"has NaN or infinity in tensor {name}")
        if name in taus and not (tensor > 0).all():
            raise TensorFileError(f"has a time constant in {name} that is not positive")
        arrays[name] = jnp.asarray(tensor)
    # Only now: what the description claims fits tensors that the file holds.
    return arrays if given else arrays | {name: jnp.asarray(np.ones(shape, dtype)) for name, shape in taus.items()}


def tensors_with_taus(tensors: Mapping[str, Array], taus: Mapping[str, Array]) -> dict[str, np.ndarray]:
    """The tensors that a file holds: time constants are among them unless all are 1."""
    held = dict(tensors) if all((np.asarray(tau) == 1).all() for tau in taus.values()) else {**tensors, **taus}
    return {name: np.asarray(tensor) for name, tensor in held.items()}
