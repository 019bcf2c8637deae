"""What a circuit has to be like for learning: its updates while one parameter after another is swept."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from jaxtyping import ArrayLike

from ..results import AbstractResult
from ..vector_fields import AbstractVectorField
from .campaign import Cell, FidelityCampaign, Row, beside, run_campaign
from .conditions import SWEPT_PARAMETERS, Conditions, SweptParameter
from .update_fidelity import COSINES, failed_samples

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COMMON = ("beta", "time", "gain", "bandwidth", "offset", "bits", "mismatch")


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class FidelitySweep(AbstractResult):
    """The fidelity of updates at every value of every swept parameter, on every chip.

    Attributes:
        runs: one row a parameter, value and chip, with the numbers of `Fidelity`.
        parameters: what was swept, by name.
        path: the HDF5 file with the rows, or None.
    """

    stem: ClassVar[str] = "fidelity"
    runs: Sequence[Row]
    parameters: Mapping[str, SweptParameter]
    path: Path | None = None

    def rows(self) -> list[dict[str, Any]]:
        return [dict(row) for row in self.runs]

    def means(self) -> list[dict[str, Any]]:
        """One row a parameter and value: the means over the chips, and the lowest cosine to a chip's gradient."""
        groups: dict[tuple[Any, Any], list[dict[str, Any]]] = {}
        for row in self.rows():
            groups.setdefault((row["parameter"], row["value"]), []).append(row)
        measures = [name for name in self.runs[0] if name not in ("parameter", "value", "chip", "failed")]
        return [
            {"parameter": parameter, "value": value, "chips": len(group)}
            | {name: sum(row[name] for row in group) / len(group) for name in measures}
            | {"lowest_cosine_to_chip_gradient": min(row["cosine_to_chip_gradient"] for row in group)}
            | {"failed": sum(row["failed"] for row in group)}
            for (parameter, value), group in groups.items()
        ]

    def summary(self) -> dict[str, Any]:
        return {"rows": self.means()}

    @property
    def failure(self) -> str | None:
        return failed_samples(sum(int(row["failed"]) for row in self.runs))

    def lines(self) -> list[str]:
        """One line a parameter and value: cosines to ideal EqProp, the chip's and the nominal gradient, and times."""
        lines = [f"{'parameter':>10} {'value':>8}  cosine to EqProp, chip, nominal  settling free, nudged   at rest"]
        for row in self.means():
            cosines = " ".join(f"{row[name]:>10.5f}" for name in COSINES)
            times = f"{row['settling_free']:>13.2f}, {row['settling_nudged']:>6.2f}"
            lines.append(f"{row['parameter']:>10} {row['value']:>8g} {cosines} {times}   {row['settled']:>7.0%}")
        return lines

    def of(self, parameter: str) -> "FidelitySweep":
        """The sweep of one parameter alone."""
        runs = [row for row in self.runs if row["parameter"] == parameter]
        return dataclasses.replace(self, runs=runs, parameters={parameter: self.parameters[parameter]})

    def pictures(self) -> "dict[str, Figure]":
        """One a parameter; `plot` draws the first parameter's."""
        drawn = {f"fidelity_{name}.png": self.of(name).plot().figure for name in self.parameters}
        return drawn  # pyright: ignore[reportReturnType]  Figures, never SubFigures

    def _write(self, folder: Path) -> list[str]:
        return [*beside(self.path, folder), *super()._write(folder)]


def fidelity(
    field: AbstractVectorField,
    x: ArrayLike,
    y: ArrayLike,
    parameters: Sequence[str] | Mapping[str, SweptParameter] = COMMON,
    *,
    conditions: Conditions | None = None,
    values: Sequence[float] = (),
    chips: int = 5,
    seed: int = 0,
    path: str | os.PathLike[str] | None = None,
    engine: Literal["batch", "shared"] = "batch",
    workers: int | None = None,
    scheduler: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FidelitySweep:
    """Sweeps one parameter of the circuit at a time, runs its phases in ngspice, and compares its updates.

    An update is compared with what equilibrium propagation gives on the nominal network, with the true gradient of the
    chip itself, and with that of the nominal network, see `Fidelity`.

    Args:
        field: the network.
        x: the inputs' firing rates (batch, inputs).
        y: the targets (batch, outputs).
        parameters: which, by name; a mapping holds further ones than SWEPT_PARAMETERS has.
        conditions: what the circuit is like apart from the swept parameter.
        values: of the one parameter, instead of its own.
        chips: how many at every value of a parameter that is drawn by chance.
        seed: of all chips.
        path: the HDF5 file that keeps the rows while they come, see `run_campaign`; None keeps none.
        engine: what runs ngspice in every worker: a process for every netlist, or libngspice.
        workers: how many processes on this machine; one for each core by default.
        scheduler: the address of a Dask scheduler whose workers do it instead.
        progress: called with the runs done and their number.

    Raises:
        ValueError: for a parameter that is not known, values for several of them, no chips, and as `run_campaign`.
        WorkerDied, TaskFailed, OSError: as `run_campaign`.
    """
    known = SWEPT_PARAMETERS if not isinstance(parameters, Mapping) else {**SWEPT_PARAMETERS, **parameters}
    if unknown := [name for name in parameters if name not in known]:
        raise ValueError(f"{unknown[0]!r} is no swept parameter: there are {', '.join(known)}")
    if values and len(parameters) != 1:
        raise ValueError("values are for one parameter: name it alone")
    if chips < 1:
        raise ValueError(f"chips={chips}: give at least 1")
    swept = {name: known[name] for name in parameters}
    base = Conditions() if conditions is None else conditions
    cells = [
        Cell(name, value, chip, parameter.apply(base, value))
        for name, parameter in swept.items()
        for value in sorted(set(values) or parameter.values)
        for chip in range(chips if parameter.random else 1)
    ]
    task = FidelityCampaign(field, x, y, cells, seed=seed, engine=engine)
    rows = run_campaign(task, path, workers=workers, scheduler=scheduler, progress=progress)
    return FidelitySweep(rows, swept, None if path is None else Path(path))
