"""The places that results go to."""

import os
from pathlib import Path

from .command import Refused


def folder_for(path: Path) -> Path:
    """The folder for results, as far as can be known before the work; it is made when the first file is written.

    Raises:
        Refused: where a file is in the way, or the place is not writable.
    """
    if path.exists() and not path.is_dir():
        raise Refused(f"--out {path} is a file: name a folder")
    _must_be_writable(path)
    return path


def place_for(path: Path, suffix: str) -> Path:
    """The path of a single result file, as far as can be known before the work.

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
