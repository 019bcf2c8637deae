"""A circuit in the loop of training: every phase of every sample runs in ngspice, and only the update is computed."""

import dataclasses
import math
import os

from .levels import AbstractLevel, Accuracy, Behavioural
from .ngspice import find_ngspice
from .substrate import NgspiceSubstrate

_RELTOL, _MAX_STEP = 1e-3, 0.5  # phases are judged by where they end, not by their way there


def training_substrate(
    level: AbstractLevel | None = None,
    *,
    batch_size: int,
    tol: float = 1e-3,
    times: tuple[float, float] = (40.0, 30.0),
    workers: int | None = None,
    fold_inputs: bool = True,
) -> NgspiceSubstrate:
    """The substrate that trains fastest on a circuit: a batch shared out among the simulators, each with its samples in
    one transient.

    Args:
        level: how the circuit is built; `Behavioural()` by default. Its accuracy is replaced by what is enough.
        batch_size: samples a training step.
        tol: residual at which a phase counts as settled, state units.
        times: durations of a free and of a nudged phase, in time constants.
        workers: how many simulators run at once; one a core by default.
        fold_inputs: whether inputs become one current a neuron, see `compile_circuit`.

    Raises:
        ValueError: for numbers without meaning.
        NgspiceMissing: if there is no ngspice.
    """
    if not all(0 < time < math.inf for time in times):
        raise ValueError(f"times={times}: give two positive numbers of time constants")
    workers = (os.cpu_count() or 1) if workers is None else workers
    if workers < 1:
        raise ValueError(f"workers={workers}: give at least 1")
    find_ngspice()
    return NgspiceSubstrate(
        level=dataclasses.replace(level or Behavioural(), accuracy=Accuracy(_RELTOL, _MAX_STEP)),
        free_time=times[0],
        nudged_time=times[1],
        tol=tol,
        workers=workers,
        fold_inputs=fold_inputs,
        samples_per_run=math.ceil(batch_size / workers),
    )
