"""`eqprop-field good-parameters`: the share of random networks that are fit to learn."""

import dataclasses
from pathlib import Path

import numpy as np
import tyro

from .arguments import Architecture, Gains, NudgeOptions, OptionalNetworkFile, Sweep
from .command import AbstractCommand, Outcome, Refused


@dataclasses.dataclass(frozen=True, kw_only=True)
class MapGoodParameters(AbstractCommand):
    """Maps the share of random networks that are good, over the gain and the symmetry of their weights.

    Good parameters, of section 5.3 of Scellier et al. 2018: every start converges, and the update descends,
    nu . dJ/dtheta < 0. Phases run on the ODE; where a network does not converge, limit cycles are looked for. Inputs
    and targets are random, uniform in [0, 1]. Everything is computed in float64. Writes good_parameters.csv,
    good_parameters.png and summary.json.

    Example: eqprop-field good-parameters --graph 50 --inputs 10 --outputs 10 --activation tanh --out good
    """

    net: OptionalNetworkFile = None
    """A network file to take sizes and activation from."""
    network: Architecture = dataclasses.field(default_factory=Architecture)
    gains: Gains = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0)
    """Scales of the weights relative to Glorot's."""
    symmetry: Sweep = tuple(round(-1.0 + 0.25 * k, 12) for k in range(9))
    """Weight symmetries c."""
    seeds: int = 10
    """Random networks for each gain and symmetry."""
    samples: int = 3
    """Samples for each network."""
    starts: int = 3
    """Starts for each sample, rest included."""
    rule: str = "eqprop"
    """The learning rule."""
    nudge: NudgeOptions = dataclasses.field(default_factory=lambda: NudgeOptions(beta=0.01, nudging="symmetric"))
    time: float = 200.0
    """How long a phase may take, in time constants."""
    tol: float = 1e-5
    """Residual |mu| at which a phase is settled."""
    out: Path = tyro.MISSING
    """The folder for the results."""

    def run(self) -> Outcome:
        self.choose_precision(min(self.tol, 1e-8))
        for option, count in (("--seeds", self.seeds), ("--starts", self.starts)):
            if count < 1:
                raise Refused(f"{option} {count}: give at least 1")
        if not 0 < self.time < float("inf"):
            raise Refused(f"--time {self.time:g}: give a finite time above 0")

        import jax

        from .. import plotting
        from ..analysis import good_parameters
        from ..substrates import Trajectory
        from . import inputs
        from .files import folder_for, write_summary, write_table
        from .progress import bar
        from .rules import chosen

        substrate = Trajectory(tol=self.tol, free_time=self.time, nudged_time=self.time)
        (rule,) = chosen((self.rule,), self.nudge, substrate).values()
        template = inputs.network(self.net, self.network, self.seed)
        x, y = inputs.random_samples(template, self.seed, self.samples)
        folder = folder_for(self.out)
        keys = jax.random.split(jax.random.key(self.seed), self.seeds)
        map_of = {"gains": self.gains, "symmetries": self.symmetry, "keys": keys, "rule": rule}
        with bar("good parameters") as progress:
            found = good_parameters(template, x, y, **map_of, starts=self.starts, name_cycles=True, progress=progress)
        write_table(folder / "good_parameters.csv", found.rows())
        shares = {
            "Good": found.good,
            "Converging": found.converging,
            "Descending, of these": found.descending,
            "On a limit cycle": found.cycling,
        }
        plotting.save(
            plotting.good_parameters(found.gains, found.symmetries, shares)[0].figure, folder / "good_parameters.png"
        )
        summary = {"rule": self.rule, **dataclasses.asdict(self.nudge), "seeds": self.seeds, "samples": self.samples}
        summary |= {"starts": self.starts, "time": self.time, "tol": self.tol, "map": found.rows()}
        summary |= {"out": str(folder), "files": ["good_parameters.csv", "good_parameters.png", "summary.json"]}
        write_summary(folder, summary)
        return Outcome(
            summary,
            [
                "share of good parameters (%), by gain and weight symmetry",
                "    gain  " + "".join(f"{c:>7g}" for c in found.symmetries),
                *(_line(gain, row) for gain, row in zip(found.gains, found.good, strict=True)),
                f"written to {folder}: {', '.join(summary['files'])}",
            ],
        )


def _line(gain: float, shares: np.ndarray) -> str:
    return f"{gain:>8g}  " + "".join(f"{100 * share:>7.0f}" for share in shares)
