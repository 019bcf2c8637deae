"""Two ways to the same result, timed in turns: the machine's moods meet both."""

import dataclasses
import math
import os
import platform
import time
from collections.abc import Callable

import jax
import numpy as np

_REST = 0.3  # seconds; thread pools go on spinning for up to a tenth of one
_WARM, _LEAST = 0.2, 0.1  # seconds of warming up and of a turn, for what is shorter: as in a loop over batches


@dataclasses.dataclass(frozen=True)
class Ratio:
    """One line of a benchmark.

    Attributes:
        name: what was compared with what.
        ratio: the median over the turns, or the one measured value; NaN if it was skipped.
        low: the lowest turn; high: the highest.
        goal: what it should be, or None where there is no goal.
        at_least: whether the goal is a lower bound.
        unit: of the ratio: "x" for a ratio of times, "s" for seconds, "MiB".
        milliseconds: of ours, the median.
        skipped: why it was not measured.
    """

    name: str
    ratio: float
    low: float
    high: float
    goal: float | None = None
    at_least: bool = True
    unit: str = "x"
    milliseconds: float = math.nan
    skipped: str | None = None

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None where there is none, or nothing was measured."""
        if self.goal is None or self.skipped is not None:
            return None
        return self.ratio >= self.goal if self.at_least else self.ratio <= self.goal

    @classmethod
    def single(cls, name: str, value: float, unit: str, goal: float | None = None) -> "Ratio":
        """One measured value in a unit of its own, which should be at most the goal."""
        return cls(name, value, value, value, goal, at_least=False, unit=unit)

    @classmethod
    def left_out(cls, name: str, why: str) -> "Ratio":
        """A line that could not be measured, and why."""
        return cls(name, math.nan, math.nan, math.nan, skipped=why)


def paired(
    name: str,
    numerator: Callable[[], object],
    denominator: Callable[[], object],
    *,
    turns: int,
    goal: float | None = None,
    at_least: bool = True,
    ours: Callable[[], object] | None = None,
) -> Ratio:
    """The time of one over that of the other, taken in turns.

    A rest goes before each, in which the other's threads stop spinning. What takes less than a tenth of a second then
    runs for 0.2 s that do not count, until its threads have found their cores, and for a tenth whose mean is taken.

    Args:
        name: what is compared.
        numerator: the one; it blocks until it is done.
        denominator: the other.
        turns: that count; one more goes before them, in which both compile.
        goal: what the ratio should be; at_least: whether that is a lower bound.
        ours: whose milliseconds to report; the denominator's by default.
    """
    seconds: dict[Callable[[], object], list[float]] = {numerator: [], denominator: []}
    for turn in range(turns + 1):
        for run, taken in seconds.items():
            time.sleep(_REST)
            once = _timed(run, 1)
            if once < _LEAST:
                once = _timed(run, math.ceil(_WARM / once))
                once = _timed(run, math.ceil(_LEAST / once))
            if turn:
                taken.append(once)
    ratios = np.divide(seconds[numerator], seconds[denominator])
    return Ratio(
        name,
        float(np.median(ratios)),
        float(ratios.min()),
        float(ratios.max()),
        goal,
        at_least,
        milliseconds=1e3 * float(np.median(seconds[ours or denominator])),
    )


def _timed(run: Callable[[], object], times: int) -> float:
    """Seconds a run."""
    began = time.perf_counter()
    for _ in range(times):
        run()
    return (time.perf_counter() - began) / times


def machine() -> dict[str, object]:
    """What the figures were taken on."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "device": jax.devices()[0].device_kind,
        "jax": jax.__version__,
        "python": platform.python_version(),
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
