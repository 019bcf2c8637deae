"""Files of every kind, written whole or not at all: text, JSON, CSV and arrays; folders that one process writes to."""

import contextlib
import csv
import errno
import functools
import io
import json
import math
import os
import re
import secrets
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import jax
import numpy as np
from jaxtyping import ArrayLike

try:
    import fcntl
except ImportError:  # no POSIX system: there are no such locks
    fcntl = None

PathLike = str | os.PathLike
_TEMPORARY = re.compile(r"\.[0-9a-f]{12}\.tmp")


def must_be_file(path: PathLike, what: str) -> None:
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


def write_atomically(path: PathLike, content: bytes) -> None:
    """Writes a file whole or not at all: beside its place first, then moved there. Missing folders are made.

    Raises:
        OSError: with one sentence that names the file and says how to mend it, and the `errno` of the cause. The old
            file, if there was one, is as it was.
    """
    target = Path(os.path.realpath(path))  # a link keeps pointing at what it points at
    if target.exists() and not target.is_file():
        raise OSError(f"cannot write {path}: it is a folder or a device; give the name of a file")
    with _clear_errors(path):
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target.parent)
        temporary, file = _new_temporary(target.parent)
        try:
            with file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                os.replace(temporary, target)  # before the file is closed, and its lock gone
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def locked_folder(path: PathLike, otherwise: bool = True) -> Iterator[None]:
    """A folder for this process alone, made where it is missing.

    The lock ends with the process, whatever ends it, and leaves no file. Where the file system knows no locks, there is
    none, and `otherwise` says whether that is good enough.

    Raises:
        ValueError: where another run has the folder.
        OSError: with one sentence, where it cannot be made.
    """
    with _clear_errors(path):
        Path(path).mkdir(parents=True, exist_ok=True)
        folder = os.open(path, os.O_RDONLY)
    try:
        if not _locked(folder, otherwise):
            raise ValueError(f"another run is writing to {path}: wait for its end, or name another folder")
        yield
    finally:
        os.close(folder)


@contextlib.contextmanager
def locked_file(path: PathLike) -> Iterator[None]:
    """A file for this process alone, whether it is there or not: until the end, `.NAME.lock` lies beside it.

    The lock ends with the process, whatever ends it; what a killed one leaves is taken over. Where the file system
    knows no locks, there is none. A folder that is made for it and stays empty goes again. Errors as for
    `locked_folder`.
    """
    target = Path(os.path.realpath(path))
    place = target.with_name(f".{target.name}.lock")
    is_new = not target.parent.exists()
    with _clear_errors(path):
        target.parent.mkdir(parents=True, exist_ok=True)
        while True:
            file = place.open("ab")
            if not _locked(file.fileno()):
                file.close()
                raise ValueError(f"another run is writing to {path}: wait for its end, or name another file")
            if os.fstat(file.fileno()).st_nlink:
                break
            file.close()  # its owner has removed it meanwhile
    with file:
        try:
            yield
        finally:
            place.unlink(missing_ok=True)
            if is_new:
                with contextlib.suppress(OSError):  # it holds something
                    target.parent.rmdir()


def _locked(descriptor: int, otherwise: bool = True) -> bool:
    """Whether a file or folder is this process's alone from now on; `otherwise` where there are no locks."""
    try:
        if fcntl is None:
            return otherwise
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return otherwise
    return True


def _new_temporary(folder: Path) -> tuple[Path, BinaryIO]:
    """A file of a new name, locked while it is written: it can be told from what a killed process left."""
    while True:
        path = folder / f".{secrets.token_hex(6)}.tmp"
        file = path.open("xb")
        if _locked(file.fileno()) and os.fstat(file.fileno()).st_nlink:
            return path, file
        file.close()  # swept before it was locked


@functools.cache  # once a process and folder
def _sweep(folder: Path) -> None:
    """Removes what killed processes left half written."""
    for name in filter(_TEMPORARY.fullmatch, os.listdir(folder)):
        with contextlib.suppress(OSError), (folder / name).open("rb") as file:
            if _locked(file.fileno(), otherwise=False):
                (folder / name).unlink()


@contextlib.contextmanager
def _clear_errors(path: PathLike) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        clear = OSError(f"cannot write {path}: {error.strerror or error}; {_mend(error)}")
        clear.errno = error.errno
        raise clear from error


def _mend(error: OSError) -> str:
    advice = {
        errno.ENOSPC: "free some space on the disk",
        errno.EDQUOT: "free some space within your quota",
        errno.EFBIG: "raise the limit on file sizes (ulimit -f)",
        errno.EROFS: "choose a folder that is not on a read-only disk",
        errno.ENAMETOOLONG: "give a shorter name",
    }
    return advice.get(error.errno or 0, "choose a folder that you may write to")


def write_text(path: PathLike, text: str) -> None:
    """Writes text in UTF-8, whole or not at all. Errors as for `write_atomically`."""
    write_atomically(path, text.encode("utf-8"))


def json_text(value: Any) -> str:
    """JSON as every file and every `--json` of this project has it: arrays as lists, NaN and infinity as null.

    Raises:
        TypeError: for something that JSON has no form for.
    """
    return json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: PathLike, value: Any) -> None:
    """Writes `json_text(value)`, whole or not at all. Errors as for `write_atomically`."""
    write_text(path, json_text(value))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, (np.ndarray, np.generic, jax.Array)):
        return _plain(np.asarray(value).tolist())
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def csv_text(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as CSV, as every table of this project has it.

    The columns are those of the first row, then what later rows add, in the order in which they appear. A missing
    entry, None and NaN are empty.
    """
    rows = [dict(row) for row in rows]
    text = io.StringIO()
    table = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    table.writeheader()
    table.writerows({name: _cell(entry) for name, entry in row.items()} for row in rows)
    return text.getvalue()


def _cell(entry: Any) -> Any:
    plain = _plain(entry)
    return "" if plain is None else plain


def write_csv(path: PathLike, rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes `csv_text(rows)`, whole or not at all. Errors as for `write_atomically`."""
    write_text(path, csv_text(rows))


def write_npz(path: PathLike, /, **arrays: ArrayLike) -> None:
    """Writes named arrays as an npz file that numpy reads without pickle, whole or not at all.

    Equal arrays give equal bytes: the file holds no date.

    Raises:
        ValueError: for an array of Python objects.
        OSError: as for `write_atomically`.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            plain = np.asarray(array)
            if plain.dtype.hasobject:
                raise ValueError(f"array {name!r} holds Python objects; write numbers or text of a fixed width")
            # Not numpy.savez: it claims the name `file` and stamps the time.
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, plain, allow_pickle=False)
    write_atomically(path, buffer.getvalue())
