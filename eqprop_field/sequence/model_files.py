"""Models as JSON and tensors, for files: nothing in a file is run."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .. import kernel_networks
from ..activations import ACTIVATIONS, Activation
from ..kernel_networks import AbstractUnit, KernelNetwork
from ..storage import describe
from ..vector_fields import AbstractVectorField
from ..vector_fields.registry import FIELDS
from .liquid import Liquid
from .readout import Readout
from .reservoir import ContinuousEchoStateNetwork, EchoStateNetwork, Reservoir

_UNITS = {name: found for name in ("AIF", "LNL", "LSTM", "Linear", "Mixture", "SoftMax", "Sparse", "TypedLNL")
          if (found := getattr(kernel_networks, name))}  # fmt: skip
_CLASSES: dict[str, type] = _UNITS | {
    cls.__name__: cls
    for cls in (KernelNetwork, EchoStateNetwork, ContinuousEchoStateNetwork, Liquid, Reservoir, Readout)
}


def encoded(value: Any, place: str, tensors: dict[str, np.ndarray]) -> Any:
    """JSON for a model or a part of one; arrays go into the tensors, by their place.

    Raises:
        ValueError: for what no file can describe.
    """
    if isinstance(value, AbstractVectorField):
        found = value.file_tensors()
        tensors |= {f"{place}.{name}": np.asarray(tensor) for name, tensor in found.items()}
        return {"field": describe(value), "at": place, "tensors": list(found)}
    if isinstance(value, jax.Array | np.ndarray):
        tensors[place] = np.asarray(value)
        return {"tensor": place}
    if isinstance(value, Activation):
        if ACTIVATIONS.get(value.name) is not value:
            raise ValueError(f"cannot save this model: its activation {value.name!r} is not registered")
        return {"activation": value.name}
    if isinstance(value, dict):
        return {"entries": {key: encoded(each, f"{place}.{key}", tensors) for key, each in value.items()}}
    if isinstance(value, tuple):
        return {"items": [encoded(each, f"{place}.{i}", tensors) for i, each in enumerate(value)]}
    if isinstance(value, eqx.Module | AbstractUnit):
        if _CLASSES.get(type(value).__name__) is not type(value):
            raise ValueError(
                f"cannot save this model: files know no {type(value).__name__}, only {', '.join(_CLASSES)}"
            )
        assert dataclasses.is_dataclass(value)  # both kinds are
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return {
            "class": type(value).__name__,
            "fields": {name: encoded(each, f"{place}.{name}", tensors) for name, each in fields.items()},
        }
    if value is None or isinstance(value, bool | int | float | str):
        return {"value": value}
    raise ValueError(f"cannot save this model: {place} is a {type(value).__name__}")


def decoded(said: dict[str, Any], tensors: dict[str, np.ndarray]) -> Any:
    """The model of such JSON. Raises whatever constructors make of a file that was not written by `encoded`."""
    if "field" in said:
        field = {name: tensors[f"{said['at']}.{name}"] for name in said["tensors"]}
        return FIELDS[said["field"]["field"]].from_file(said["field"]["config"], field)
    if "tensor" in said:
        return jnp.asarray(tensors[said["tensor"]])
    if "activation" in said:
        return ACTIVATIONS[said["activation"]]
    if "entries" in said:
        return {key: decoded(each, tensors) for key, each in said["entries"].items()}
    if "items" in said:
        return tuple(decoded(each, tensors) for each in said["items"])
    if "class" in said:
        fields = {name: decoded(each, tensors) for name, each in said["fields"].items()}
        return _CLASSES[said["class"]](**fields)
    return said["value"]
