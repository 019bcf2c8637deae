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
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            header = [name.strip() for name in reader.fieldnames or []]
            _must_have(names, header, what)
            if len(set(header)) < len(header):
                raise ValueError(f"{what} has two columns of one name: {', '.join(header)}"[:300])
            reader.fieldnames = header
            columns: dict[str, list[float]] = {name: [] for name in names}
            for row in reader:
                if None in row:
                    raise ValueError(
                        f"{what}, line {reader.line_num} has more cells than there are names: write decimal points, "
                        "and one cell a column"
                    )
                for name in columns:
                    columns[name].append(_number(row[name], f"{what}, line {reader.line_num}, column {name}"))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{what} is no CSV file in UTF-8: {error}") from error
    return {name: np.array(column)[:, None] for name, column in columns.items()}


def _number(cell: str | None, where: str) -> float:
    text = (cell or "").strip()
    try:
        return float(text) if text else np.nan
    except ValueError as error:
        raise ValueError(f"{where} holds {text!r:.40}: give a number, or nothing where it is missing") from error


def _npz(path: str | os.PathLike, what: str, names: list[str]) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            _must_have(names, list(file.files), what)
            found = {name: file[name] for name in names}
    except (zipfile.BadZipFile, EOFError, SyntaxError, OverflowError, NotImplementedError) as error:
        raise ValueError(f"{what} is no sound .npz file: write it again with numpy.savez") from error
    for name, array in found.items():
        if array.dtype.kind not in "fiub" or array.ndim not in (1, 2):
            raise ValueError(
                f"{what}: {name} is {array.dtype} of shape {array.shape}; give numbers (time,) or (time, n)"
            )
    return {name: np.asarray(array, float).reshape(len(array), -1) for name, array in found.items()}


def _must_have(names: list[str], there: list[str], what: str) -> None:
    if absent := [name for name in names if name not in there]:
        raise ValueError(f"{what} has no {', '.join(absent)}: it has {', '.join(there) or 'nothing'}"[:400])
