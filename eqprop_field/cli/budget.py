"""`eqprop-field budget`: what keeps an update from the gradient, and how much each cause counts."""

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from .arguments import Architecture, Betas, OptionalFile, OptionalNetworkFile, OptionalStep
from .command import AbstractCommand, Outcome, Refused

if TYPE_CHECKING:
    from ..analysis import ErrorBudget
    from ..substrates import Trajectory


@dataclasses.dataclass(frozen=True, kw_only=True)
class Budget(AbstractCommand):
    """Divides the error of an update among solver tolerance, unfinished settling, finite beta and asymmetry.

    The practical update is made by phases of a given length on the ODE, and compared with the gradient as one
    imperfection is removed after the other. Everything is computed in float64. Writes budget.csv, budget.png and
    summary.json.

    Example: eqprop-field budget --sizes 20,15,10,5 --activation tanh --betas 0.01,0.03,0.1,0.3 --time 10 --out budget
    """

    net: OptionalNetworkFile = None
    """A network file; without one, a network is drawn."""
    network: Architecture = dataclasses.field(default_factory=Architecture)
    symmetry: float = 0.0
    """Weight symmetry c of a network that is drawn."""
    input: OptionalFile = None
    """x.npy, as for `simulate`; without it, samples are random."""
    target: OptionalFile = None
    """y.npy, as for `simulate`."""
    samples: int = 20
    """Random samples."""
    rule: str = "eqprop"
    """The learning rule."""
    betas: Betas = (0.01, 0.03, 0.1, 0.3)
    """Influence parameters, joined by commas."""
    time: float = 20.0
    """Length of every phase, in time constants."""
    step: OptionalStep = None
    """Euler steps of this length, as in equation 77 of the paper (default: an adaptive solver)."""
    tol: float = 1e-6
    """Residual |mu| at which a phase ends early."""
    out: Path = tyro.MISSING
    """The folder for the results."""

    def run(self) -> Outcome:
        self.choose_precision(min(self.tol, 1e-8))
        for option, value in (("--time", self.time), ("--step", self.step)):
            if value is not None and not 0 < value < math.inf:
                raise Refused(f"{option} {value:g}: give a time above 0")

        from .. import plotting
        from ..analysis import error_budget
        from . import inputs
        from .files import folder_for, write_summary, write_table
        from .rules import on_phases

        make = on_phases(self.rule)
        field = inputs.network(self.net, self.network, self.seed, self.symmetry)
        x, y = inputs.samples_or_random(field, self.input, self.target, self.seed, self.samples)
        folder = folder_for(self.out)
        found = error_budget(make, field, x, y, betas=self.betas, substrate=self._substrate())
        write_table(folder / "budget.csv", found.rows())
        axes = plotting.error_budget(found.betas, found.contributions, found.error, found.whole, found.along)
        plotting.save(axes[0].figure, folder / "budget.png")
        summary = {"rule": self.rule, **summarise(found), "time": self.time, "step": self.step, "tol": self.tol}
        summary |= {"out": str(folder), "files": ["budget.csv", "budget.png", "summary.json"]}
        write_summary(folder, summary)
        return Outcome(summary, [*table(found), f"written to {folder}: {', '.join(summary['files'])}"])

    def _substrate(self) -> "Trajectory":
        from ..substrates import ProjectedEuler, Trajectory

        phases = Trajectory(tol=self.tol, free_time=self.time, nudged_time=self.time)
        return phases if self.step is None else dataclasses.replace(phases, solver=ProjectedEuler(), step=self.step)


def summarise(found: "ErrorBudget") -> dict[str, Any]:
    """The budget of every beta, as JSON."""
    columns = zip(found.betas, found.whole, found.error, found.along, found.cosine, found.used, strict=True)
    return {
        "samples": found.samples,
        "budgets": [
            {
                "beta": float(beta),
                "error": float(whole),
                "contributions": dict(zip(found.contributions, error.tolist(), strict=True)),
                "shares": dict(zip(found.contributions, along.tolist(), strict=True)),
                "cosine": float(cosine[0]),
                "samples_used": int(used),
            }
            for beta, whole, error, along, cosine, used in columns
        ],
    }


def table(found: "ErrorBudget") -> list[str]:
    """One line a beta: errors relative to the gradient's length."""
    lines = [f"{'beta':>8}  {'error':>8}  " + "  ".join(f"{name:>19}" for name in found.contributions) + "    cosine"]
    for b, beta in enumerate(found.betas.tolist()):
        causes = "  ".join(f"{error:>19.2e}" for error in found.error[b])
        left = "" if found.used[b] == found.samples else f"   {found.samples - int(found.used[b])} samples left out"
        lines.append(f"{beta:>8g}  {found.whole[b]:>8.2e}  {causes}  {found.cosine[b, 0]:>8.4f}{left}")
    return lines
