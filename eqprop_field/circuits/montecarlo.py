"""Many chips of one network: how good their updates are, and how many of them pass."""

import collections
import dataclasses
from typing import Any, ClassVar, Unpack

import numpy as np
from jaxtyping import ArrayLike, Float

from ..vector_fields import AbstractVectorField
from .conditions import Conditions
from .fidelity_campaign import (
    JUDGED,
    TITLES,
    AbstractFidelityRuns,
    CampaignOptions,
    Cell,
    check_passing,
    kept_in,
    passed,
    run_cells,
)
from .update_fidelity import MEASURES
from .variation import Variation


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class MonteCarlo(AbstractFidelityRuns):
    """The fidelity of the updates of many chips. The verdict judges the cosine to ideal equilibrium propagation."""

    stem: ClassVar[str] = "montecarlo"

    def rows(self) -> list[dict[str, Any]]:
        return [{name: row[name] for name in ("chip", *MEASURES, "verdict", "failed")} for row in self.runs]

    @property
    def passed(self) -> float:
        """The share of the chips that pass by their cosine to ideal equilibrium propagation."""
        return passed(self.runs, self.passing)[JUDGED[0]]

    @property
    def passed_by_chip_gradient(self) -> float:
        """The share of the chips that would pass by their cosine to their own gradient."""
        return passed(self.runs, self.passing)[JUDGED[1]]

    def summary(self) -> dict[str, Any]:
        """How every measure is spread over the chips at rest for which it exists, and how many chips pass."""
        return {
            "chips": len(self.runs),
            "measures": {name: _spread(self.column(name)[self.at_rest]) for name in MEASURES},
            "passing": self.passing,
            "judged_by": JUDGED[0],
            "passed": self.passed,
            "passed_by_chip_gradient": self.passed_by_chip_gradient,
            "verdicts": dict(collections.Counter(str(row["verdict"]) for row in self.runs)),
            "failed_samples": int(self.column("failed").sum()),
        }

    def lines(self) -> list[str]:
        summary = self.summary()
        lines = [
            f"{'over the chips at rest':>26}  {'mean':>10}  {'lowest':>10}  {'5 %':>10}  {'median':>10}  {'95 %':>10}"
        ]
        for name, spread in summary["measures"].items():
            if spread["mean"] is not None:
                shown = (spread[key] for key in ("mean", "min", "p5", "median", "p95"))
                lines.append(f"{name:>26}  " + "  ".join(f"{value:>10.5g}" for value in shown))
        for name, share in passed(self.runs, self.passing).items():
            lines.append(
                f"at rest, and a cosine to {TITLES[name]} of at least {self.passing:g}: {share:.1%} of "
                f"{len(self.runs)} chips{' (the verdict)' if name == JUDGED[0] else ''}"
            )
        to_eqprop, to_gradient = (summary["measures"][name]["mean"] for name in JUDGED)
        if to_eqprop is not None and to_eqprop >= self.passing > to_gradient:
            lines.append(
                "these chips do what equilibrium propagation says, which is NOT the gradient of this network (mean "
                f"cosine {to_gradient:.3g}): see what asymmetric weights and beta do to it with align and budget"
            )
        return lines


def default_conditions() -> Conditions:
    """Devices that differ by 5 %, and offsets of 0.02."""
    return Conditions(variation=Variation.everywhere(0.05, 0.02))


def montecarlo(
    field: AbstractVectorField,
    x: ArrayLike,
    y: ArrayLike,
    chips: int = 100,
    *,
    conditions: Conditions | None = None,
    passing: float = 0.95,
    **options: Unpack[CampaignOptions],
) -> MonteCarlo:
    """Draws chips of a network, runs their phases in ngspice, and compares their updates, see `Fidelity`.

    Args:
        field: the network.
        x: the inputs' firing rates (batch, inputs).
        y: the targets (batch, outputs).
        chips: how many; chip k has the key fold_in(key(seed), k).
        conditions: what the circuits are like; by default devices that differ by 5 %, and offsets of 0.02.
        passing: the least cosine to ideal equilibrium propagation with which a chip at rest passes.
        options: how the circuits are run, see `CampaignOptions`.

    Raises:
        ValueError: for no chips, and as `run_campaign`.
        WorkerDied, TaskFailed, OSError: as `run_campaign`.
    """
    if chips < 1:
        raise ValueError(f"chips={chips}: give at least 1")
    check_passing(passing)
    base = default_conditions() if conditions is None else conditions
    cells = [Cell("chip", float(chip), chip, base) for chip in range(chips)]
    return MonteCarlo(run_cells(field, x, y, cells, **options), passing=passing, path=kept_in(options))


def _spread(values: Float[np.ndarray, " chips"]) -> dict[str, float | None]:
    """Of the chips for which the measure exists."""
    defined = values[np.isfinite(values)]
    if not len(defined):
        return dict.fromkeys(("mean", "std", "min", "p5", "median", "p95", "max"))
    low, middle, high = np.percentile(defined, (5, 50, 95)).tolist()
    ends = {"min": float(defined.min()), "p5": low, "median": middle, "p95": high, "max": float(defined.max())}
    return {"mean": float(defined.mean()), "std": float(defined.std()), **ends}
