"""`eqprop-field simulate`: the free and the nudged phase of a network."""

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from .arguments import NetworkFile, NudgeOptions
from .command import AbstractCommand, Outcome, Refused

if TYPE_CHECKING:
    import numpy as np

    from ..learning import Estimate
    from ..substrates import Nudging
    from ..vector_fields import AbstractVectorField


@dataclasses.dataclass(frozen=True, kw_only=True)
class Simulate(AbstractCommand):
    """Runs the free and the nudged phase, and computes the change of the parameters they imply.

    Writes phases.npz, phases.png (where there are trajectories) and summary.json.

    Example: eqprop-field simulate net.safetensors --input x.npy --target y.npy --beta 0.1 --out run
    """

    net: NetworkFile
    """The network file."""
    input: Path
    """x.npy: firing rates of the input neurons, (batch, inputs)."""
    target: Path
    """y.npy: target states of the output neurons, (batch, outputs)."""
    nudge: NudgeOptions = dataclasses.field(default_factory=NudgeOptions)
    substrate: Literal["trajectory", "equilibrium", "circuit"] = "trajectory"
    """Where it settles: an ODE solver, a fixed-point solver, or ngspice."""
    tol: float = 1e-8
    """Residual |mu| at which a phase is settled; below 1e-6 everything is computed in float64."""
    max_time: float = 1000.0
    """Longest time a phase may take, in time constants (trajectory)."""
    points: int = 400
    """Saved points of every trajectory (trajectory, circuit)."""
    out: Path = tyro.MISSING
    """The folder for the results."""

    def run(self) -> Outcome:
        self.choose_precision(self.tol)
        if not 0 < self.max_time < math.inf:
            raise Refused(f"--max-time {self.max_time:g}: give the phases a finite time above 0")
        if self.points < 2:
            raise Refused(f"--points {self.points}: keep at least 2 points of every trajectory")

        from .. import plotting
        from ..storage import save_phases
        from . import two_phases
        from .files import folder_for, write_summary
        from .inputs import read_network, read_samples

        nudging = self.nudge.build()  # refuses a beta without meaning before any work
        field = read_network(self.net)
        x, y = read_samples(field, self.input, self.target)
        folder = folder_for(self.out)
        estimate = self._settle(field, x, y, nudging)
        save_phases(folder / "phases.npz", field, estimate.free, estimate.nudged[0], estimate)
        files = ["phases.npz", "summary.json"]
        if estimate.free.trajectory is not None:
            plotting.save(two_phases.picture(field, estimate, y, self.nudge.beta)[0].figure, folder / "phases.png")
            files.append("phases.png")
        said = two_phases.facts(estimate)
        summary = {**said, "substrate": self.substrate, **dataclasses.asdict(self.nudge), "tol": self.tol}
        summary |= {"dtype": str(field.dtype), "out": str(folder), "files": files}
        write_summary(folder, summary)
        return Outcome(summary, self._lines(summary), two_phases.failure(said, estimate))

    def _settle(self, field: "AbstractVectorField", x: "np.ndarray", y: "np.ndarray", nudging: "Nudging") -> "Estimate":
        from ..learning import EqProp
        from . import two_phases

        if self.substrate == "trajectory":
            return two_phases.integrate(field, x, y, nudging, self.tol, self.max_time, self.points)
        if self.substrate == "equilibrium":
            from ..substrates import Equilibrium

            substrate = Equilibrium(tol=self.tol, check_stability=field.n_neurons <= 500)
        else:
            from ..circuits import TIGHT, Behavioural, NgspiceSubstrate

            substrate = NgspiceSubstrate(
                level=Behavioural(accuracy=TIGHT), tol=self.tol, keep_trajectories=True, saved_points=self.points
            )
        return EqProp(nudging=nudging, substrate=substrate).estimate(field, x, y, throw=False)

    def _lines(self, said: dict) -> list[str]:
        def phase(name: str) -> str:
            time, counts = said[f"time_{name}"], said[f"verdict_{name}"]
            took = "" if time is None else f" after {time:.1f} τ"
            verdicts = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
            residual = said[f"residual_{name}"]
            rest = "not finite" if residual is None else f"{residual:.1e}"
            return f"{name + ' phase':<13}{verdicts}{took}; residual at most {rest}"

        lines = [phase("free"), phase("nudged")]
        if said["path_difference"] is not None:
            lines.append(f"update       trajectory and end-point form differ by {100 * said['path_difference']:.2g} %")
        return [*lines, f"written to   {said['out']}: {', '.join(said['files'])}"]
