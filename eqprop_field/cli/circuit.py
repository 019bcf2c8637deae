"""`eqprop-field circuit`: runs a network in ngspice and compares it with the ODE."""

import dataclasses
import os
from typing import Annotated, Any, Literal

from .arguments import ChosenTimes, OptionalFile, Phases
from .command import AbstractExperiment, Outcome, Refused
from .level import LevelOptions
from .numbers import Tolerance, Workers, at_least


@dataclasses.dataclass(frozen=True, kw_only=True)
class Circuit(Phases, AbstractExperiment):
    """Runs the free and the nudged phases of every sample in ngspice, and compares them with the ODE.

    Writes phases.npz (as measured in ngspice), agreement.json, agreement.csv (one row a sample), agreement.png,
    summary.json, ngspice.log, and the netlist with its map (net.cir; net_1.cir and so on for further samples).

    With another --level the states differ by what its devices do, and the verdict asks whether the circuit still
    learns: whether its update has the cosine to the ODE's that the level promises. Several levels, processes, corners
    or temperatures give a table with a verdict a row, agreements.csv, and all of this for each in a folder of its own.

    Example: eqprop-field circuit net.safetensors --input x.npy --target y.npy --beta 0.1 --level opamp --out circuit
    """

    engine: Literal["batch", "shared"] = "batch"
    """What runs ngspice: a process of its own for every sample, or libngspice through PySpice; same results."""
    tol: Tolerance = 1e-6
    """Residual up to which a phase of the circuit counts as settled; everything is computed in float64."""
    points: Annotated[int, at_least(2)] = 400
    """Saved points of every trajectory."""
    waveforms: bool = False
    """Write waveforms_0.csv and so on too: every sample in volts at all of ngspice's own time points."""
    time: ChosenTimes = ()
    """Duration of the free phase and of a nudged one, in time constants."""
    keep_raw: OptionalFile = None
    """A folder for each run's netlist, and ngspice's raw file and log of it; with --engine batch."""
    workers: Workers = None
    """How many simulators run at once."""
    circuit: LevelOptions = dataclasses.field(default_factory=LevelOptions)

    def run(self) -> Outcome:
        self.choose_precision(self.tol)
        self.choose_precision(1e-8)  # the comparison is about the last digits
        from .._progress import bar
        from ..circuits import Batch, Shared, verify, verify_each
        from .inputs import read
        from .level import durations, only

        levels = self.circuit.each()
        way: Any = verify if len(levels) == 1 else verify_each
        how: dict[str, Any] = {"level": only(levels)} if len(levels) == 1 else {"levels": levels}
        field, x, y, cost = read(self)
        folder = self.folder()
        if (shared := self.engine == "shared") and self.keep_raw is not None:
            raise Refused("--keep-raw is for --engine batch: libngspice keeps no files")
        engine = Shared(workers=self.workers or os.cpu_count() or 1) if shared else Batch(keep_raw=self.keep_raw)
        how |= {"tol": self.tol, "points": self.points, "waveforms": self.waveforms, "workers": self.workers}
        how |= {"cost": cost, "fold_inputs": not self.circuit.explicit_inputs, **durations(self.time)}
        with bar("running ngspice") as progress, engine:
            agreement = way(field, x, y, self.nudge.build(), engine=engine, progress=progress, **how)
        options = {"samples": len(x), "cost": self.cost, **dataclasses.asdict(self.nudge), "level": self.circuit.level}
        return Outcome.saved(agreement, folder, **options)
