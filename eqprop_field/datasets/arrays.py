"""Samples for a network: from files of arrays, or at random."""

import os
import warnings

import jax
import numpy as np
from jaxtyping import Array, DTypeLike, Float, Key

from .._arrays import checked_key
from .._compilation import uniform


def read_samples(
    x_path: str | os.PathLike,
    y_path: str | os.PathLike,
    widths: tuple[int, int],
    dtype: DTypeLike = np.float32,
    *,
    names: tuple[str, str] = ("x", "y"),
) -> tuple[Float[np.ndarray, "batch inputs"], Float[np.ndarray, "batch outputs"]]:
    """Inputs and targets from two `.npy` files.

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
    x = read_array(x_path, widths[0], dtype, name=names[0])
    y = read_array(y_path, widths[1], dtype, name=names[1])
    if len(x) != len(y):
        raise ValueError(f"{names[0]} has {len(x)} samples and {names[1]} {len(y)}: give one target for every sample")
    return x, y


def read_array(
    path: str | os.PathLike, width: int, dtype: DTypeLike = np.float32, *, name: str = "the array"
) -> Float[np.ndarray, "batch width"]:
    """One array of real, finite numbers with a row a sample from a `.npy` file; arguments as for `read_samples`.

    Raises:
        ValueError: for a file that holds no such array.
        OSError: for one that cannot be read.
    """
    what = f"{name} {os.fspath(path)}"
    must_be_file(path, what)
    with open(path, "rb") as file:
        start = file.read(len(np.lib.format.MAGIC_PREFIX))
    if start[:2] == b"PK":
        raise ValueError(f"{what} holds several arrays: give a .npy file with one")
    if start != np.lib.format.MAGIC_PREFIX:
        raise ValueError(f"{what} is no .npy file: write it with numpy.save")
    try:
        # Mapped first: a header that promises more than the file holds is refused without allocating it.
        with np.errstate(over="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Python literals in the header
            stored = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # the header is a Python literal, and errors of every kind come of a damaged one
        raise ValueError(f"{what} is no sound .npy file: write it again with numpy.save") from error
    if stored.dtype.kind not in "fiub":
        raise ValueError(f"{what} holds {stored.dtype} values: give real numbers")
    if stored.ndim != 2 or stored.shape[1] != width or len(stored) == 0:
        raise ValueError(
            f"{what} has shape {stored.shape}, but this network needs (batch, {width}): "
            f"give one row per sample with {width} columns"
        )
    array = np.array(stored, dtype=dtype)
    finite = np.isfinite(array).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"{what} holds NaN or infinity in {int((~finite).sum())} of {len(array)} rows: remove or repair them"
        )
    return array


def must_be_file(path: str | os.PathLike, what: str) -> None:
    """Refuses a folder, a path that leads nowhere, and pipes and devices, which could be waited for without end.

    Raises:
        ValueError: with `what` as its first word.
    """
    if os.path.isdir(path):
        raise ValueError(f"{what} is a folder: name a file")
    if not os.path.exists(path):
        raise ValueError(f"{what} does not exist: check the path")
    if not os.path.isfile(path):
        raise ValueError(f"{what} is a pipe or a device: write what it gives to a file, and name that")


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
