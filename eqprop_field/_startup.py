"""What the commands settle before JAX is imported, so that less is waited for. Imports no JAX."""

import contextlib
import gc
import os
import platform
import sys
import warnings
from pathlib import Path

_VARIABLE = "EQPROP_FIELD_CACHE"
_MOST_BYTES = 128 * 2**20


def configure() -> None:
    """Has JAX keep what it compiles in the user's cache folder, so that a command is waited for once.

    All of it is said by variables of the environment, which processes that are started here inherit. What the user has
    set wins: JAX_COMPILATION_CACHE_DIR, another folder; EQPROP_FIELD_CACHE=off, none. Nothing changes where JAX is
    loaded already, and nothing is kept where nothing can be written.
    """
    if "jax" in sys.modules:
        return
    # Imports and tracing make many objects that live long: a seventh of a short command was the look for garbage.
    gc.set_threshold(100_000, 20, 20)
    # An error that is raised while a program runs is a call back to Python, and such a program is not kept. As NaN it
    # ends as a verdict, and diffrax, which checks its times so, compiles in half the time.
    os.environ.setdefault("EQX_ON_ERROR", "nan")
    if os.environ.get(_VARIABLE) == "off" or "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    try:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        # One for each machine that shares the folder: another one may lack instructions that it uses.
        folder = base / "eqprop-field" / f"compiled-{platform.node()}"
        folder.mkdir(parents=True, exist_ok=True)
        _bound(folder)
    except (OSError, RuntimeError):  # RuntimeError: the user has no home
        return
    if not os.access(folder, os.W_OK):
        return
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    # What another process is writing, or was killed while it wrote, is compiled again.
    warnings.filterwarnings("ignore", message="Error (reading|writing) persistent compilation cache")


def _bound(folder: Path) -> None:
    """Where more is kept than may be, the oldest goes until half is left.

    JAX bounds its cache, too (jax_compilation_cache_max_size), but looks at every file for every one that it adds.
    """
    files = [(entry.stat(), entry.path) for entry in os.scandir(folder)]
    kept = sum(stat.st_size for stat, _ in files)
    if kept <= _MOST_BYTES:
        return
    for stat, path in sorted(files, key=lambda file: file[0].st_mtime):
        if kept <= _MOST_BYTES // 2:
            break
        with contextlib.suppress(OSError):  # another command may have removed it
            os.remove(path)
        kept -= stat.st_size
