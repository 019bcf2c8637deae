"""What every engine gives: a netlist's waveforms, or the reason why there are none."""

import abc
import concurrent.futures
import dataclasses
import time
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from ..netlist import Netlist

_TAIL_LINES = 20


class SimulatorFailed(RuntimeError):
    """ngspice gave no usable result; the message says why, with the tail of its log.

    Attributes:
        log: what it printed; of a very long text the beginning and the end.
    """

    log: str

    def __init__(self, reason: str, log: str = "") -> None:
        if "Timestep too small" in log:
            reason += ": its time steps became too small, as where a state grows without bound or jumps"
        tail = "\n".join(log.strip().splitlines()[-_TAIL_LINES:])
        super().__init__(f"{reason}\nthe end of ngspice's log:\n{tail}" if tail else reason)
        self.log = log


class NgspiceMissing(RuntimeError):
    """There is no ngspice (or no libngspice) to run; the message says how to install it."""


@dataclasses.dataclass(frozen=True, eq=False)
class Waveforms:
    """The saved node voltages of a transient.

    Attributes:
        times_s: the simulator's own time points (time,), seconds, strictly increasing.
        volts: voltages of the netlist's state nodes (time, nodes), in their order.
        log: what the simulator printed.
        watts: the power that the supplies deliver (time,); None for a netlist without any.
    """

    times_s: Float[np.ndarray, " time"]
    volts: Float[np.ndarray, "time nodes"]
    log: str
    watts: Float[np.ndarray, " time"] | None = None


class AbstractEngine(abc.ABC):
    """Something that runs netlists. `run` may be called from several threads at once."""

    @abc.abstractmethod
    def run(self, netlist: Netlist) -> Waveforms:
        """Runs one transient to its end.

        Raises:
            SimulatorFailed: if the simulator crashed, hung beyond the time limit, or left no complete result.
            NgspiceMissing: if there is nothing to run.
        """

    @abc.abstractmethod
    def interrupt(self) -> None:
        """Ends every run that is under way, at once; those `run` calls raise `SimulatorFailed`."""

    @property
    @abc.abstractmethod
    def klu(self) -> bool:
        """Whether this ngspice has the KLU solver."""

    def close(self) -> None:
        """Ends what it holds between runs, as leaving its `with` does; nothing unless it says so."""
        return

    def __enter__(self) -> "AbstractEngine":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def waveforms(netlist: Netlist, vectors: dict[str, np.ndarray], log: str) -> Waveforms:
    """Named vectors as the waveforms of the netlist's states, if they are complete.

    Raises:
        SimulatorFailed: for a missing node, NaN, times that run back, or a transient that ended early.
    """
    nodes = [f"v({node})" for node in netlist.state_nodes]
    currents = {f"i({source})": volts for source, volts in netlist.supplies.items()}
    names = ("time", *nodes, *currents)
    missing = [name for name in names if name not in vectors]
    if missing:
        raise SimulatorFailed(f"ngspice's result has no {missing[0]} ({len(missing)} vectors are missing)", log)
    times = np.asarray(vectors["time"], np.float64)
    volts = np.stack([np.asarray(vectors[name], np.float64) for name in nodes], axis=1)
    # A source's current runs from plus to minus THROUGH it: what it delivers counts as negative.
    watts = -sum((v * np.asarray(vectors[name], np.float64) for name, v in currents.items()), np.zeros(len(times)))
    if len(times) < 2 or not (np.isfinite(times).all() and np.isfinite(volts).all() and np.isfinite(watts).all()):
        raise SimulatorFailed("ngspice's result is empty or holds NaN or infinity", log)
    if abs(times[-1] - netlist.end_s) > 1e-9 * netlist.end_s:
        raise SimulatorFailed(f"the transient stopped at {times[-1]:g} s instead of {netlist.end_s:g} s", log)
    fresh = np.concatenate([[True], np.diff(times) > 0])
    if np.any(np.diff(times) < 0):
        raise SimulatorFailed("the time points of ngspice's result run backwards", log)
    return Waveforms(times[fresh], volts[fresh], log, watts[fresh] if currents else None)


def run_all(
    engine: AbstractEngine,
    netlists: Sequence[Netlist],
    workers: int,
    progress: Callable[[int, int], None] | None = None,
) -> list[Waveforms | SimulatorFailed]:
    """Runs netlists side by side; a failure takes the place of its waveforms and does not end the others.

    Args:
        engine: what runs them.
        netlists: what to run.
        workers: how many at once.
        progress: called with the runs done and their number.

    Raises:
        NgspiceMissing: if there is nothing to run.
    """

    def single(netlist: Netlist) -> Waveforms | SimulatorFailed:
        try:
            return engine.run(netlist)
        except SimulatorFailed as failure:
            return failure

    with concurrent.futures.ThreadPoolExecutor(max(1, min(workers, len(netlists)))) as pool:
        futures = [pool.submit(single, netlist) for netlist in netlists]
        try:
            for done, _ in enumerate(concurrent.futures.as_completed(futures), 1):
                if progress is not None:
                    progress(done, len(futures))
            return [future.result() for future in futures]
        except BaseException:
            # The interrupt of the user arrives here only, while the threads wait for their simulators.
            pool.shutdown(wait=False, cancel_futures=True)
            while not all(future.done() for future in futures):
                engine.interrupt()
                time.sleep(0.05)
            raise
