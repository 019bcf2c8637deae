"""Series of a user: arrays, lists of arrays and data frames as samples; scales; how good outputs are."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from ..results import AbstractResult, known

_LARGEST = float(np.finfo(np.float32).max)
Series = Float[np.ndarray, "_ _"]  # (time, channels); every series has its own length


def as_series(values: Any, name: str) -> list[Series]:
    """One series, or several of any lengths, as arrays (time, channels).

    Args:
        values: an array (time,) or (time, channels), a pandas Series or DataFrame, or a list of these.
        name: what they are, for messages.

    Raises:
        ValueError: for other shapes, fewer than two samples, more channels than samples, or numbers beyond float32.
    """
    many = isinstance(values, list | tuple) and len(values) > 0 and np.ndim(values[0]) > 0
    found = []
    for one in values if many else [values]:
        try:
            if np.ma.is_masked(one) or np.iscomplexobj(one):
                raise ValueError("entries are masked or complex; a target that is missing is NaN")
            array = np.asarray(one, float)
        except (TypeError, ValueError) as error:
            raise ValueError(f"the {name} hold something other than numbers: {error}") from error
        array = array[:, None] if array.ndim == 1 else array
        if array.ndim != 2 or len(array) < 2:
            raise ValueError(
                f"{name} of shape {np.shape(one)}: give (time,) or (time, channels) with at least two samples, and "
                "several series as a list of these"
            )
        if array.shape[1] > len(array):
            raise ValueError(
                f"{name} of shape {array.shape} would be {len(array)} samples of {array.shape[1]} channels: give a "
                "row a sample, or its transpose"
            )
        if (np.abs(array[np.isfinite(array)]) > _LARGEST).any():
            raise ValueError(f"the {name} hold numbers above {_LARGEST:.2g}: scale them, for float32 has none")
        found.append(array)
    if len({array.shape[1] for array in found}) > 1:
        raise ValueError(f"the series of the {name} have different numbers of channels: give all the same")
    return found


@dataclasses.dataclass(frozen=True, eq=False)
class Scale:
    """An affine map of every channel: `scaled` is (values - middle) / size, `restored` its inverse.

    Attributes:
        middle: what becomes 0 (channels,).
        size: what becomes 1 away from it (channels,).
    """

    middle: Float[np.ndarray, " channels"]
    size: Float[np.ndarray, " channels"]

    @classmethod
    def standard(cls, series: Sequence[Series], width: float = 1.0) -> "Scale":
        """The scale on which the known samples have mean 0 and standard deviation `width`; constants become 0."""
        whole = np.concatenate(series)
        deviation = np.nanstd(whole, axis=0)
        return cls(np.nanmean(whole, axis=0), np.where(deviation > 0, deviation, 1.0) / width)

    @classmethod
    def between(cls, series: Sequence[Series], low: float, high: float) -> "Scale":
        """The scale on which the known samples lie between these."""
        whole = np.concatenate(series)
        least, most = np.nanmin(whole, axis=0), np.nanmax(whole, axis=0)
        size = np.where(most > least, most - least, 1.0) / (high - low)
        return cls(least - low * size, size)

    @classmethod
    def none(cls, channels: int) -> "Scale":
        """The identity."""
        return cls(np.zeros(channels), np.ones(channels))

    def scaled(self, values: Series) -> Series:
        return (values - self.middle) / self.size

    def restored(self, values: Series) -> Series:
        return values * self.size + self.middle


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class SeriesScore(AbstractResult):
    r"""How good the outputs of a model are.

    NMSE, the sum of squared errors over that of the targets' deviations from the mean of each output, is 1 for the mean
    target; NRMSE is its root, and R2 is 1 - NMSE. Only samples with a known target count.

    Attributes:
        targets: of every series; NaN where none is known or it is not scored.
        outputs: of every series.
    """

    targets: list[Series]
    outputs: list[Series]
    stem: ClassVar[str] = "score"

    @property
    def nmse(self) -> float:
        """The normalised mean squared error; NaN where the targets do not vary."""
        targets, outputs = np.concatenate(self.targets), np.concatenate(self.outputs)
        scored = np.isfinite(targets)
        mean = np.where(scored, targets, 0).sum(axis=0) / np.maximum(scored.sum(axis=0), 1)
        spread = np.sum((targets - mean)[scored] ** 2)
        return float(np.sum((outputs - targets)[scored] ** 2) / spread) if spread > 0 else np.nan

    @property
    def nrmse(self) -> float:
        """The root of the NMSE."""
        return self.nmse**0.5

    @property
    def r2(self) -> float:
        """The coefficient of determination."""
        return 1 - self.nmse

    def rows(self) -> list[dict[str, Any]]:
        """One row a sample: `series`, `sample`, `target_0`, ..., `output_0`, ...; empty where no target is known."""
        channels = range(self.targets[0].shape[1])
        names = [*(f"target_{i}" for i in channels), *(f"output_{i}" for i in channels)]
        return [
            {"series": number, "sample": k} | dict(zip(names, map(known, [*target, *output]), strict=True))
            for number, (targets, outputs) in enumerate(zip(self.targets, self.outputs, strict=True))
            for k, (target, output) in enumerate(zip(targets, outputs, strict=True))
        ]

    def summary(self) -> dict[str, Any]:
        scored = int(np.sum([np.isfinite(target).sum() for target in self.targets]))
        return {"nmse": known(self.nmse), "nrmse": known(self.nrmse), "r2": known(self.r2), "scored": scored}

    @property
    def failure(self) -> str | None:
        outputs = np.concatenate(self.outputs)
        if not np.isfinite(outputs[np.isfinite(np.concatenate(self.targets))]).all():
            return "the model exploded: its outputs are not finite"
        return f"NMSE {self.nmse:.3g}: the model is worse than the mean target" if self.nmse > 1 else None
