"""CIFAR-10 from its binary files."""

import os
from pathlib import Path

import numpy as np

from .base import DataError, Dataset, hold_out
from .folders import data_folder

_SOURCE = "https://www.cs.toronto.edu/~kriz/cifar.html, the binary version"
_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_SIDE, _COLOURS = 32, 3
_RECORD = 1 + _SIDE * _SIDE * _COLOURS  # the label, then red, green and blue, row by row
_MOST_RECORDS = 100_000


def cifar10(data_dir: str | os.PathLike | None = None, *, seed: int = 0, validation: int = 5_000) -> Dataset:
    """CIFAR-10: 3072 inputs, images of 32 x 32 pixels with the colours last, and 10 classes.

    Args:
        data_dir: the folder with `data_batch_1.bin` to `data_batch_5.bin` and `test_batch.bin`, or the one above it; by
            default in the folder that the environment variable EQPROP_FIELD_DATA names.
        seed: of the choice of the validation samples.
        validation: how many of the training samples are held out for validation.

    Raises:
        DataError: if files are missing or damaged.
    """
    places = ("cifar-10-batches-bin", "cifar-10")
    folder = data_folder("cifar10", data_dir, places, ("data_batch_1.bin",), f"its files from {_SOURCE}")
    parts = [_read(folder / f"data_batch_{k}.bin") for k in range(1, 6)]
    x, labels = (np.concatenate(column) for column in zip(*parts, strict=True))
    test = _read(folder / "test_batch.bin")
    return hold_out("cifar10", (x, labels), test, _CLASSES, validation=validation, seed=seed, source=_SOURCE)


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The pixels in [0, 1] and the labels of one file."""
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_RECORDS * _RECORD + 1)
        if not content or len(content) % _RECORD or len(content) > _MOST_RECORDS * _RECORD:
            raise ValueError(f"it holds {len(content)} bytes, where each image has {_RECORD}")
        records = np.frombuffer(content, np.uint8).reshape(-1, _RECORD)
        if records[:, 0].max() >= len(_CLASSES):
            raise ValueError(f"it has the label {records[:, 0].max()}, where there are {len(_CLASSES)} classes from 0")
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}); get it again from {_SOURCE}") from error
    pixels = records[:, 1:].reshape(-1, _COLOURS, _SIDE * _SIDE).transpose(0, 2, 1)
    return pixels.reshape(len(records), -1).astype(np.float32) / 255, records[:, 0].astype(np.int64)
