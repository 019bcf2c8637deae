"""Files of campaigns: HDF5, one dataset a column, with a checksum that is compared before HDF5 sees anything.

The checksum is in the file's first bytes, which HDF5 leaves to its users (the user block), so that other programs read
these files as any other.
"""

import hashlib
import io
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from .._files import write_atomically
from .pool import Row

_MARK = b"eqprop-field campaign 2\nsha256 "
_HEAD = 512  # bytes of the user block


def read_campaign(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The description of a campaign, and its columns in their order; the column `run` has the runs' numbers.

    Nothing but the file itself is read, whatever it refers to.

    Raises:
        ValueError: for a file that is no campaign's or is damaged, or if h5py is not installed.
        OSError: for one that cannot be read.
    """
    h5py = require_h5py()
    name = pathlib.Path(path).name
    if os.path.exists(path) and not os.path.isfile(path):
        raise ValueError(f"{name} is a folder, a pipe or a device: give the file of a campaign")
    data = pathlib.Path(path).read_bytes()
    if not data.startswith(_MARK):
        raise ValueError(f"{name} is no HDF5 file of a campaign of this version: give another file")
    if data[:_HEAD] != _head(data[_HEAD:]):
        raise ValueError(f"{name} is damaged, its checksum differs: remove it, or give another file")
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            columns = {name: _column(file, name) for name in file}
            description = json.loads(file.attrs["task"])
    # Everything that HDF5 and JSON make of content that another program has written.
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, RecursionError, MemoryError) as error:
        raise ValueError(f"{name} holds no campaign ({error}): give another file") from error
    runs = columns.get("run", np.zeros(0))
    if runs.dtype.kind != "i" or np.any(np.diff(runs, prepend=-1) < 1):
        raise ValueError(f"{name} holds no campaign, its runs have no increasing numbers: give another file")
    if not isinstance(description, dict) or {len(column) for column in columns.values()} != {len(runs)}:
        raise ValueError(f"{name} holds no campaign, its columns differ in length: give another file")
    return description, columns


def write_campaign(
    path: str | os.PathLike[str], description: Mapping[str, Any], columns: Mapping[str, np.ndarray]
) -> None:
    """Writes the columns of rows that `check_row` has found good, whole or not at all.

    Raises:
        OSError: as for `write_atomically`.
    """
    buffer = io.BytesIO()
    h5py = require_h5py()
    with h5py.File(buffer, "w", userblock_size=_HEAD, track_order=True) as file:
        file.attrs["task"] = json.dumps(description)
        for name, column in columns.items():
            if column.dtype.kind == "U":
                text = np.char.encode(column, "utf-8")
                column = text.astype(h5py.string_dtype("utf-8", text.dtype.itemsize))
            file[name] = column
    body = buffer.getvalue()[_HEAD:]
    write_atomically(path, _head(body) + body)


def columns_of(rows: Mapping[int, Row]) -> dict[str, np.ndarray]:
    """The columns of rows by the runs' numbers, which come first."""
    numbers = sorted(rows)
    names = rows[numbers[0]] if numbers else ()
    return {"run": np.array(numbers, int)} | {name: np.array([rows[run][name] for run in numbers]) for name in names}


def rows_of(columns: Mapping[str, np.ndarray]) -> dict[int, Row]:
    """The rows of a campaign's columns, by the runs' numbers."""
    names = [name for name in columns if name != "run"]
    cells = zip(*(columns[name].tolist() for name in names), strict=True)
    return {run: dict(zip(names, row, strict=True)) for run, row in zip(columns["run"].tolist(), cells, strict=True)}


def check_row(row: Mapping[str, Any], like: Mapping[str, Any]) -> None:
    """Says what is wrong with a row that cannot lie in a file beside another.

    Raises:
        ValueError: for a name or a value without a place in a column, and where the two differ in their names or kinds.
    """
    for name, value in row.items():
        if not name or name in ("run", ".") or "/" in name or "\0" in name:
            raise ValueError(f"a row has an entry named {name!r}: give a word, and not 'run'")
        kind = "U" if isinstance(value, str) else np.asarray(value).dtype.kind
        if kind not in "Ubif" or np.ndim(value) or (kind == "U" and "\0" in str(value)):
            raise ValueError(f"a row has {name}={value!r:.60}: give a number or a text")
    texts, others = ({name: isinstance(value, str) for name, value in one.items()} for one in (row, like))
    if texts != others:
        raise ValueError(f"rows differ in their entries: one has {', '.join(row)}, another has {', '.join(like)}")


def require_h5py() -> Any:
    """The module h5py.

    Raises:
        ValueError: where it is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise ValueError("h5py is not installed: pip install 'eqprop-field[campaign]'") from error
    return h5py


def _head(body: bytes) -> bytes:
    return (_MARK + hashlib.sha256(body).hexdigest().encode() + b"\n").ljust(_HEAD, b"\0")


def _column(file: Any, name: str) -> np.ndarray:
    """One dataset, if it is of the kind that is written here: plain values, all of them in this very file."""
    h5py = require_h5py()
    if not isinstance(file.get(name, getlink=True), h5py.HardLink) or not isinstance(file[name], h5py.Dataset):
        raise ValueError(f"{name} refers to elsewhere, or is no dataset")
    data = file[name]
    plain = data.ndim == 1 and data.dtype.kind in "biufS" and not (data.external or data.is_virtual or data.chunks)
    if not plain or data.id.get_storage_size() != data.size * data.dtype.itemsize:
        raise ValueError(f"{name} is no plain column in this file")
    return np.char.decode(data[:], "utf-8") if data.dtype.kind == "S" else data[:]
