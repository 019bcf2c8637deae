"""`eqprop-field export`: a network and one sample as a netlist that any ngspice runs."""

import dataclasses
import shlex
from pathlib import Path

import tyro

from .arguments import ChosenTimes, Phases
from .command import AbstractCommand, Outcome, Refused, place_for
from .level import LevelOptions, durations
from .numbers import Tolerance


@dataclasses.dataclass(frozen=True, kw_only=True)
class Export(Phases, AbstractCommand):
    """Writes a netlist of the free and the nudged phases of a sample, and a map from its nodes to neurons beside it.

    Run it with: ngspice -n -b net.cir -r out.raw; or in a browser, see --html.

    Example: eqprop-field export net.safetensors --input x.npy --target y.npy --beta 0.1 --out net.cir
    """

    sample: int = 0
    """Which row of the input."""
    sequence: int = 1
    """How many rows, from --sample on, are clamped one after another in the one transient."""
    tol: Tolerance = 1e-8
    """Residual that the phases are given the time to reach; below 1e-6 everything is computed in float64."""
    time: ChosenTimes = ()
    """Duration of the free phase and of a nudged one, in time constants."""
    circuit: LevelOptions = dataclasses.field(default_factory=LevelOptions)
    html: Path | None = None
    """A page to write too, in which the netlist runs: ngspice inside, sliders, both phases. Ends in .html."""
    out: Path = tyro.MISSING
    """The netlist to write, ending in .cir."""

    def run(self) -> Outcome:
        self.choose_precision(self.tol)
        from ..circuits import export
        from .inputs import read

        level = dataclasses.replace(self.circuit, accuracy=self.circuit.accuracy or "normal").build()
        field, x, y, cost = read(self)
        if not 0 <= self.sample < len(x):
            raise Refused(f"--sample {self.sample}: the input has samples 0 to {len(x) - 1}")
        if not 1 <= self.sequence <= len(x) - self.sample:
            raise Refused(f"--sequence {self.sequence}: there are {len(x) - self.sample} samples from --sample on")
        place = place_for(self.out, ".cir")
        page = None if self.html is None else place_for(self.html, ".html", "--html")
        rows = slice(self.sample, self.sample + self.sequence)
        netlist = export(
            field,
            x[rows],
            y[rows],
            self.nudge.beta,
            place,
            level=level,
            nudging=self.nudge.nudging,
            cost=cost,
            **durations(self.time),
            tol=self.tol,
            fold_inputs=not self.circuit.explicit_inputs,
            html=page,
        )
        beside = place.with_suffix(".map.json")
        chosen = f"sample {self.sample} of {len(x)}; another one with --sample" if len(x) > 1 else "the one sample"
        summary = {"netlist": str(place), "map": str(beside), "sample": self.sample, "sequence": self.sequence}
        summary |= {"samples": len(x), "cost": self.cost, **dataclasses.asdict(self.nudge), "level": self.circuit.level}
        summary |= {"neurons": field.n_neurons, "end_s": netlist.end_s}
        run_it = f"run it: ngspice -n -b {shlex.quote(str(place))} -r {shlex.quote(str(place.with_suffix('.raw')))}"
        said = [f"{place}: {field.n_neurons} neurons, {chosen}", f"{beside}: what its nodes mean", run_it]
        if page is not None:
            summary |= {"page": str(page)}
            said.append(f"{page}: the netlist, running in any browser, without a network")
        return Outcome(summary, said)
