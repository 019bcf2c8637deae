"""Where ngspice is, and what it can do."""

import ctypes.util
import dataclasses
import functools
import os
import pathlib
import re
import shutil
import subprocess

from .base import NgspiceMissing

_INSTALL = "install it with `sudo apt install ngspice{deb}` (Debian, Ubuntu) or `brew install {brew}` (macOS)"
_LIBRARY_FOLDERS = ("/opt/homebrew/lib", "/usr/local/lib", "/home/linuxbrew/.linuxbrew/lib")


@dataclasses.dataclass(frozen=True)
class Ngspice:
    """An ngspice executable.

    Attributes:
        path: where it is.
        version: as it says itself, such as 39 or "45.2"; "unknown" if it does not say.
        klu: whether it was built with the KLU solver.
    """

    path: str
    version: str
    klu: bool


def find_executable(path: str | os.PathLike[str] | None = None) -> str:
    """The absolute path of the ngspice executable: the given one, or the first on PATH.

    Raises:
        NgspiceMissing: if there is none, saying how to install it.
    """
    found = shutil.which(os.fspath(path) if path is not None else "ngspice")
    if found is None:
        where = f"at {os.fspath(path)}" if path is not None else "on PATH"
        raise NgspiceMissing(f"no ngspice {where}: {_INSTALL.format(deb='', brew='ngspice')}, or give its path")
    return os.path.abspath(found)


@functools.cache
def _describe(path: str, _modified: float) -> Ngspice:
    try:
        output = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NgspiceMissing(f"{path} does not run as ngspice ({type(error).__name__}); give another path") from error
    if "ngspice" not in output.lower():
        raise NgspiceMissing(f"{path} is no ngspice: it does not call itself so when asked for its version")
    version = re.search(r"ngspice-(\S+)", output)
    return Ngspice(path, version.group(1) if version else "unknown", "KLU" in output)


def find_ngspice(path: str | os.PathLike[str] | None = None) -> Ngspice:
    """The ngspice executable, its version, and whether it has KLU (asked once for each executable).

    Raises:
        NgspiceMissing: if there is none or it does not run.
    """
    found = find_executable(path)
    return _describe(found, os.path.getmtime(found))


def find_library(path: str | os.PathLike[str] | None = None) -> str:
    """The shared library libngspice: the given one, NGSPICE_LIBRARY_PATH, or where the system keeps it.

    Found without the development package too (libngspice.so.0).

    Raises:
        NgspiceMissing: if there is none, saying how to install it.
    """
    asked = path if path is not None else os.environ.get("NGSPICE_LIBRARY_PATH")
    if asked:
        if os.path.isfile(asked):
            return os.path.abspath(asked)
        raise NgspiceMissing(f"no libngspice at {os.fspath(asked)}; give the path of the library file")
    found = ctypes.util.find_library("ngspice")
    if found:
        return found
    for folder in map(pathlib.Path, _LIBRARY_FOLDERS):
        for name in ("libngspice.dylib", "libngspice.0.dylib", "libngspice.so", "libngspice.so.0"):
            if (folder / name).is_file():
                return str(folder / name)
    raise NgspiceMissing(f"no libngspice: {_INSTALL.format(deb=' libngspice0', brew='libngspice')}, or give its path")


def find_pyspice() -> str:
    """PySpice's version.

    Raises:
        NgspiceMissing: if it is not installed.
    """
    from importlib import metadata

    try:
        return metadata.version("PySpice")
    except metadata.PackageNotFoundError as error:
        raise NgspiceMissing("PySpice is not installed: install it with `pip install PySpice`") from error
