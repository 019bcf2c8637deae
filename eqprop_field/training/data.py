"""Data as a network can learn from them: classes one-hot, and what does not fit refused before the first step."""

import dataclasses
import math
import warnings

import numpy as np

from ..costs import AbstractCost, Matching
from ..datasets import Dataset, DataWarning, Samples
from ..vector_fields import AbstractNeuralNetwork, AbstractVectorField

_TOLERANCE = 1e-3  # of a range, by which rounded data may leave it


def fitted(dataset: Dataset, field: AbstractVectorField, cost: AbstractCost | None = None) -> Dataset:
    """The data set with targets for this network's outputs: labels become one-hot rows.

    What an output cannot reach, or an input neuron cannot fire, is warned of (`DataWarning`), with how to scale it.

    Args:
        dataset: what is to be learnt from.
        field: the network.
        cost: what its errors cost; `Matching` has targets in the range of its activation.

    Raises:
        ValueError: naming the part and what is wrong with it: no samples, numbers of inputs or outputs that are not the
            network's, or labels that are no classes of it.
    """
    parts = {name: getattr(dataset, name) for name in ("train", "validation", "test")}
    parts = {name: fitted_samples(samples, field, f"{dataset.name}.{name}") for name, samples in parts.items()}
    for column, bounds in _ranges(field, cost).items():
        values = np.concatenate([np.ravel(getattr(samples, column)) for samples in parts.values()])
        advice = _advice(column, (float(values.min()), float(values.max())), bounds)
        if advice:
            warnings.warn(f"the {column} of {dataset.name} {advice}", DataWarning, stacklevel=3)
    return dataclasses.replace(dataset, **parts)


def fitted_samples(samples: Samples, field: AbstractVectorField, name: str = "the set") -> Samples:
    """Samples with targets for this network's outputs; raises as `fitted`."""
    if len(samples) == 0:
        raise ValueError(f"{name} has no samples: give at least one")
    y = samples.y
    if y.ndim == 1 and field.n_outputs == 1:
        y = y[:, None].astype(np.float32)
    elif y.ndim == 1:
        y = Samples.of(samples.x, y, field.n_outputs, name=name).y
    inputs, outputs = samples.x.shape[1], y.shape[1]
    if (field.n_inputs, field.n_outputs) != (inputs, outputs):
        raise ValueError(
            f"{name} has {inputs} inputs and {outputs} targets, but the network has {field.n_inputs} inputs "
            f"and {field.n_outputs} outputs; give sizes that begin with {inputs} and end with {outputs}, name the "
            "targets with --label, or give classes as a row of integers"
        )
    return Samples(samples.x, y)


def _ranges(field: AbstractVectorField, cost: AbstractCost | None) -> dict[str, tuple[float, float]]:
    """Where inputs and targets of this network lie."""
    if not isinstance(field, AbstractNeuralNetwork):
        return {}
    low, high = field.leaf_bounds[0]
    if isinstance(cost, Matching):
        low, high = max(low, cost.activation.range[0]), min(high, cost.activation.range[1])
    return {"x": field.activation.range, "y": (low, high)}


def _advice(column: str, found: tuple[float, float], bounds: tuple[float, float]) -> str | None:
    """What is wrong with numbers that leave their range, and how they come into it; None if nothing is."""
    (least, most), (low, high) = found, bounds
    width = high - low if math.isfinite(high - low) else most - least
    if least >= low - _TOLERANCE * width and most <= high + _TOLERANCE * width:
        return None
    what = "firing rates" if column == "x" else "outputs"
    return (
        f"go from {least:g} to {most:g}, but this network's {what} lie from {low:g} to {high:g}: scale them, such as "
        f"numpy.interp({column}, ({least:g}, {most:g}), ({low:g}, {low + width:g}))"
    )
