"""Series in files: the columns of a CSV file by their names, or the arrays of an npz file."""

import contextlib
import csv
import io
import os
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from jaxtyping import Float

from .._files import must_be_file

_MOST_DEFLATED = 1032  # bytes that one of a zip archive can stand for


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


def read_numbers(lines: Iterable[str], what: str) -> Float[np.ndarray, "rows columns"]:
    """CSV text that is numbers throughout, NaN where a cell is empty; a first line of names is skipped.

    Args:
        lines: the text.
        what: the first words of messages.

    Raises:
        ValueError: for text that is no such table.
    """
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(lines) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{what} is no CSV file in UTF-8: {error}") from error
    if rows and _are_names(rows[0]):
        rows = rows[1:]
    if not rows:
        raise ValueError(f"{what} holds no rows of numbers: write one row per sample, with commas between numbers")
    for number, row in enumerate(rows, 1):
        if len(row) != len(rows[0]):
            raise ValueError(
                f"{what}, row {number} has {len(row)} cells and the first row {len(rows[0])}: write decimal points, "
                "and one cell a column"
            )
    columns = enumerate(zip(*rows, strict=True), 1)
    return np.stack([numbers(cells, f"{what}, column {number}") for number, cells in columns], axis=1)


def _are_names(row: Sequence[str]) -> bool:
    """Whether these cells can only be names: all different, and none of them a number."""
    return any(row) and len(set(row)) == len(row) and not any(map(is_number, row))


def is_number(cell: str) -> bool:
    """Whether a cell is a number as it is written."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


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
            if header and all(map(is_number, header)):
                raise ValueError(f"{what} begins with numbers: its first line names the columns")
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


def read_arrays(path: str | os.PathLike, what: str, names: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """Arrays of a `.npz` file by their names, or its first one; arguments and errors as for `read_cells`."""
    with open(path, "rb") as file:
        with _soundness(what):
            archive = zipfile.ZipFile(file)
            found = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
        names = list(names) or list(found)[:1]
        _must_have(names or ["array"], list(found), what)
        with _soundness(what):
            return {name: _array(archive, found[name]) for name in names}


@contextlib.contextmanager
def _soundness(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # headers are Python literals, and errors of every kind come of a damaged one
        raise ValueError(f"{what} is no sound .npz file: write it again with numpy.savez") from error


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> np.ndarray:
    """One array of an archive, made of bytes that are there: a header that promises more allocates nothing."""
    if entry.file_size > _MOST_DEFLATED * max(entry.compress_size, 1):
        raise ValueError(f"{entry.file_size} bytes cannot come of {entry.compress_size}")
    stream = io.BytesIO(archive.read(entry))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Python literals in the header
        version = np.lib.format.read_magic(stream)
        read_header = np.lib.format.read_array_header_1_0 if version < (2, 0) else np.lib.format.read_array_header_2_0
        shape, by_columns, dtype = read_header(stream)
    array = np.frombuffer(stream.read(), dtype)
    return array.reshape(shape[::-1]).T if by_columns else array.reshape(shape)


def _must_have(names: Sequence[str], there: list[str], what: str) -> None:
    if absent := [name for name in names if name not in there]:
        raise ValueError(f"{what} has no {', '.join(absent)}: it has {', '.join(there) or 'nothing'}"[:400])
