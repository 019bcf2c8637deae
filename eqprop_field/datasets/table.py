"""One's own data in a file: a table with a column of classes or of targets, or two arrays."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._files import must_be_file
from .base import Dataset
from .series import is_number, numbers, read_arrays, read_cells


def read_dataset(path: str | os.PathLike, labels: str | Sequence[str] = (), **options: Any) -> Dataset:
    """A data set from a file.

    Args:
        path: a `.csv` file whose first line names its columns; or a `.npz` file of the arrays `x` and `y`, as
            `Dataset.of` takes them.
        labels: the column of the classes, words or whole numbers; or those of the targets, numbers of which one at
            least has a decimal point. The last column by default. All other columns are inputs.
        options: of `Dataset.of`.

    Raises:
        ValueError: for a file that holds no such data, and as `Dataset.of`.
        OSError: for one that cannot be read.
    """
    what, suffix = os.fspath(path), os.path.splitext(path)[1]
    must_be_file(path, what)
    options = {"name": os.path.basename(what)} | options
    if suffix == ".npz" and not labels:
        arrays = read_arrays(path, what, ["x", "y"])
        return Dataset.of(arrays["x"], arrays["y"], **options)
    if suffix != ".csv":
        raise ValueError(f"{what}: give a .csv file with a line of names, or a .npz file with the arrays x and y")
    cells = read_cells(path, what)
    labels = [labels] if isinstance(labels, str) else list(labels) or list(cells)[-1:]
    if len(set(labels)) < len(labels):
        raise ValueError(f"{what}: the label {', '.join(labels)} is given twice: name each column once")
    if absent := [name for name in labels if name not in cells]:
        raise ValueError(f"{what} has no {', '.join(absent)}: it has {', '.join(cells) or 'nothing'}"[:400])
    inputs = [numbers(column, f"{what}, column {name}") for name, column in cells.items() if name not in labels]
    for name, column in zip((name for name in cells if name not in labels), inputs, strict=True):
        if empty := np.flatnonzero(np.isnan(column)).tolist():
            raise ValueError(f"{what}, column {name}, row {empty[0] + 1} is empty or NaN: fill it, or leave it out")
    if not inputs or not len(inputs[0]):
        raise ValueError(f"{what} has no rows, or no columns but {', '.join(labels)}: an input is needed")
    return Dataset.of(np.stack(inputs, axis=1), _targets(cells, labels, what), **options)


def _targets(cells: dict[str, list[str]], labels: Sequence[str], what: str) -> np.ndarray:
    """Numbers, or the names of classes."""
    columns = [cells[name] for name in labels]
    for name, column in zip(labels, columns, strict=True):
        if "" in column:
            raise ValueError(f"{what}, column {name}, row {column.index('') + 1} is empty: give a class or a target")
    if len(columns) == 1 and not _is_measured(columns[0]):
        if (classes := len(set(columns[0]))) > max(2, len(columns[0]) // 2):
            raise ValueError(
                f"{what}: the column {labels[0]} has {classes} classes in {len(columns[0])} rows; name another one, or "
                "write numbers that are no classes with a decimal point"
            )
        return np.array(columns[0])
    named = [numbers(column, f"{what}, column {name}") for name, column in zip(labels, columns, strict=True)]
    return np.stack(named, axis=1)


def _is_measured(column: Sequence[str]) -> bool:
    """Whether these are numbers, not all of them whole as they are written."""
    return all(map(is_number, column)) and not all(cell.lstrip("+-").isdigit() for cell in column)
