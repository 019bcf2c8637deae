"""Series in files: the columns of a CSV file by their names, or the arrays of an npz file."""

import csv
import os
import zipfile
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from .arrays import must_be_file


def read_series(
    path: str | os.PathLike, *groups: Sequence[str], missing: bool = True
) -> list[Float[np.ndarray, "time _"]]:
    """Columns of a file side by side, an array (time, channels) for each group of names.

    Args:
        path: a `.csv` file whose first line names its columns, an empty cell or `nan` being a missing number; or a
            `.npz` file of arrays (time,) or (time, channels).
        groups: names of columns or arrays.
        missing: whether numbers may be missing.

    Raises:
        ValueError: for a file that holds no such columns of numbers.
        OSError: for one that cannot be read.
    """
    what = f"--data {os.fspath(path)}"
    must_be_file(path, what)
    suffix = os.path.splitext(path)[1]
    if suffix not in (".csv", ".npz"):
        raise ValueError(f"{what}: give a .csv file with a line of names, or a .npz file")
    names = [name for group in groups for name in group]
    if not names or not all(names):
        raise ValueError(f"{what}: name the columns, such as a,b")
    found = _csv(path, what, names) if suffix == ".csv" else _npz(path, what, names)
    lengths = {name: len(column) for name, column in found.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{what} has {lengths} samples: give all the same number")
    if min(lengths.values()) == 0:
        raise ValueError(f"{what} holds no samples")
    for name, column in found.items():
        if np.isinf(column).any() or (not missing and np.isnan(column).any()):
            raise ValueError(f"{what} holds infinity or a missing number in {name}: fill it")
    return [np.concatenate([found[name] for name in group], axis=1) for group in groups]


def _csv(path: str | os.PathLike, what: str, names: list[str]) -> dict[str, np.ndarray]:
    return {
        name: numbers(cells, f"{what}, column {name}")[:, None] for name, cells in read_cells(path, what, names).items()
    }


def read_cells(path: str | os.PathLike, what: str, names: Sequence[str] = ()) -> dict[str, list[str]]:
    """The text of a CSV file by column; of all of them, or of these.

    Args:
        path: a file whose first line names its columns.
        what: the first words of messages.
        names: of the columns that are wanted.

    Raises:
        ValueError: for a file that is no such table.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            header = [name.strip() for name in reader.fieldnames or []]
            _must_have(names, header, what)
            if len(set(header)) < len(header):
                raise ValueError(f"{what} has two columns of one name: {', '.join(header)}"[:300])
            reader.fieldnames = header
            columns: dict[str, list[str]] = {name: [] for name in names or header}
            for row in reader:
                if None in row:
                    raise ValueError(
                        f"{what}, line {reader.line_num} has more cells than there are names: write decimal points, "
                        "and one cell a column"
                    )
                for name, column in columns.items():
                    column.append(row[name].strip())
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{what} is no CSV file in UTF-8: {error}") from error
    return columns


def numbers(cells: Sequence[str], where: str) -> Float[np.ndarray, " cells"]:
    """Cells as numbers, NaN where one is empty.

    Raises:
        ValueError: naming the first row, from 1, that holds something else.
    """
    found = []
    for row, cell in enumerate(cells, 1):
        try:
            found.append(float(cell) if cell else np.nan)
        except ValueError as error:
            raise ValueError(
                f"{where}, row {row} holds {cell!r:.40}: give a number, or nothing where it is missing"
            ) from error
    return np.array(found)


def _npz(path: str | os.PathLike, what: str, names: list[str]) -> dict[str, np.ndarray]:
    found = read_arrays(path, what, names)
    for name, array in found.items():
        if array.dtype.kind not in "fiub" or array.ndim not in (1, 2):
            raise ValueError(
                f"{what}: {name} is {array.dtype} of shape {array.shape}; give numbers (time,) or (time, n)"
            )
    return {name: np.asarray(array, float).reshape(len(array), -1) for name, array in found.items()}


def read_arrays(path: str | os.PathLike, what: str, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Arrays of a `.npz` file by their names; arguments and errors as for `read_cells`."""
    try:
        with np.load(path, allow_pickle=False) as file:
            _must_have(names, list(file.files), what)
            return {name: file[name] for name in names}
    except (zipfile.BadZipFile, EOFError, SyntaxError, OverflowError, NotImplementedError) as error:
        raise ValueError(f"{what} is no sound .npz file: write it again with numpy.savez") from error


def _must_have(names: Sequence[str], there: list[str], what: str) -> None:
    if absent := [name for name in names if name not in there]:
        raise ValueError(f"{what} has no {', '.join(absent)}: it has {', '.join(there) or 'nothing'}"[:400])
