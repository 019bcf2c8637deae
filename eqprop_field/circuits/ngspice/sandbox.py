"""A private place to run ngspice in, where nobody else's start-up files are read."""

import contextlib
import os
import pathlib
import signal
import subprocess
import tempfile
from collections.abc import Iterator

# Everything else is left out, SPICE_SCRIPTS and its kin above all: they name start-up files, which may hold `shell`.
_KEPT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH")


@contextlib.contextmanager
def private_folder() -> Iterator[pathlib.Path]:
    """An empty folder that is removed at the end, whatever happened."""
    with tempfile.TemporaryDirectory(prefix="eqprop-circuit-", ignore_cleanup_errors=True) as folder:
        yield pathlib.Path(folder)


def environment(folder: pathlib.Path) -> dict[str, str]:
    """The environment of a simulator that lives in `folder`."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    # One thread: small circuits are many times slower with OpenMP.
    private = {"HOME": str(folder), "TMPDIR": str(folder), "LC_ALL": "C", "OMP_NUM_THREADS": "1"}
    return kept | private


def kill(process: subprocess.Popen) -> None:
    """Ends a process that still runs, and all it started (it leads its own group), and waits for its end."""
    if process.poll() is None:  # only then is the group's number surely still its own
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.wait()
