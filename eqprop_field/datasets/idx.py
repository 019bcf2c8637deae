"""MNIST and Fashion-MNIST from their IDX files, gzipped or not."""

import gzip
import math
import os
import struct
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from .base import DataError, Dataset, hold_out
from .folders import data_folder

_IMAGES, _LABELS = 0x0803, 0x0801  # unsigned bytes, in three dimensions and in one
_GZIP = b"\x1f\x8b"
_PIXELS = 28
_MOST_SAMPLES = 100_000  # a header that claims more is damaged

_SOURCES = {
    "mnist": "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "fashion": "https://github.com/zalandoresearch/fashion-mnist (Debian: apt install dataset-fashion-mnist)",
}
_PLACES = {  # torchvision's, and Debian's
    "mnist": ("MNIST/raw", "raw"),
    "fashion": ("FashionMNIST/raw", "raw", "fashion-mnist"),
}
_FASHION = (
    "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip


def mnist(data_dir: str | os.PathLike | None = None, *, seed: int = 0, validation: int = 10_000) -> Dataset:
    """MNIST: 784 inputs, 10 classes, 70 000 samples of which 10 000 are the test set.

    Args:
        data_dir: the folder with the four IDX files, gzipped or not, or one above it, such as torchvision's root;
            by default the folder that the environment variable EQPROP_FIELD_DATA names, then Debian's data sets in
            /usr/share/datasets.
        seed: of the choice of the validation samples.
        validation: how many of the training samples are held out for validation.

    Raises:
        DataError: if the files are missing or damaged.
    """
    return _load("mnist", tuple(str(digit) for digit in range(10)), data_dir, seed, validation)


def fashion(data_dir: str | os.PathLike | None = None, *, seed: int = 0, validation: int = 10_000) -> Dataset:
    """Fashion-MNIST: 784 inputs, 10 classes, in files of the same form as MNIST's. Arguments as for `mnist`.

    Raises:
        DataError: if the files are missing or damaged.
    """
    return _load("fashion", _FASHION, data_dir, seed, validation)


def _load(
    name: str, classes: tuple[str, ...], data_dir: str | os.PathLike | None, seed: int, validation: int
) -> Dataset:
    source = f"its four IDX files from {_SOURCES[name]}"
    folder = data_folder(name, data_dir, _PLACES[name], _names("train-images-idx3-ubyte"), source)
    learnt, test = (_samples(folder, part, name) for part in ("train", "t10k"))
    return hold_out(name, learnt, test, classes, validation=validation, seed=seed, source=_SOURCES[name])


def _samples(folder: Path, part: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The pixels in [0, 1] and the labels of one part."""
    images = _read(folder, f"{part}-images-idx3-ubyte", _IMAGES, name)
    labels = _read(folder, f"{part}-labels-idx1-ubyte", _LABELS, name)
    mend = f"get both files again from {_SOURCES[name]}"
    if len(images) != len(labels):
        raise DataError(f"{folder} holds {len(images)} {part} images but {len(labels)} labels; {mend}")
    if labels.max(initial=0) > 9:
        raise DataError(f"the {part} labels in {folder} go up to {labels.max()}, not 9; {mend}")
    return images.reshape(len(images), -1).astype(np.float32) / 255, labels.astype(np.int64)


def _read(folder: Path, stem: str, magic: int, name: str) -> UInt8[np.ndarray, "..."]:
    """The array of one IDX file, found under any of its usual names."""
    path = next((folder / name for name in _names(stem) if (folder / name).is_file()), None)
    if path is None:
        raise DataError(f"{folder} holds no {stem} or {stem}.gz; get the four IDX files from {_SOURCES[name]}")
    try:
        return _parse(path, magic)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}); get it again from {_SOURCES[name]}") from error


def _names(stem: str) -> list[str]:
    return [name + ending for name in (stem, stem.replace("-idx", ".idx")) for ending in ("", ".gz")]


def _parse(path: Path, magic: int) -> UInt8[np.ndarray, "..."]:
    with path.open("rb") as file:
        zipped = file.read(2) == _GZIP  # whatever the name says
    with gzip.open(path, "rb") if zipped else path.open("rb") as file:
        dimensions = magic & 0xFF
        header = file.read(4 + 4 * dimensions)
        if len(header) < 4 + 4 * dimensions:
            raise ValueError("the file ends within its header")
        found, *shape = struct.unpack(f">{1 + dimensions}I", header)
        if found != magic:
            raise ValueError(f"it begins with {found:#010x} instead of {magic:#010x}: not an IDX file of this kind")
        if shape[0] > _MOST_SAMPLES or shape[1:] not in ([], [_PIXELS, _PIXELS]):
            raise ValueError(f"its header claims the shape {tuple(shape)}, where images have 28 x 28 pixels")
        expected = math.prod(shape)
        content = file.read(expected + 1)
    if len(content) != expected:
        missing = "more" if len(content) > expected else f"only {len(content)}"
        raise ValueError(f"it holds {missing} bytes where its header promises {expected}")
    return np.frombuffer(content, np.uint8).reshape(shape)
