"""The isolated engine: one ngspice process a run."""

import dataclasses
import hashlib
import os
import pathlib
import re
import subprocess
import threading
import time
from collections.abc import Callable

import numpy as np

from ..._files import write_atomically
from ..netlist import Netlist
from .base import AbstractEngine, SimulatorFailed, Waveforms, waveforms
from .find import find_executable, find_ngspice
from .rawfile import DamagedRawFile, parse_raw
from .sandbox import MEMORY_BYTES, Child, disk_is_full, environment, private_folder, read_log

_NOT_STARTED = (126, 127)  # what a shell ends with that cannot become a program
_LOOK_S = 0.25  # between two looks at how far a run is
_STALL_S = 600.0  # without any headway: behind a steep edge, steps of a large circuit are many and slow


@dataclasses.dataclass(frozen=True)
class Batch(AbstractEngine):
    """Runs `ngspice -n -b` in a private, empty folder with a private HOME and a bare environment.

    A run counts only if ngspice exits with 0 AND has newly written a raw file AND that file is complete by its size
    AND the transient reached its end: an exit code of 0 alone means nothing. ngspice leads its own process group,
    which is killed when the time is over, when simulated time stands still, when the user interrupts, or when this
    process ends, whatever ends it.

    Attributes:
        executable: the path of ngspice; the one on PATH by default.
        timeout_s: how long a run may take, seconds of wall clock.
        memory_bytes: how much memory (address space) a run may take, where the system can be told (Linux).
        watch: called now and then with the simulated time in seconds, for runs that take long.
        keep_raw: a folder in which the netlist of every run, ngspice's raw file and its log are kept, as `run_<the
            first digits of the netlist's SHA-256>` with the endings .cir, .raw and .log, failed runs included.

    Raises:
        ValueError: for a timeout or a memory that is not positive.
    """

    executable: str | os.PathLike[str] | None = None
    timeout_s: float = 600.0
    memory_bytes: int = MEMORY_BYTES
    watch: Callable[[float], None] | None = dataclasses.field(default=None, compare=False)
    keep_raw: str | os.PathLike[str] | None = None
    _running: set[Child] = dataclasses.field(default_factory=set, init=False, repr=False, compare=False)
    _lock: threading.Lock = dataclasses.field(default_factory=threading.Lock, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.timeout_s > 0:
            raise ValueError(f"timeout_s={self.timeout_s!r} must be positive, in seconds")
        if not self.memory_bytes > 0:
            raise ValueError(f"memory_bytes={self.memory_bytes!r} must be positive")

    @property
    def klu(self) -> bool:
        return find_ngspice(self.executable).klu

    def run(self, netlist: Netlist) -> Waveforms:
        return waveforms(netlist, *self.analyse(netlist.text))

    def analyse(self, text: str) -> tuple[dict[str, np.ndarray], str]:
        """The vectors of a netlist's one analysis, whichever it is, and what ngspice printed. Raises as `run` does."""
        executable = find_executable(self.executable)
        with private_folder() as folder:
            try:
                return self._vectors(executable, text, folder)
            except SimulatorFailed as failure:
                if not disk_is_full(folder):
                    raise
                raise SimulatorFailed(
                    f"the disk of {folder.parent} is full: free some space, or name another folder in the environment "
                    "variable TMPDIR",
                    failure.log,
                ) from failure
            finally:
                if self.keep_raw is not None:
                    _keep(folder, pathlib.Path(self.keep_raw), hashlib.sha256(text.encode()).hexdigest()[:8])

    def _vectors(self, executable: str, text: str, folder: pathlib.Path) -> tuple[dict[str, np.ndarray], str]:
        (folder / "net.cir").write_text(text, encoding="ascii")
        raw, log_path = folder / "out.raw", folder / "log"
        with open(log_path, "wb") as log_file:
            process = Child(
                [executable, "-n", "-b", "net.cir", "-r", "out.raw"],
                folder,
                memory_bytes=self.memory_bytes,
                cwd=folder,
                env=environment(folder),
                stdout=log_file,
                stderr=subprocess.STDOUT,
            )
            self._wait(process, log_path)
        log = read_log(log_path)
        if process.returncode in _NOT_STARTED:
            raise SimulatorFailed(f"{executable} could not be started: give an ngspice of this machine", log)
        if process.returncode != 0:
            raise SimulatorFailed(f"ngspice {_how_it_ended(process.returncode)}", log)
        if not raw.is_file():
            raise SimulatorFailed("ngspice ended without writing a result", log)
        try:
            return parse_raw(raw.read_bytes()), log
        except DamagedRawFile as error:
            raise SimulatorFailed(str(error), log) from error

    def interrupt(self) -> None:
        with self._lock:
            for process in self._running:
                process.kill_group()

    def _follow(self, process: Child, log_path: os.PathLike[str]) -> None:
        """Waits for the process, looking at how far it is.

        Raises:
            subprocess.TimeoutExpired: when its time is over.
            SimulatorFailed: when simulated time stands still.
        """
        began = moved = time.monotonic()
        reached = 0.0
        while True:
            left = began + self.timeout_s - time.monotonic()
            try:
                process.wait(max(0.0, min(_LOOK_S, left)))
                return
            except subprocess.TimeoutExpired:
                if left <= 0:
                    raise
            now = _simulated_s(log_path)
            if self.watch is not None:
                self.watch(now)
            if now > reached:
                reached, moved = now, time.monotonic()
            elif reached and time.monotonic() - moved > _STALL_S:
                raise SimulatorFailed(
                    f"ngspice stood still at {reached:.6g} s of simulated time and was ended; allow larger errors "
                    "(accuracy), or make what is simulated slower or smaller",
                    read_log(log_path),
                )

    def _wait(self, process: Child, log_path: os.PathLike[str]) -> None:
        with self._lock:
            self._running.add(process)
        try:
            self._follow(process, log_path)
        except subprocess.TimeoutExpired as error:
            raise SimulatorFailed(
                f"ngspice did not finish within {self.timeout_s:g} s and was ended; allow a longer timeout_s, "
                "a shorter schedule, or a looser accuracy",
                read_log(log_path),
            ) from error
        finally:
            with self._lock:
                self._running.discard(process)
            process.kill_group()


def _keep(folder: pathlib.Path, kept: pathlib.Path, digits: str) -> None:
    """Writes what a run used and left into a folder of the user's."""
    for name, ending in (("net.cir", "cir"), ("out.raw", "raw"), ("log", "log")):
        if (folder / name).is_file():
            write_atomically(kept / f"run_{digits}.{ending}", (folder / name).read_bytes())


def _simulated_s(path: os.PathLike[str]) -> float:
    """How far the transient has come, from what ngspice wrote about it last in its log; 0 if nothing."""
    with open(path, "rb") as file:
        file.seek(max(0, os.path.getsize(path) - 4096))
        marks = re.findall(rb"Reference value :\s+(\S+)\s", file.read())
    return float(marks[-1]) if marks else 0.0


def _how_it_ended(code: int) -> str:
    return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
