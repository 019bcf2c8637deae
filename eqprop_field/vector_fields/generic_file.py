"""The form in which a field without a form of its own stands in a network file: its attributes, its arrays by name."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from .._tensor_file import TensorFileError
from ..activations import ACTIVATIONS, Activation, activation

Field = TypeVar("Field")


def generic_config(field: Any) -> dict[str, Any]:
    """Every attribute of a field as JSON: numbers and text as they are, arrays as `{"tensor": name}`.

    Raises:
        ValueError: for an attribute that has no such form, naming it.
    """
    return {one.name: _described(getattr(field, one.name), (one.name,)) for one in dataclasses.fields(field)}


def _described(value: Any, place: tuple[str, ...]) -> Any:
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Activation) and ACTIVATIONS.get(value.name) is value:
        return {"activation": value.name}
    if isinstance(value, np.ndarray | jax.Array) and not jnp.issubdtype(value.dtype, jax.dtypes.extended):
        return {"tensor": ".".join(place)}
    if isinstance(value, tuple | list):
        return {type(value).__name__: [_described(entry, (*place, str(i))) for i, entry in enumerate(value)]}
    if isinstance(value, dict) and all(isinstance(name, str) for name in value):
        return {"dict": {name: _described(entry, (*place, name)) for name, entry in value.items()}}
    raise ValueError(
        f"cannot save {'.'.join(place)}, a {type(value).__name__}: a network file holds arrays, numbers, text, "
        "registered activations, and tuples, lists and dictionaries of those; give the field `config` and `from_file` "
        "methods of its own"
    )


def field_from_file(cls: type[Field], config: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> Field:
    """The field that `generic_config` and the arrays describe, made without calling its constructor.

    Raises:
        TensorFileError: where they describe no field of this class.
    """
    names = [one.name for one in dataclasses.fields(cls)]  # pyright: ignore[reportArgumentType]  a Module is a dataclass
    for name in names ^ config.keys():
        raise TensorFileError(f"{'lacks' if name in names else 'holds an unexpected'} attribute {name!r:.40}")
    left = dict(tensors)
    field = object.__new__(cls)
    for name in names:
        object.__setattr__(field, name, _restored(config[name], left, depth=0))
    for name in left:
        raise TensorFileError(f"holds an unexpected tensor {name!r:.40}")
    return field


def _restored(said: Any, tensors: dict[str, np.ndarray], depth: int) -> Any:
    if said is None or type(said) in (bool, int, float, str):
        return said
    if not isinstance(said, dict) or len(said) != 1 or depth > 32:
        raise TensorFileError("describes an attribute in a form that is not known here")
    ((form, inside),) = said.items()
    if form == "tensor" and isinstance(inside, str) and inside in tensors:
        array = jnp.asarray(tensors.pop(inside))
        if not bool(jnp.isfinite(array).all()):
            raise TensorFileError(f"has NaN or infinity in tensor {inside}")
        return array
    if form == "activation" and isinstance(inside, str) and inside in ACTIVATIONS:
        return activation(inside)
    if form in ("tuple", "list") and isinstance(inside, list):
        entries = [_restored(entry, tensors, depth + 1) for entry in inside]
        return tuple(entries) if form == "tuple" else entries
    if form == "dict" and isinstance(inside, dict):
        return {name: _restored(entry, tensors, depth + 1) for name, entry in inside.items()}
    raise TensorFileError(f"describes a {form!r:.40} that is not known here, or lacks its tensor")
