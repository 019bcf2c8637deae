"""The fast engine: libngspice through PySpice, in worker processes."""

import contextlib
import os
import pathlib
import queue
import subprocess
import sys
import threading
import weakref
from multiprocessing import Pipe
from typing import Any

from ..netlist import Netlist
from .base import AbstractEngine, NgspiceMissing, SimulatorFailed, Waveforms, waveforms
from .find import find_library, find_ngspice, find_pyspice
from .sandbox import MEMORY_BYTES, Child, environment, private_folder, read_log

_START_S = 60.0


class Shared(AbstractEngine):
    """Runs netlists in libngspice through PySpice's `NgSpiceShared`: same results as `Batch`, no start-up a run.

    One library a worker PROCESS (it has global state and does not bear threads), each in a private folder with a
    private HOME and a bare environment. A worker is replaced after a failure, a crash or a time-out, and after
    `recycle_after` runs, since the library keeps about a kilobyte of every run. PySpice's subprocess mode does not work
    with current ngspice; `Batch` is its place here.

    Every netlist is loaded anew. Changing the loaded one (`alter`) would save a sixth of a run where only sources
    differ and nothing where weights do, and results would depend, in the last digit, on what ran before.

    Use as a context manager, or call `close`; workers end with the interpreter at the latest.

    Attributes:
        library: the path of libngspice; found by itself by default.
        workers: how many processes.
        timeout_s: how long a run may take, seconds of wall clock.
        recycle_after: runs of a worker before it is replaced.

    Raises:
        NgspiceMissing: if PySpice or libngspice is not installed.
        ValueError: for numbers that are not positive.
    """

    def __init__(
        self,
        library: str | os.PathLike[str] | None = None,
        *,
        workers: int = 1,
        timeout_s: float = 600.0,
        recycle_after: int = 10_000,
    ) -> None:
        if workers < 1 or recycle_after < 1 or not timeout_s > 0:
            raise ValueError(f"{workers=}, {timeout_s=} and {recycle_after=} must be positive")
        find_pyspice()
        self.library = find_library(library)
        self.workers = workers
        self.timeout_s = timeout_s
        self.recycle_after = recycle_after
        self._alive: set[_Worker] = set()
        self._lock = threading.Lock()
        self._idle: queue.LifoQueue[_Worker | None] = queue.LifoQueue()
        for _ in range(workers):
            self._idle.put(None)
        self._end = weakref.finalize(self, _stop_all, self._alive)

    def __enter__(self) -> "Shared":
        return self

    @property
    def klu(self) -> bool:
        """Whether the executable of the same installation has KLU (the library does not say)."""
        try:
            return find_ngspice().klu
        except NgspiceMissing:
            return False

    def run(self, netlist: Netlist) -> Waveforms:
        worker = self._idle.get()
        try:
            if worker is None:
                worker = _Worker(self.library)
                with self._lock:
                    self._alive.add(worker)
            kind, content, log = worker.ask(netlist.text, self.timeout_s)
            if kind != "done":
                raise SimulatorFailed(content, log)
            if worker.runs >= self.recycle_after:
                worker = self._retire(worker)
            return waveforms(netlist, content, log)
        except BaseException:
            worker = self._retire(worker)
            raise
        finally:
            self._idle.put(worker)

    def interrupt(self) -> None:
        with self._lock:
            for worker in self._alive:
                worker.process.kill_group()

    def close(self) -> None:
        """Ends all workers. The engine can be used again; it starts new ones."""
        with self._lock:
            _stop_all(self._alive)

    def _retire(self, worker: "_Worker | None") -> None:
        if worker is not None:
            worker.stop()
            with self._lock:
                self._alive.discard(worker)


class _Worker:
    """One process, its folder, and the connection to it."""

    def __init__(self, library: str) -> None:
        self.runs = 0
        self._place = contextlib.ExitStack()
        self.folder = self._place.enter_context(private_folder())
        self.connection, theirs = Pipe()
        with theirs, open(self.folder / "log", "wb") as log:
            script = str(pathlib.Path(__file__).with_name("worker.py"))
            self.process = Child(
                # -P: the script's own folder is no place to import from.
                [sys.executable, "-P", script, str(theirs.fileno()), library],
                self.folder,
                memory_bytes=MEMORY_BYTES,
                cwd=self.folder,
                env=environment(self.folder),
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs.fileno()],
            )
        try:
            self._receive(_START_S, "start")
        except BaseException:
            self.stop()
            raise

    def ask(self, text: str, timeout_s: float) -> tuple[str, Any, str]:
        self.runs += 1
        try:
            self.connection.send(text)
        except OSError as error:
            raise SimulatorFailed("the worker with libngspice has died", self._log()) from error
        return self._receive(timeout_s, "finish")

    def stop(self) -> None:
        self.process.kill_group()
        self.connection.close()
        self._place.close()

    def _receive(self, timeout_s: float, what: str) -> Any:
        try:
            if not self.connection.poll(timeout_s):
                raise SimulatorFailed(f"libngspice did not {what} within {timeout_s:g} s and was ended", self._log())
            return self.connection.recv()
        except (EOFError, OSError) as error:
            code = self.process.wait()
            raise SimulatorFailed(f"the worker with libngspice died (exit code {code})", self._log()) from error

    def _log(self) -> str:
        with contextlib.suppress(OSError):
            return read_log(self.folder / "log")
        return ""


def _stop_all(workers: set[_Worker]) -> None:
    for worker in list(workers):
        worker.stop()
    workers.clear()
