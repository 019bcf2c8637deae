"""Samples for a network: from files of arrays, or at random."""

import io
import os
import sys
import warnings

import jax
import numpy as np
from jaxtyping import Array, DTypeLike, Float, Key

from .._arrays import checked_key, not_finite
from .._compilation import uniform
from .._files import must_be_file
from .series import read_arrays, read_numbers

_STANDARD_INPUT = "-"
_LONGEST_INPUT = 2**28  # bytes of standard input: a pipe may have no end


def read_samples(
    x_path: str | os.PathLike,
    y_path: str | os.PathLike,
    widths: tuple[int, int],
    dtype: DTypeLike = np.float32,
    *,
    names: tuple[str, str] = ("x", "y"),
) -> tuple[Float[np.ndarray, "batch inputs"], Float[np.ndarray, "batch outputs"]]:
    """Inputs and targets from two files, as `read_array` takes them; one of them may be standard input.

    Args:
        x_path: the inputs' firing rates, (batch, inputs).
        y_path: the targets of the output neurons' states, (batch, outputs).
        widths: inputs and outputs of the network: `(field.n_inputs, field.n_outputs)`.
        dtype: of the arrays.
        names: what messages call the two.

    Raises:
        ValueError: for files that hold no such arrays, NaN or infinity, or different numbers of samples.
        OSError: for files that cannot be read.
    """
    same = os.fspath(x_path) == os.fspath(y_path)
    if same and os.fspath(x_path) == _STANDARD_INPUT:
        raise ValueError(f"{names[0]} and {names[1]} are both standard input: write one of them to a file")
    if same and os.fspath(x_path).lower().endswith(".npz"):
        raise ValueError(
            f"{names[0]} and {names[1]} are the first array of one file: name both arrays, such as {x_path}:x and "
            f"{x_path}:y"
        )
    x = read_array(x_path, widths[0], dtype, name=names[0])
    y = read_array(y_path, widths[1], dtype, name=names[1])
    if len(x) != len(y):
        raise ValueError(f"{names[0]} has {len(x)} samples and {names[1]} {len(y)}: give one target for every sample")
    return x, y


def read_array(
    path: str | os.PathLike, width: int, dtype: DTypeLike = np.float32, *, name: str = "the array"
) -> Float[np.ndarray, "batch width"]:
    """One array of real, finite numbers with a row a sample; arguments as for `read_samples`.

    Args:
        path: a `.npy` file; a `.npz` file, of which the first array is taken, or `FILE.npz:NAME`; a `.csv` file of
            numbers, whose first line is skipped where it holds names; or `-`, the same from standard input.
        width: columns of the array.
        dtype: of the array.
        name: what messages call it.

    Raises:
        ValueError: for a file that holds no such array.
        OSError: for one that cannot be read.
    """
    what = f"{name} {os.fspath(path)}"
    stored = _stored(path, what)
    if stored.dtype.kind not in "fiub":
        raise ValueError(f"{what} holds {stored.dtype} values: give real numbers")
    if stored.ndim != 2 or stored.shape[1] != width or len(stored) == 0:
        raise ValueError(
            f"{what} has shape {stored.shape}, but this network needs (batch, {width}): "
            f"give one row per sample with {width} columns"
        )
    with np.errstate(over="ignore"):
        array = np.array(stored, dtype=dtype)
    finite = np.isfinite(array).all(axis=1)
    if not finite.all():
        held, mend = not_finite(stored, dtype)
        raise ValueError(f"{what} holds {held} in {int((~finite).sum())} of {len(array)} rows: {mend}")
    return array


def _stored(path: str | os.PathLike, what: str) -> np.ndarray:
    """The array as the file has it."""
    if os.fspath(path) == _STANDARD_INPUT:
        if sys.stdin is None:
            raise ValueError(f"{what}: there is no standard input; name a file")
        content = sys.stdin.buffer.read(_LONGEST_INPUT + 1)
        if len(content) > _LONGEST_INPUT:
            raise ValueError(f"{what} gives more than {_LONGEST_INPUT >> 20} MiB: write it to a .npy file")
        return read_numbers(io.TextIOWrapper(io.BytesIO(content), "utf-8-sig", newline=""), what)
    place, array = os.fspath(path), []
    if ".npz:" in place and not os.path.exists(place):
        place, _, named = place.rpartition(":")
        array = [named]
    must_be_file(place, what)
    suffix = os.path.splitext(place)[1].lower()
    if suffix == ".npz":
        return next(iter(read_arrays(place, what, array).values()))
    if suffix == ".csv":
        with open(place, newline="", encoding="utf-8-sig") as lines:
            return read_numbers(lines, what)
    return _npy(place, what)


def _npy(path: str, what: str) -> np.ndarray:
    with open(path, "rb") as file:
        start = file.read(len(np.lib.format.MAGIC_PREFIX))
    if start[:2] == b"PK":
        raise ValueError(f"{what} holds several arrays: end its name in .npz, or give a .npy file with one")
    if start != np.lib.format.MAGIC_PREFIX:
        raise ValueError(f"{what} is no .npy file: write it with numpy.save, or give numbers in a .csv file")
    try:
        # Mapped first: a header that promises more than the file holds is refused without allocating it.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Python literals in the header
            return np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # the header is a Python literal, and errors of every kind come of a damaged one
        raise ValueError(f"{what} is no sound .npy file: write it again with numpy.save") from error


def random_samples(
    key: Key[Array, ""], samples: int, widths: tuple[int, int], dtype: DTypeLike = np.float32
) -> tuple[Float[Array, "samples inputs"], Float[Array, "samples outputs"]]:
    """Inputs and targets, uniform in [0, 1].

    Args:
        key: of the draw.
        samples: how many.
        widths: inputs and outputs of the network: `(field.n_inputs, field.n_outputs)`.
        dtype: of the arrays.

    Raises:
        ValueError: for no samples, or no key.
    """
    if samples < 1:
        raise ValueError(f"samples={samples}: give at least 1")
    inputs, targets = jax.random.split(checked_key(key))
    x = uniform(inputs, (samples, widths[0]), dtype)
    return x, uniform(targets, (samples, widths[1]), dtype)
