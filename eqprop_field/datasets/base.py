"""Labelled samples, split once into what is learnt from, what choices are made on, and what is reported."""

import dataclasses

import jax
import numpy as np
from jaxtyping import Array, Float32, Int, Int64, Integer, Key
from numpy.typing import ArrayLike

from .._arrays import not_finite


class DataError(ValueError):
    """A data set is missing, damaged or another one; the message names where to get it."""


class DataWarning(UserWarning):
    """Data lie where a network cannot answer; the message names the range, and how to scale them."""


@dataclasses.dataclass(frozen=True, init=False)
class Samples:
    """Some samples of a data set.

    Attributes:
        x: the inputs' firing rates, (samples, inputs), in [0, 1].
        y: the targets of the output neurons' states, (samples, outputs), one-hot for classes; or the classes
            themselves, integers from 0, (samples,).
    """

    x: Float32[np.ndarray, "samples inputs"]
    y: Float32[np.ndarray, "samples outputs"] | Int64[np.ndarray, " samples"]

    def __init__(self, x: ArrayLike, y: ArrayLike) -> None:
        """Samples of arrays, or of anything that NumPy makes arrays of.

        Args:
            x: the inputs, (samples, inputs).
            y: the targets or classes, as the attribute; a row of numbers that are no integers is the targets of one
                output.

        Raises:
            ValueError: for arrays of another form, x and y of different lengths, and NaN or infinity, naming the row.
        """
        x, y = _array("x", x), _array("y", y)
        classes = y.ndim == 1 and y.dtype.kind in "iu"
        x, y = _finite("x", x), y.astype(np.int64) if classes else _finite("y", y[:, None] if y.ndim == 1 else y)
        if x.ndim != 2 or y.ndim > 2:
            raise ValueError(
                f"x has shape {x.shape} and y {y.shape}: give x as (samples, inputs) and y as (samples, outputs)"
            )
        if len(x) != len(y):
            raise ValueError(f"x has {len(x)} rows and y has {len(y)}: give one target row for each input row")
        object.__setattr__(self, "x", x)
        object.__setattr__(self, "y", y)

    @classmethod
    def of(cls, x: ArrayLike, labels: ArrayLike, classes: int, *, name: str = "the set") -> "Samples":
        """Samples with the labels 0..classes-1 made one-hot.

        Args:
            x: the inputs, (samples, inputs).
            labels: integers, (samples,).
            classes: how many there are.
            name: of the samples, in messages.

        Raises:
            ValueError: for labels that are no classes, naming the first and its row, and as the constructor.
        """
        labels = _array("labels", labels)
        if labels.ndim != 1 or (labels.dtype.kind not in "iu" and len(labels)):
            raise ValueError(f"labels are {labels.dtype} of shape {labels.shape}: give a row of integers, one a sample")
        wrong = np.flatnonzero((labels < 0) | (labels >= classes))
        if len(wrong):
            raise ValueError(
                f"{name} has the label {labels[wrong[0]]} in row {wrong[0]}, one of {len(wrong)} outside its {classes} "
                f"classes: number them from 0 to {classes - 1}"
            )
        return cls(x, np.eye(classes, dtype=np.float32)[labels.astype(np.int64)])

    @property
    def labels(self) -> Integer[np.ndarray, " samples"]:
        """The class of every sample."""
        return self.y if self.y.ndim == 1 else np.argmax(self.y, axis=1)

    def __len__(self) -> int:
        return len(self.x)


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set and its split.

    Attributes:
        name: as on the command line.
        train: what is learnt from.
        validation: what every choice is made on.
        test: what is reported, once.
        classes: the classes' names.
    """

    name: str
    train: Samples
    validation: Samples
    test: Samples
    classes: tuple[str, ...]


def _array(name: str, value: ArrayLike) -> np.ndarray:
    """Numbers as an array of at least one axis.

    Raises:
        ValueError: naming what they are instead.
    """
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} has rows of different lengths: give as many numbers in every row") from error
    if np.ma.is_masked(value):
        raise ValueError(f"{name} has masked entries: give a number for each, or leave their rows out")
    if array.dtype.kind not in "fiub" or array.ndim == 0:
        raise ValueError(f"{name} holds {array.dtype} values of shape {array.shape}: give an array of real numbers")
    return array


def _finite(name: str, array: np.ndarray) -> Float32[np.ndarray, "..."]:
    with np.errstate(over="ignore"):  # said below
        stored = np.asarray(array, np.float32)
    wrong = np.flatnonzero(~np.isfinite(stored).all(axis=tuple(range(1, stored.ndim))))
    if len(wrong):
        what, mend = not_finite(array, np.float32)
        raise ValueError(f"{name} holds {what} in row {wrong[0]}, one of {len(wrong)}: {mend}")
    return stored


def batch_order(key: Key[Array, ""], epoch: int, samples: int, batch_size: int) -> Int[np.ndarray, "batches size"]:
    """The rows of every batch of an epoch: a permutation that depends on the key and the epoch alone.

    All batches have one size. What is left over sits this epoch out: another few samples each time.

    Args:
        key: a JAX random key.
        epoch: which epoch.
        samples: how many samples there are.
        batch_size: the size of a batch; all samples at once if there are fewer.

    Raises:
        ValueError: without samples, or for a batch size below 1.
    """
    if samples < 1 or batch_size < 1:
        raise ValueError(f"{samples} samples in batches of {batch_size}: both must be at least 1")
    size = min(batch_size, samples)
    order = np.asarray(jax.random.permutation(jax.random.fold_in(key, epoch), samples))
    return order[: samples // size * size].reshape(-1, size)
