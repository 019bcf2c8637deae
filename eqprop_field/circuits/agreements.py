"""Several circuits of one network beside the ODE: levels, processes, corners and temperatures in one table."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from jaxtyping import ArrayLike

from ..results import AbstractResult, known, with_unit
from ..substrates.nudging import Nudging
from ..vector_fields import AbstractVectorField
from .agreement import Agreement, AgreementVerdict
from .levels import AbstractLevel
from .verify import verify

_MEASURED = ("update_cosine", "update_signs", "max_abs_free", "max_abs_nudged")
_QUANTITIES = ("settling_free_second", "settling_nudged_second", "power_watt", "energy_update_joule")


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Agreements(AbstractResult):
    """The agreement of every circuit with the ODE.

    Attributes:
        agreements: by what the circuits are called.
        levels: how each was built, by the same names.
    """

    stem: ClassVar[str] = "agreements"
    agreements: Mapping[str, Agreement]
    levels: Mapping[str, AbstractLevel]

    def rows(self) -> list[dict[str, Any]]:
        """One row a circuit: its level, its supplies and unit, V, what `Agreement.summary` says, and the verdict."""
        rows = []
        for name, found in self.agreements.items():
            level = self.levels[name]
            row: dict[str, Any] = {"circuit": name, "level": level.name}
            row |= {source: level.supplies.get(source) for source in ("vdd", "vss")}
            row |= {"volt_per_unit": level.scaling.volt_per_unit}
            row |= {measure: known(getattr(found, measure)) for measure in (*_MEASURED, *_QUANTITIES)}
            rows.append(row | {"verdict": found.verdict.name})
        return rows

    def summary(self) -> dict[str, Any]:
        """The rows, and how many of them agree."""
        agree = sum(found.verdict is AgreementVerdict.agrees for found in self.agreements.values())
        return {"circuits": len(self.agreements), "agree": agree, "rows": self.rows()}

    @property
    def failure(self) -> str | None:
        wrong = {name: found.failure for name, found in self.agreements.items() if found.failure is not None}
        first = next(iter(wrong.values()), None)
        return first and f"{len(wrong)} of {len(self.agreements)} circuits: {', '.join(wrong)}; the first {first}"

    def cells(self) -> list[list[str]]:
        """The table as people read it, the head first."""
        table = [["circuit", "cosine", "signs", "free apart", "settling", "power", "verdict"]]
        for name, found in self.agreements.items():
            numbers = [f"{found.update_cosine:.4f}", f"{found.update_signs:.0%}", f"{found.max_abs_free:.2g}"]
            quantities = (found.settling_free_second, "s"), (found.power_watt, "W")
            table.append([name, *numbers, *(with_unit(*one) or "-" for one in quantities), found.verdict.name])
        return table

    def lines(self) -> list[str]:
        table = self.cells()
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        return ["  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)) for row in table]

    def _write(self, folder: Path) -> list[str]:
        """The table and the picture, and every agreement in a folder of its own."""
        files = super()._write(folder)
        for name, found in self.agreements.items():
            inside = "".join(c if c.isalnum() or c in "-." else "_" for c in name)
            files += [f"{inside}/{file}" for file in found.save(folder / inside)["files"]]
        return files


def verify_each(
    field: AbstractVectorField,
    x: ArrayLike,
    y: ArrayLike,
    nudging: Nudging | float,
    levels: Mapping[str, AbstractLevel],
    *,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> Agreements:
    """Compares several circuits with the ODE, one after another: levels, processes, corners, temperatures.

    Args:
        field: the network.
        x: the inputs' firing rates (batch, inputs).
        y: the targets of the output neurons' states (batch, outputs).
        nudging: the influence parameters; a number is the beta of one-sided nudging.
        levels: how the circuits are built, by what they are to be called.
        progress: called with the runs done and their number.
        options: those of `verify`, but for the level.

    Raises:
        ValueError: for no circuit, and as `verify`.
        NgspiceMissing: as `verify`.
    """
    if not levels:
        raise ValueError("there is no circuit to compare: give at least one level")
    found = {}
    for k, (name, level) in enumerate(levels.items()):

        def told(done: int, total: int, before: int = k) -> None:
            if progress is not None:
                progress(before * total + done, len(levels) * total)

        found[name] = verify(field, x, y, nudging, level=level, progress=told, **options)
    return Agreements(found, dict(levels))
