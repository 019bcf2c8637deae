"""Labelled samples, split once into what is learnt from, what choices are made on, and what is reported."""

import dataclasses
import sys
from collections.abc import Sequence

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

    @property
    def described(self) -> str:
        """One line: how many samples, inputs, classes or targets, and how they are split."""
        parts = [len(part) for part in (self.train, self.validation, self.test)]
        what = f"{len(self.classes)} classes" if self.classes else f"{self.train.y.shape[-1]} targets"
        return (
            f"{self.name}: {self.train.x.shape[1]} inputs, {what}; {parts[0]} samples to learn from, {parts[1]} for "
            f"validation, {parts[2]} for the test"
        )

    @classmethod
    def of(
        cls,
        x: ArrayLike,
        y: ArrayLike,
        *,
        name: str = "mine",
        validation: float = 0.15,
        test: float = 0.15,
        seed: int = 0,
        scale: tuple[float, float] | None = (0.0, 1.0),
        classes: Sequence[str] = (),
    ) -> "Dataset":
        """One's own data, split at random.

        Args:
            x: the inputs, (samples, inputs).
            y: the classes, integers from 0, (samples,), or their names; or targets, numbers that are no integers,
                (samples,) or (samples, outputs).
            name: of the data, in messages.
            validation: the share on which choices are made; test: the share that is reported. At least one sample each.
            seed: of the split.
            scale: where the lowest and the highest value of every input come to lie, of the samples that are learnt
                from; what lies beyond, in the others, is cut off. A constant input becomes the lower one. None leaves
                the inputs as they are.
            classes: the classes' names; by default those in `y`, numbers first and in their order, or their numbers.

        Raises:
            ValueError: for data that are no samples, as `Samples`, shares that leave nothing to learn from, or a
                single class.
        """
        y = _array("y", y, "fiubU")
        if y.dtype.kind == "U":
            classes = classes or sorted(
                set(y.tolist()), key=lambda name: (not name.isdigit(), name.isdigit() and int(name), name)
            )
            y = np.array([classes.index(name) if name in classes else -1 for name in y.tolist()])
        samples = Samples(x, y)
        if samples.y.ndim == 1:
            classes = classes or [str(number) for number in range(int(samples.y.max()) + 1)]
            if len(classes) < 2:
                raise ValueError(f"y has one class alone, {classes[0]}: give at least two")
            samples = Samples.of(samples.x, samples.y, len(classes), name=name)
        counts = [
            max(1, round(share * len(samples))) if 0 <= share < 1 else len(samples) for share in (validation, test)
        ]
        if (learnt := len(samples) - sum(counts)) < 1:
            raise ValueError(
                f"validation={validation}, test={test} of {len(samples)} samples: give shares from 0 that leave "
                "something to learn from"
            )
        order = np.random.default_rng(seed).permutation(len(samples))
        parts = np.split(order, [learnt, learnt + counts[0]])
        x = samples.x if scale is None else _scaled(samples.x, parts[0], scale)
        return cls(name, *(Samples(x[rows], samples.y[rows]) for rows in parts), classes=tuple(classes))


def hold_out(
    name: str,
    learnt: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    classes: tuple[str, ...],
    *,
    validation: int,
    seed: int,
    source: str,
) -> Dataset:
    """A data set that comes with a test set, so many of whose other samples are held out for validation.

    Args:
        name: of the data set.
        learnt: inputs and labels of the training samples.
        test: those of the test samples.
        classes: their names.
        validation: how many samples are held out; seed: of their choice.
        source: where the complete files are.

    Raises:
        DataError: for a number that leaves nothing to learn from.
    """
    x, labels = learnt
    if not 1 <= validation < len(x):
        raise DataError(
            f"{validation} of the {len(x)} training samples of {name} cannot be held out for validation; get the "
            f"complete files from {source} or hold out fewer"
        )
    order = np.random.default_rng(seed).permutation(len(x))
    chosen, train = np.sort(order[:validation]), np.sort(order[validation:])
    parts = [(x[train], labels[train]), (x[chosen], labels[chosen]), test]
    return Dataset(name, *(Samples.of(*part, len(classes)) for part in parts), classes=classes)


def _numbers_first(name: str) -> tuple[int, str]:
    return (int(name) if name.isdecimal() else sys.maxsize), name


def _scaled(x: np.ndarray, learnt: np.ndarray, to: tuple[float, float]) -> np.ndarray:
    low, high = x[learnt].min(axis=0), x[learnt].max(axis=0)
    shares = (x - low) / np.where(high > low, high - low, 1)
    return to[0] + (to[1] - to[0]) * np.clip(shares, 0, 1)


def _array(name: str, value: ArrayLike, kinds: str = "fiub") -> np.ndarray:
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
    if array.dtype.kind not in kinds or array.ndim == 0:
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
