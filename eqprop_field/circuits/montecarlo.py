"""Many chips of one network: how good their updates are, and how many of them pass."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import ArrayLike

from ..results import AbstractResult
from ..vector_fields import AbstractVectorField
from .campaign import Cell, FidelityCampaign, Row, beside, run_campaign
from .conditions import Conditions
from .update_fidelity import Fidelity, failed_samples
from .variation import Variation

MEASURES = tuple(field.name for field in dataclasses.fields(Fidelity) if field.name != "failed")


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class MonteCarlo(AbstractResult):
    """The fidelity of the updates of many chips.

    Attributes:
        runs: one row a chip, with the numbers of `Fidelity`.
        passing: a chip passes if its update has at least this cosine with that of ideal equilibrium propagation.
        path: the HDF5 file with the rows, or None.
    """

    stem: ClassVar[str] = "montecarlo"
    runs: Sequence[Row]
    passing: float
    path: Path | None = None

    def rows(self) -> list[dict[str, Any]]:
        return [{name: row[name] for name in ("chip", *MEASURES, "failed")} for row in self.runs]

    def column(self, measure: str) -> np.ndarray:
        """One measure of every chip (chips,)."""
        return np.array([row[measure] for row in self.runs], float)

    @property
    def passed(self) -> float:
        """The share of the chips that pass."""
        return float(np.mean(self.column("cosine_to_ideal_eqprop") >= self.passing))

    def summary(self) -> dict[str, Any]:
        """How every measure is spread over the chips for which it exists, and how many chips pass."""
        return {
            "chips": len(self.runs),
            "measures": {name: _spread(self.column(name)) for name in MEASURES},
            "passing": self.passing,
            "passed": self.passed,
            "failed_samples": int(self.column("failed").sum()),
        }

    @property
    def failure(self) -> str | None:
        return failed_samples(int(self.column("failed").sum()))

    def lines(self) -> list[str]:
        lines = [f"{'over the chips':>26}  {'mean':>10}  {'lowest':>10}  {'5 %':>10}  {'median':>10}  {'95 %':>10}"]
        for name, spread in self.summary()["measures"].items():
            if spread["mean"] is not None:
                shown = (spread[key] for key in ("mean", "min", "p5", "median", "p95"))
                lines.append(f"{name:>26}  " + "  ".join(f"{value:>10.5g}" for value in shown))
        return [*lines, f"passed: {self.passed:.1%} of {len(self.runs)} chips"]

    def _write(self, folder: Path) -> list[str]:
        return [*beside(self.path, folder), *super()._write(folder)]


def montecarlo(
    field: AbstractVectorField,
    x: ArrayLike,
    y: ArrayLike,
    chips: int = 100,
    *,
    conditions: Conditions | None = None,
    passing: float = 0.95,
    seed: int = 0,
    path: str | os.PathLike[str] | None = None,
    engine: Literal["batch", "shared"] = "batch",
    workers: int | None = None,
    scheduler: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> MonteCarlo:
    """Draws chips of a network, runs their phases in ngspice, and compares their updates, see `Fidelity`.

    Args:
        field: the network.
        x: the inputs' firing rates (batch, inputs).
        y: the targets (batch, outputs).
        chips: how many; chip k has the key fold_in(key(seed), k).
        conditions: what the circuits are like; by default devices that differ by 5 %, and offsets of 0.02.
        passing: the least cosine to ideal equilibrium propagation with which a chip passes.
        seed: of all chips.
        path: the HDF5 file that keeps the rows while they come, see `run_campaign`; None keeps none.
        engine: what runs ngspice in every worker: a process for every netlist, or libngspice.
        workers: how many processes on this machine; one for each core by default.
        scheduler: the address of a Dask scheduler whose workers do it instead.
        progress: called with the chips done and their number.

    Raises:
        ValueError: for no chips, and as `run_campaign`.
        WorkerDied, TaskFailed, OSError: as `run_campaign`.
    """
    if chips < 1:
        raise ValueError(f"chips={chips}: give at least 1")
    base = Conditions(variation=Variation.everywhere(0.05, 0.02)) if conditions is None else conditions
    cells = [Cell("chip", float(chip), chip, base) for chip in range(chips)]
    task = FidelityCampaign(field, x, y, cells, seed=seed, engine=engine)
    rows = run_campaign(task, path, workers=workers, scheduler=scheduler, progress=progress)
    return MonteCarlo(rows, passing, None if path is None else Path(path))


def _spread(values: np.ndarray) -> dict[str, float | None]:
    """Of the chips for which the measure exists."""
    defined = values[np.isfinite(values)]
    if not len(defined):
        return dict.fromkeys(("mean", "std", "min", "p5", "median", "p95", "max"))
    low, middle, high = np.percentile(defined, (5, 50, 95)).tolist()
    ends = {"min": float(defined.min()), "p5": low, "median": middle, "p95": high, "max": float(defined.max())}
    return {"mean": float(defined.mean()), "std": float(defined.std()), **ends}
