"""Networks and settled phases in files that other programs can read."""

import json
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike

from ._files import PathLike, write_atomically, write_npz
from ._tensor_file import TensorFileError, described_tensors, tensor_file
from .vector_fields.base import AbstractVectorField, State
from .vector_fields.generic_file import field_from_file
from .vector_fields.inheritance import is_builtin
from .vector_fields.members import check_members
from .vector_fields.registry import FIELDS, registered_name

if TYPE_CHECKING:  # a network file is read and written without what settles the network
    from .learning.base import Estimate
    from .substrates.solution import Solution

_KEY = "eqprop_field"
_FORMAT = 1
_KINDS = "fiub"


class NetworkFileError(ValueError):
    """A file holds no network that can be used; the message says why."""


def save_phases(
    path: PathLike, field: AbstractVectorField, free: "Solution", nudged: "Solution", estimate: "Estimate"
) -> None:
    """Writes a free and a nudged phase, and the update they give, as `phases.npz`.

    The file holds `s0_i` and `sbeta_i` (batch, n_i) for every layer i, or `s0` and `sbeta` for a graph; states of other
    structure are named by the places of their leaves, such as `s0_E`. It holds `residual_free`, `residual_nudged`
    (batch,); `verdict_free`, `verdict_nudged` (batch,), the verdicts' names as text; `update_<tensor>`, the mean over
    the batch of the STDP-compatible change, end-point form. Where the substrate kept trajectories, also `t_free`,
    `t_nudged` (time,), `free_i`, `nudged_i` (time, batch, n_i) and `update_path_<tensor>`, the trajectory form.

    Raises:
        OSError: as for `write_atomically`.
    """
    from .learning.base import negative
    from .substrates.solution import Verdict

    del field  # the state's own structure names the arrays
    arrays: dict[str, ArrayLike] = {}
    for phase, short, solution in (("free", "s0", free), ("nudged", "sbeta", nudged)):
        arrays |= _by_leaf(short, solution.state)
        arrays[f"residual_{phase}"] = solution.residual
        arrays[f"verdict_{phase}"] = np.array([Verdict(int(code)).name for code in np.asarray(solution.verdict)])
        if solution.trajectory is not None:
            arrays |= {f"t_{phase}": np.asarray(solution.times)}
            arrays |= _by_leaf(phase, solution.trajectory)
    arrays |= {f"update_{name}": tensor for name, tensor in estimate.update.tensors().items()}
    if estimate.path_gradient is not None:
        update = negative(estimate.path_gradient)
        arrays |= {f"update_path_{name}": tensor for name, tensor in update.tensors().items()}
    write_npz(path, **arrays)


