"""Where the files of a data set are found: a folder that is named, or those in which people have them."""

import os
from collections.abc import Sequence
from pathlib import Path

from .base import DataError

_VARIABLE = "EQPROP_FIELD_DATA"
_SYSTEM = Path("/usr/share/datasets")  # of Debian's packages


def data_folder(
    name: str, data_dir: str | os.PathLike | None, places: Sequence[str], files: Sequence[str], source: str
) -> Path:
    """The folder that holds a data set.

    Args:
        name: of the data set.
        data_dir: where to look; by default in the folder that EQPROP_FIELD_DATA names and among Debian's data sets.
        places: the folders below it that are tried, before itself.
        files: any of these tells the folder.
        source: what to get, and where.

    Raises:
        DataError: if none holds such a file.
    """
    named = [Path(data_dir)] if data_dir is not None else [Path(p) for p in [os.environ.get(_VARIABLE)] if p]
    roots = named if data_dir is not None else [*named, _SYSTEM]
    for folder in (root / place for root in roots for place in (name, *places, ".")):
        if any((folder / file).is_file() for file in files):
            return folder
    if named:
        tried = ", ".join((name, *places))
        raise DataError(f"{named[0]} holds no {files[0]}, nor does a folder {tried} in it; get {source}")
    raise DataError(
        f"no folder for {name}: get {source} and name their folder with data_dir (--data-dir), or put "
        f"them into a folder {name} below ${_VARIABLE}"
    )
