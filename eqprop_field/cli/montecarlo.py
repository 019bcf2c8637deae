"""`eqprop-field montecarlo`: many chips of one network."""

import dataclasses
from typing import Any

from .campaigns import MEASURES, AbstractCampaign, failure
from .command import Outcome, Refused


@dataclasses.dataclass(frozen=True, kw_only=True)
class MonteCarlo(AbstractCampaign):
    """Draws chips, runs their free and nudged phases in ngspice, and shows how good their updates are.

    A chip's devices differ from the nominal ones by --mismatch, its neurons and nudges have --offsets, its weights
    --weight-bits. Each row of the results has the cosine of its update with what equilibrium propagation gives on the
    nominal network (eqprop), with the gradient of the chip itself (own) and of the nominal network (nominal), the
    settling times, and the supplies' energy where the level has supplies. Writes montecarlo.h5 while results come in,
    montecarlo.csv, montecarlo.png and summary.json.

    Example: eqprop-field montecarlo net.safetensors --chips 100 --out montecarlo
    """

    chips: int = 100
    """How many."""
    mismatch: float = 0.05
    """Relative spread of every capacitance, leak, synapse, bias, gain and nudge."""
    offsets: float = 0.02
    """Standard deviation of the offsets of neurons and nudges, state units."""
    weight_bits: int = 0
    """Weights are programmed with so many bits and a sign; 0 for any value."""
    noise: float = 0.0
    """Noise in every neuron's drive, rms in state units."""
    passing: float = 0.95
    """A chip passes if its update has at least this cosine with that of ideal equilibrium propagation."""

    def run(self) -> Outcome:
        self.choose_precision(1e-8)
        if self.chips < 1:
            raise Refused(f"--chips {self.chips}: give at least 1")

        import numpy as np

        from .. import plotting
        from ..circuits import Cell, Variation
        from .files import write_summary

        variation = Variation.everywhere(self.mismatch, self.offsets, self.weight_bits)
        conditions = self.conditions(variation=variation, noise=self.noise)
        cells = [Cell("mismatch", self.mismatch, chip, conditions) for chip in range(self.chips)]
        folder, rows = self.work("montecarlo", cells)
        columns = {name: np.array([row[name] for row in rows], float) for name in MEASURES}
        titles = {
            "cosine of the update with ideal EqProp's": columns["eqprop"],
            "cosine with the chip's own gradient": columns["own"],
            "settling time of the free phase (τ)": columns["settling_free"],
            "energy of an update (pJ)": 1e12 * columns["joules_update"],
        }
        drawn = {title: values for title, values in titles.items() if np.isfinite(values).any()}
        files = ["montecarlo.h5", "montecarlo.csv", "summary.json"]
        if drawn:
            plotting.save(plotting.histograms(drawn)[0].figure, folder / "montecarlo.png")
            files.insert(2, "montecarlo.png")
        summary: dict[str, Any] = {
            "chips": self.chips,
            "level": self.circuit.level,
            **{name: getattr(self, name) for name in ("mismatch", "offsets", "weight_bits", "noise", "time")},
            **dataclasses.asdict(self.nudge),
            "measures": {name: _spread(values) for name, values in columns.items() if name != "failed"},
            "passed": float(np.mean(columns["eqprop"] >= self.passing)),
            "failed_samples": int(columns["failed"].sum()),
            "out": str(folder),
            "files": files,
        }
        write_summary(folder, summary)
        return Outcome(summary, [*_table(summary), f"written to {folder}: {', '.join(files)}"], failure(rows))


def _spread(values: Any) -> dict[str, float | None]:
    """Of the chips for which the measure exists."""
    import numpy as np

    there = values[np.isfinite(values)]
    if not len(there):
        return dict.fromkeys(("mean", "std", "min", "p5", "median", "p95", "max"))
    low, middle, high = np.percentile(there, (5, 50, 95)).tolist()
    ends = {"min": float(there.min()), "p5": low, "median": middle, "p95": high, "max": float(there.max())}
    return {"mean": float(there.mean()), "std": float(there.std()), **ends}


def _table(summary: dict[str, Any]) -> list[str]:
    lines = [f"{'over the chips':>18}  {'mean':>10}  {'lowest':>10}  {'5 %':>10}  {'median':>10}  {'95 %':>10}"]
    for name, spread in summary["measures"].items():
        if spread["mean"] is not None:
            shown = (spread[key] for key in ("mean", "min", "p5", "median", "p95"))
            lines.append(f"{name:>18}  " + "  ".join(f"{value:>10.5g}" for value in shown))
    return [*lines, f"passed: {summary['passed']:.1%} of {summary['chips']} chips"]
