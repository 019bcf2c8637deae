"""Labelled samples, split once into what is learnt from, what choices are made on, and what is reported."""

import dataclasses

import jax
import numpy as np
from jaxtyping import Array, Float32, Int, Integer, Key, Num


class DataError(ValueError):
    """A data set is missing, damaged or another one; the message names where to get it."""


@dataclasses.dataclass(frozen=True)
class Samples:
    """Some samples of a data set.

    Attributes:
        x: the inputs' firing rates, (samples, inputs), in [0, 1].
        y: the targets of the output neurons' states, one-hot, (samples, classes).
    """

    x: Float32[np.ndarray, "samples inputs"]
    y: Float32[np.ndarray, "samples classes"]

    @classmethod
    def of(
        cls, x: Num[np.ndarray, "samples inputs"], labels: Integer[np.ndarray, " samples"], classes: int
    ) -> "Samples":
        """Samples with the labels 0..classes-1 made one-hot."""
        return cls(np.asarray(x, np.float32), np.eye(classes, dtype=np.float32)[labels])

    @property
    def labels(self) -> Integer[np.ndarray, " samples"]:
        """The class of every sample."""
        return np.argmax(self.y, axis=1)

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
