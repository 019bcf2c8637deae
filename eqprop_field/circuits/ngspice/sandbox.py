"""A private place for ngspice, where nobody else's start-up files are read, and which does not outlive this process."""

import contextlib
import functools
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from ..._files import locked_folder

MEMORY_BYTES = 4 << 30  # that a simulator may take
# Everything else is left out, SPICE_SCRIPTS and its kin above all: they name start-up files, which may hold `shell`.
_KEPT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH")
_LOG_BYTES = 1 << 16  # of the head of a log, and of its tail
_PREFIX = "eqprop-"
_STALE_S = 60.0  # younger folders may not be locked yet
# Waits for the number of its parent's child, and for another line. Where the pipe ends without one, the parent has
# ended, whatever ended it.
_GUARD = """
read -r child || { rm -rf -- "$1"; exit; }
test "$child" || exit
read -r _ && exit
kill -s KILL -- "-$child"
rm -rf -- "$1" || { sleep 1; rm -rf -- "$1"; }"""
# Becomes the command once its guard knows its number; ends where its parent ends before.
_CHILD = """read -r _ && exec "$@" </dev/null"""
_guards: dict[str, subprocess.Popen[bytes]] = {}  # by the folder


@contextlib.contextmanager
def private_folder(kind: str = "circuit") -> Iterator[pathlib.Path]:
    """An empty folder that is removed at the end, whatever happened; those of processes that are no more go first.

    A second, tiny process sees to that: it watches a pipe that nobody but this process holds.

    Raises:
        OSError: with one sentence, where it cannot be made.
    """
    folder = pathlib.Path(tempfile.gettempdir(), f"{_PREFIX}{kind}-{uuid.uuid4().hex[:12]}")
    guard = subprocess.Popen(
        ["/bin/sh", "-c", _GUARD, "guard", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    _guards[str(folder)] = guard
    try:
        _make(folder)
        with locked_folder(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        del _guards[str(folder)]
        guard.communicate(b"\n")


def _make(folder: pathlib.Path) -> None:
    try:
        _sweep(str(folder.parent))
        folder.mkdir(0o700)
    except OSError as error:
        raise OSError(
            f"there is no room for temporary files ({error.strerror}): free some space, or name another folder in the "
            "environment variable TMPDIR"
        ) from error


def _tell(process: subprocess.Popen[bytes], line: object) -> None:
    """A last line for a process, or its first; one that has ended need not hear it."""
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        process.stdin.write(f"{line}\n".encode())
        process.stdin.flush()


@functools.cache  # once a process
def _sweep(place: str) -> None:
    """Removes what was left when even the guard was killed, as when a machine goes down: folders that nobody locks."""
    for folder in pathlib.Path(place).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError, ValueError):
            if folder.stat().st_uid == os.getuid() and time.time() - folder.stat().st_mtime > _STALE_S:
                with locked_folder(folder, otherwise=False):
                    shutil.rmtree(folder)


def environment(folder: pathlib.Path) -> dict[str, str]:
    """The environment of a simulator that lives in `folder`."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    # One thread: small circuits are many times slower with OpenMP.
    private = {"HOME": str(folder), "TMPDIR": str(folder), "LC_ALL": "C", "OMP_NUM_THREADS": "1"}
    return kept | private


class Child(subprocess.Popen):
    """A process that leads a group of its own, in a private folder. The group does not outlive this process, whatever
    ends that: the folder's guard kills it.

    Linux would send a signal by itself (PR_SET_PDEATHSIG), but at the end of the thread that started the child, and
    nobody else does.
    """

    def __init__(
        self, command: Sequence[str], folder: pathlib.Path, *, memory_bytes: int | None = None, **options: Any
    ) -> None:
        """Starts it.

        Args:
            command: what is run.
            folder: a `private_folder`, which has no other child.
            memory_bytes: how much address space it may take, where the system can be told (Linux).
            options: of `subprocess.Popen`.
        """
        waiting = ["/bin/sh", "-c", _CHILD, "child", *command]
        super().__init__(waiting, stdin=subprocess.PIPE, start_new_session=True, **options)
        _tell(_guards[str(folder)], self.pid)
        if memory_bytes is not None and sys.platform == "linux":
            import resource

            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(self.pid, resource.RLIMIT_AS, (memory_bytes, memory_bytes))
        _tell(self, "go")
        assert self.stdin is not None
        self.stdin.close()

    def kill_group(self) -> None:
        """Ends the process where it still runs, and all it started, and waits for its end."""
        if self.poll() is None:  # only then is the group's number surely still its own
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            self.kill()
            self.wait()


def read_log(path: str | os.PathLike[str]) -> str:
    """What a process printed into a file; of a very long text the beginning and the end."""
    with open(path, "rb") as file:
        head = file.read(_LOG_BYTES)
        size = os.fstat(file.fileno()).st_size
        file.seek(max(len(head), size - _LOG_BYTES))
        left_out = file.tell() - len(head)
        gap = f"\n... {left_out} bytes left out ...\n".encode() if left_out else b""
        return (head + gap + file.read(_LOG_BYTES)).decode("utf-8", "replace")


def disk_is_full(folder: pathlib.Path) -> bool:
    """Whether the disk that a folder is on has no room left."""
    return shutil.disk_usage(folder).free < _LOG_BYTES
