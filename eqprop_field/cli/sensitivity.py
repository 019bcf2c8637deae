"""`eqprop-field sensitivity`: which devices of a circuit move its cost, and the gradient of the circuit itself."""

import dataclasses
import os
from typing import Any

from .arguments import ChosenTimes, Phases
from .command import AbstractExperiment, Outcome
from .level import LevelOptions
from .numbers import Tolerance, Workers


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sensitivity(Phases, AbstractExperiment):
    """Ranks a circuit's devices by how much each moves the cost, as ngspice's own sensitivities have it.

    A transistor counts by its threshold and the factor of its current, other elements by their values. Writes
    devices.csv (the largest value times derivative first), devices.png, gradient.npz (the circuit's own dJ/dtheta) and
    sensitivity.json, with the gradient's cosines to the circuit's update and to the ODE's gradient.

    Example: eqprop-field sensitivity net.safetensors --input x.npy --target y.npy --level transistor --out devices
    """

    tol: Tolerance = 1e-4
    """Residual up to which a phase of the circuit counts as settled."""
    time: ChosenTimes = ()
    """Duration of the free phase and of a nudged one, in time constants."""
    workers: Workers = None
    """How many simulators run at once."""
    circuit: LevelOptions = dataclasses.field(default_factory=LevelOptions)

    def run(self) -> Outcome:
        self.choose_precision(1e-8)
        from .._progress import bar
        from ..circuits import NgspiceSubstrate, rank_devices
        from .inputs import read
        from .level import durations

        level, (field, x, y, cost), folder = self.circuit.build(), read(self), self.folder()
        workers, folded = self.workers or os.cpu_count() or 1, not self.circuit.explicit_inputs
        times: dict[str, Any] = durations(self.time)
        substrate = NgspiceSubstrate(level=level, tol=self.tol, workers=workers, fold_inputs=folded, **times)
        with bar("running ngspice") as shown:
            result = rank_devices(field, x, y, self.nudge.build(), substrate=substrate, cost=cost, progress=shown)
        return Outcome.saved(result, folder, level=level.name)
