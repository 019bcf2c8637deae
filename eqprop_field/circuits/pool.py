"""Many runs of one task on the cores of this machine: a process and a pipe for every worker."""

import abc
import collections
import contextlib
import os
import pathlib
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterable, Mapping
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import Any

from ..extensions import imported_files
from .ngspice.sandbox import Child, private_folder

_READY = "ready", None
_START_S = 300.0  # until a worker has imported what it needs, on a busy machine
_MERCY_S = 5.0  # from the request to end until the kill

Row = Mapping[str, float | int | str]


class AbstractTask(abc.ABC):
    """Something that is done many times, each time with another number. It travels to workers by pickle."""

    @abc.abstractmethod
    def __len__(self) -> int:
        """How many runs there are."""

    @abc.abstractmethod
    def __call__(self, index: int) -> Row:
        """One run: the same row for the same index, whoever does it and whatever was done before."""

    @abc.abstractmethod
    def describe(self) -> dict[str, Any]:
        """What the results depend on, as JSON: a file goes on only with a task whose description is the same."""


class WorkerDied(RuntimeError):
    """A run whose workers die one after another."""


class TaskFailed(RuntimeError):
    """A run raised an error; the message is the worker's."""


def work_through(
    task: AbstractTask, indices: Iterable[int], *, workers: int, attempts: int = 3, timeout_s: float = 3600.0
) -> Generator[tuple[int, Row], None, None]:
    """Does the runs side by side, and gives every row as it comes.

    A worker that dies costs its own run and no other: the run is done again by another worker. Workers end with the
    iterator, however that ends.

    Args:
        task: what is done.
        indices: which runs.
        workers: how many at once.
        attempts: how often a run may take its worker with it.
        timeout_s: how long a run may take, seconds of wall clock, before its worker is ended.

    Raises:
        WorkerDied: for a run that has used up its attempts.
        TaskFailed: for a run that raised an error.
    """
    waiting = collections.deque(indices)
    deaths: collections.Counter[int] = collections.Counter()
    busy: dict[Connection, _Worker] = {}
    idle: list[_Worker] = []
    pickled = pickle.dumps(imported_files()) + pickle.dumps(task)
    try:
        while waiting or busy:
            while waiting and len(busy) < workers:
                worker = idle.pop() if idle else _Worker(pickled)
                busy[worker.connection] = worker
                worker.begin(waiting.popleft())
            ready = set(wait(list(busy), timeout=1.0))
            for connection, worker in list(busy.items()):
                late = time.monotonic() - worker.begun > timeout_s
                if connection not in ready and not late:
                    continue
                answer = worker.answer() if connection in ready else None
                if answer == _READY:  # only now does its first run begin
                    worker.begun, worker.ready = time.monotonic(), True
                    continue
                del busy[connection]
                if answer is None:
                    worker.end()
                    deaths[worker.index] += 1
                    if deaths[worker.index] == attempts:
                        raise WorkerDied(
                            f"run {worker.index} ended {attempts} workers, the last one "
                            f"{'after ' + format(timeout_s, 'g') + ' s' if late else 'by its death'}"
                        )
                    waiting.appendleft(worker.index)
                    continue
                idle.append(worker)
                index, (kind, content) = worker.index, answer
                if kind == "failed":
                    raise TaskFailed(f"run {index}: {content}")
                yield index, content
    finally:
        for worker in (*busy.values(), *idle):
            worker.ask_to_end()
        for worker in (*busy.values(), *idle):
            worker.end()


class _Worker:
    """One process, its folder for temporary files, and the connection to it."""

    index: int
    begun: float

    def __init__(self, task: bytes) -> None:
        self.ready = False
        self._place = contextlib.ExitStack()
        self.folder = self._place.enter_context(private_folder("campaign"))
        (self.folder / "task").write_bytes(task)  # a pipe would hold us up until the worker has imported JAX
        self.connection, theirs = Pipe()
        with theirs:
            self.process = Child(
                # -P: the current folder is no place to import from, unless this process does so too.
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "eqprop_field.circuits.pool_worker",
                    str(theirs.fileno()),
                    str(self.folder),
                ],
                self.folder,
                env=_environment(self.folder),
                pass_fds=[theirs.fileno()],
            )

    def begin(self, index: int) -> None:
        self.index, self.begun = index, time.monotonic() + (0.0 if self.ready else _START_S)
        with contextlib.suppress(OSError):  # one that has died is noticed when it answers
            self.connection.send(index)

    def answer(self) -> tuple[str, Any] | None:
        """What it says; None if it has died."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            return None

    def ask_to_end(self) -> None:
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGTERM)

    def end(self) -> None:
        """Ends it, first by asking, so that it ends its simulator; removes what it leaves."""
        self.ask_to_end()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(_MERCY_S)
        self.process.kill_group()
        self.connection.close()
        self._place.close()


def _environment(folder: pathlib.Path) -> dict[str, str]:
    """One thread a worker, on the processor, with what this process can import."""
    one_thread = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false".strip()
    changed = {
        "TMPDIR": str(folder),
        "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path)),
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": one_thread,
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    return {**os.environ, **changed}
