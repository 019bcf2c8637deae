"""`eqprop-field stability`: where a network goes from many starts."""

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from .arguments import Architecture, OptionalFile, OptionalNetworkFile
from .command import AbstractCommand, Outcome, Refused

if TYPE_CHECKING:
    from ..analysis import Stability


@dataclasses.dataclass(frozen=True, kw_only=True)
class FindStability(AbstractCommand):
    """Integrates the free phase from rest and from random states, and names what becomes of each start.

    A start ends in an equilibrium, with the spectral abscissa of the Jacobian there; on a limit cycle, with its period;
    without a period that was found; or it diverges. Several equilibria of a sample are told apart. Writes
    stability.csv, stability.png and summary.json. The map over many networks is `good-parameters`.

    Example: eqprop-field stability --graph 50 --inputs 10 --outputs 10 --activation tanh --gain 4 --out stability
    """

    net: OptionalNetworkFile = None
    """A network file; without one, a network is drawn."""
    network: Architecture = dataclasses.field(default_factory=Architecture)
    symmetry: float = 0.0
    """Weight symmetry c of a network that is drawn."""
    input: OptionalFile = None
    """x.npy, as for `simulate`; without it, inputs are random."""
    samples: int = 6
    """Random inputs."""
    starts: int = 20
    """Starts for every sample, rest included."""
    time: float = 200.0
    """How long a start may take to settle, in time constants; half as long again it is watched for a cycle."""
    tol: float = 1e-6
    """Residual |mu| at which a state is at rest."""
    out: Path = tyro.MISSING
    """The folder for the results."""

    def run(self) -> Outcome:
        self.choose_precision(min(self.tol, 1e-8))
        if self.starts < 1:
            raise Refused(f"--starts {self.starts}: give at least 1, rest")
        if not 0 < self.time < math.inf:
            raise Refused(f"--time {self.time:g}: give a finite time above 0")

        import jax

        from .. import plotting
        from ..analysis import AttractorType, stability
        from . import inputs
        from .files import folder_for, write_summary, write_table

        field = inputs.network(self.net, self.network, self.seed, self.symmetry)
        x = inputs.inputs_or_random(field, self.input, self.seed, self.samples)
        folder = folder_for(self.out)
        key = jax.random.fold_in(jax.random.key(self.seed), 2)
        found = stability(
            field, x, key=key, starts=self.starts, tol=self.tol, settling_time=self.time, watching_time=self.time / 2
        )
        write_table(folder / "stability.csv", found.rows())
        attractors = {
            attractor.name.replace("_", " "): (found.attractor == attractor).sum(axis=1) for attractor in AttractorType
        }
        axes = plotting.stability(found.eigenvalues, attractors, found.equilibria, found.period)
        plotting.save(axes[0].figure, folder / "stability.png")
        summary = {**found.summary(), "tol": self.tol, "time": self.time}
        summary |= {"out": str(folder), "files": ["stability.csv", "stability.png", "summary.json"]}
        write_summary(folder, summary)
        return Outcome(summary, [*lines(found), f"written to         {folder}: {', '.join(summary['files'])}"])


def lines(found: "Stability") -> list[str]:
    """What people read of it."""
    said = found.summary()
    attractors = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in said["attractors"].items())
    told = [
        f"{said['samples']} samples, {said['starts']} starts each: {attractors}",
        f"one equilibrium    for {said['unique']} of {said['samples']} samples; at most {said['most_equilibria']}",
    ]
    if said["largest_abscissa"] is not None:
        told.append(f"spectral abscissa  at most {said['largest_abscissa']:.4f}")
    if said["periods"] is not None:
        told.append("limit cycles       with periods from {:.2f} to {:.2f} time constants".format(*said["periods"]))
    return told