def _by_leaf(name: str, state: State) -> dict[str, Array]:
    """The leaves of a state by their place in it: `s0_0`, `s0_1` of a tuple, `s0_E` of a dictionary, `s0` alone."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    placed = [(jax.tree_util.keystr(path, simple=True, separator="."), leaf) for path, leaf in leaves]
    return {f"{name}_{place}" if place else name: leaf for place, leaf in placed}


def describe(field: AbstractVectorField) -> dict[str, Any]:
    """What a network file says beside the tensors: `{"format": 1, "field": registered name, "config": {...}}`.

    Raises:
        ValueError: for what is no field, for one whose class is not registered, and for one that no file can describe.
    """
    if not isinstance(field, AbstractVectorField):
        raise ValueError(f"cannot describe a {type(field).__name__} in a network file: give a vector field")
    return {"format": _FORMAT, "field": registered_name(field), "config": dict(_form(type(field)).config(field))}


def _form(cls: type[AbstractVectorField]) -> type[AbstractVectorField]:
    """The class whose `config` and `file_tensors` describe the fields of this one.

    A built-in class knows its own attributes alone: what derives from it has the general form, or one of its own.
    """
    return AbstractVectorField if is_builtin(cls, "config") and not is_builtin(cls) else cls


def _restored(name: str, config: Any, tensors: Any) -> AbstractVectorField:
    known: Any = FIELDS[name]
    of_its_own = not isinstance(known, type) or _form(known) is known  # a function has one
    field = known.from_file(config, tensors) if of_its_own else field_from_file(known, config, tensors)
    _check_loaded(field)
    return field


def _check_restorable(field: AbstractVectorField, description: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
    """Refuses a field that would not come back as it is."""
    what = f"cannot save this {type(field).__name__}: from the file it would"
    try:
        again = _restored(description["field"], json.loads(json.dumps(description))["config"], tensors)
    except Exception as error:  # whatever a user's own members make of it
        raise ValueError(
            f"{what} not be loaded again ({' '.join(str(error).split())[:200]}); arrays are attributes or entries of "
            "tuples, lists and dictionaries, of float32, float64, bool, int32, int64 or uint32"
        ) from error
    same = jax.tree.structure(again) == jax.tree.structure(field) and all(
        np.array_equal(a, jnp.asarray(b) if hasattr(b, "dtype") else b)  # in the precision that JAX has
        for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(field), strict=True)
    )
    if not same:
        raise ValueError(f"{what} come back another; give it `config` and `from_file` methods of its own")


def save_network(path: PathLike, field: AbstractVectorField) -> None:
    """Writes a network file: safetensors, with `describe(field)` as JSON under the metadata key `eqprop_field`.

    A layered field has the tensors `W_i_j` (n_i, n_j), from layer j to layer i, and `b_i`. A convolutional field has
    `W_i_j` as kernels (k, k, channels nearer the image, channels nearer the output) or, between plain layers, matrices
    (n nearer the output, n nearer the image), in both directions, and `b_i` by channel. A graph has `W`, `W_in` and
    `b`, and a Hopfield field the same with each pair's weight in `W` once, above the diagonal. Time constants, `tau_i`
    or `tau`, are there unless all are 1; a graph's `mask` unless all pairs are joined, its `mask_in` unless all inputs
    are.

    A field of any other registered class has all its arrays, by their place in the pytree (`W`, `readout.b`).

    The metadata key `sha256` holds a checksum of the description and of every tensor (`_tensor_file`), which
    `load_network` compares.

    Raises:
        ValueError: if a tensor holds NaN or infinity, and for a field that could not be loaded again: one whose class
            is not registered (`register`), or that holds what no file can.
        OSError: as for `write_atomically`.
    """
    description = describe(field)
    tensors = _form(type(field)).file_tensors(field)
    for name, tensor in tensors.items():
        if tensor.dtype.kind not in _KINDS:
            raise ValueError(
                f"cannot save this network: its tensor {name} holds {tensor.dtype} values, not real numbers"
            )
        if not np.isfinite(tensor).all():
            raise ValueError(f"cannot save this network: its tensor {name} holds NaN or infinity")
    try:
        json.dumps(description, allow_nan=False)
    except ValueError as error:
        raise ValueError("cannot save this network: one of its attributes is NaN or infinite") from error
    content = tensor_file(_KEY, description, tensors)
    if not is_builtin(type(field)):
        _check_restorable(field, description, tensors)
    else:
        try:
            _restored(description["field"], description["config"], tensors)
        except TensorFileError as error:  # a value that no constructor has seen, such as a time constant of 0
            raise ValueError(f"cannot save this network: it {error}") from error
    write_atomically(path, content)


def load_network(path: PathLike) -> AbstractVectorField:
    """Reads a network file, in the file's precision where JAX allows it (float64 needs `jax_enable_x64`).

    A file without checksums, from another program or an earlier version, is read too.

    Raises:
        NetworkFileError: if the file is missing, damaged, or describes no network known here.
    """
    try:
        said, tensors = described_tensors(path, _KEY)
        kind, config = _description(said)
        return _restored(kind, config, tensors)
    except TensorFileError as error:
        raise NetworkFileError(f"{path} {error}; give a network file as `init` and `save_network` write it") from error


def _description(said: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    if not isinstance(said.get("config"), dict):
        raise TensorFileError(f"has metadata {_KEY!r} without the description of a network")
    if said.get("format") != _FORMAT:
        raise TensorFileError(f"has format {said.get('format')!r:.40}, where this version reads format {_FORMAT}")
    if said.get("field") not in tuple(FIELDS):
        raise TensorFileError(
            f"holds a field {said.get('field')!r:.40}, where {', '.join(FIELDS)} are known; register that field first, "
            "which --import FILE.py before a command does"
        )
    return said["field"], said["config"]


def _check_loaded(field: AbstractVectorField) -> None:
    """Refuses a file whose tensors and attributes make no field of their class."""
    try:
        check_members(field)
    except Exception as error:  # whatever a user's own members make of shapes that no constructor has seen
        raise TensorFileError(f"describes no usable network ({' '.join(str(error).split())[:200]})") from error
