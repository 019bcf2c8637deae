"""Reading what users hand over, and the places that results go to."""

import csv
import io
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._files import write_json, write_text
from ..storage import load_network
from ..vector_fields import AbstractVectorField
from .command import Refused


def read_network(path: Path) -> AbstractVectorField:
    """The network of a file, in the precision that JAX is set to.

    Raises:
        ValueError: for a file that is no network.
        OSError: for one that cannot be read.
    """
    _must_be_file(path, "network")
    wide = jnp.result_type(float)
    return jax.tree.map(lambda leaf: leaf.astype(wide) if eqx.is_inexact_array(leaf) else leaf, load_network(path))


def read_samples(input_path: Path, target_path: Path, field: AbstractVectorField) -> tuple[np.ndarray, np.ndarray]:
    """x (batch, inputs) and y (batch, outputs) for this network.

    Raises:
        Refused: for files that hold no such arrays, NaN, or different numbers of samples.
        OSError: for files that cannot be read.
    """
    x = read_input(input_path, field)
    y = _read_array(target_path, "--target", field.n_outputs, field.dtype)
    if len(x) != len(y):
        raise Refused(f"--input has {len(x)} samples and --target {len(y)}: give one target for every sample")
    return x, y


def read_input(path: Path, field: AbstractVectorField) -> np.ndarray:
    """x (batch, inputs) for this network; raises as `read_samples`."""
    return _read_array(path, "--input", field.n_inputs, field.dtype)


def _read_array(path: Path, option: str, width: int, dtype: Any) -> np.ndarray:
    _must_be_file(path, option)
    try:
        # Mapped first: a header that promises more than the file holds is refused without allocating it.
        with np.errstate(over="ignore"):
            stored = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        if error.errno is not None:
            raise
        raise Refused(f"{option} {path} is no .npy file: write it with numpy.save") from error
    except (ValueError, EOFError, SyntaxError, OverflowError) as error:
        raise Refused(f"{option} {path} is no sound .npy file: write it again with numpy.save") from error
    if not isinstance(stored, np.ndarray):
        raise Refused(f"{option} {path} holds several arrays: give a .npy file with one")
    if stored.dtype.kind not in "fiub":
        raise Refused(f"{option} {path} holds {stored.dtype} values: give real numbers")
    if stored.ndim != 2 or stored.shape[1] != width or len(stored) == 0:
        raise Refused(
            f"{option} {path} has shape {stored.shape}, but this network needs (batch, {width}): "
            f"give one row per sample with {width} columns"
        )
    array = np.array(stored, dtype=dtype)
    finite = np.isfinite(array).all(axis=1)
    if not finite.all():
        raise Refused(
            f"{option} {path} holds NaN or infinity in {int((~finite).sum())} of {len(array)} rows: remove or "
            "repair them"
        )
    return array


def _must_be_file(path: Path, what: str) -> None:
    if path.is_dir():
        raise Refused(f"{what} {path} is a folder: name a file")
    if not path.exists():
        raise Refused(f"{what} {path} does not exist: check the path")


def folder_for(path: Path) -> Path:
    """The folder for results, as far as can be told before the work; it is made when the first file is written.

    Raises:
        Refused: where a file is in the way, or the place is not writable.
    """
    if path.exists() and not path.is_dir():
        raise Refused(f"--out {path} is a file: name a folder")
    _must_be_writable(path)
    return path


def place_for(path: Path, suffix: str) -> Path:
    """The path of a single result file, as far as can be told before the work.

    Raises:
        Refused: for a folder, another ending than `suffix`, or a place that is not writable.
    """
    if path.is_dir():
        raise Refused(f"--out {path} is a folder: name a file, such as {path / ('net' + suffix)}")
    if path.suffix != suffix:
        raise Refused(f"--out {path}: name a file that ends in {suffix}")
    _must_be_writable(path.parent)
    return path


def _must_be_writable(folder: Path) -> None:
    there = next((place for place in (folder, *folder.absolute().parents) if place.exists()), None)
    if there is not None and not there.is_dir():
        raise Refused(f"--out: {there} is a file, and no folder can be made in it: choose another place")
    if there is None or not os.access(there, os.W_OK | os.X_OK):
        raise Refused(f"--out: {folder} is not writable: choose a place you may write to")


def write_table(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """A CSV file of rows that all have the columns of the first."""
    rows = list(rows)
    text = io.StringIO()
    table = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    write_text(path, text.getvalue())


def write_summary(folder: Path, summary: Mapping[str, Any]) -> None:
    """`summary.json` of a run: what `--json` prints."""
    write_json(folder / "summary.json", dict(summary))
