"""A circuit in the loop of training: every phase of every sample runs in ngspice, and only the update is computed."""

import math
import os

from .levels import LEVELS, Accuracy
from .ngspice import find_ngspice
from .substrate import NgspiceSubstrate

_RELTOL, _MAX_STEP = 1e-3, 0.5  # phases are judged by where they end, not by their way there


def training_substrate(
    level: str = "behavioural",
    *,
    batch_size: int,
    tol: float = 1e-3,
    times: tuple[float, float] = (40.0, 30.0),
    workers: int | None = None,
) -> NgspiceSubstrate:
    """The substrate that trains fastest on a circuit: a batch shared out among the simulators, each with its samples in
    one transient.

    Args:
        level: what the circuit is built of, one of `LEVELS`.
        batch_size: samples a training step.
        tol: residual at which a phase counts as settled, state units.
        times: durations of a free and of a nudged phase, in time constants.
        workers: how many simulators run at once; one a core by default.

    Raises:
        ValueError: for an unknown level, or numbers without meaning.
        NgspiceMissing: if there is no ngspice.
    """
    if level not in LEVELS:
        raise ValueError(f"unknown level {level!r}: choose among {', '.join(LEVELS)}")
    if not all(0 < time < math.inf for time in times):
        raise ValueError(f"times={times}: give two positive numbers of time constants")
    workers = (os.cpu_count() or 1) if workers is None else workers
    if workers < 1:
        raise ValueError(f"workers={workers}: give at least 1")
    find_ngspice()
    return NgspiceSubstrate(
        level=LEVELS[level](accuracy=Accuracy(_RELTOL, _MAX_STEP)),  # pyright: ignore[reportCallIssue]  every level is a dataclass that has it
        free_time=times[0],
        nudged_time=times[1],
        tol=tol,
        workers=workers,
        samples_per_run=math.ceil(batch_size / workers),
    )
