"""The table of reverse engineering: every kind of unit, size, rule and seed, run by run, and the medians over seeds."""

import dataclasses
import itertools
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from .._files import write_json, write_text
from ..results import AbstractResult
from .optimiser import Progress
from .reverse_engineering import RULES, UNITS, reverse_engineer_run

GOAL = 1e-2  # the NRMSE of a solved cell
_LARGEST_LM = 32  # units; beyond, the Jacobian alone has tens of millions of entries
_MEASURED = ("iterations", "simulations", "criterion", "decay", "bias", "nrmse", "seconds")
_RUNS = "runs.json"


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class ReverseEngineeringTable(AbstractResult):
    """The table of reverse engineering.

    Attributes:
        runs: the rows of all runs, as `ReverseEngineeringResult.summary`.
        settings: the limits of every run: `nrmse` and `seconds`.
    """

    runs: list[dict[str, Any]]
    settings: dict[str, float]
    stem: ClassVar[str] = "runs"

    def rows(self) -> list[dict[str, Any]]:
        return self.runs

    def medians(self) -> list[dict[str, Any]]:
        """One row a unit, size and rule: medians over the seeds, and how many of them reach the goal."""
        cells: dict[tuple, list[dict[str, Any]]] = {}
        for row in self.runs:
            cells.setdefault((row["unit"], row["size"], row["rule"]), []).append(row)
        medians = []
        for (unit, size, rule), runs in cells.items():
            median: dict[str, Any] = {"unit": unit, "size": size, "rule": rule, "seeds": len(runs)}
            for name in _MEASURED:
                values = np.array([run[name] for run in runs], float)
                if name in ("criterion", "nrmse"):
                    values[np.isnan(values)] = np.inf  # a run that exploded counts as the largest error
                known = values[~np.isnan(values)]
                median[name] = float(np.median(known)) if len(known) else math.nan
            medians.append(median | {"good": sum(run["nrmse"] <= GOAL for run in runs)})
        return medians

    def unsolved(self) -> list[str]:
        """Units and sizes at which no rule reaches the goal in the median."""
        best: dict[str, float] = {}
        for median in self.medians():
            cell = f"{median['unit']} {median['size']}"
            best[cell] = min(best.get(cell, math.inf), median["nrmse"])
        return [cell for cell, nrmse in best.items() if not nrmse <= GOAL]

    def summary(self) -> dict[str, Any]:
        return {"rows": self.runs, "medians": self.medians(), "unsolved": self.unsolved()}

    @property
    def failure(self) -> str | None:
        solved = any(math.isfinite(row["nrmse"]) for row in self.runs)
        return None if solved else "every run exploded at its first weights"

    def markdown(self) -> list[str]:
        """The medians as a Markdown table, with the report's columns and more."""
        lines = [
            "| unit | N | rule | iterations | criterion | decay | bias | NRMSE | at 1e-2 | seconds |",
            "|" + "---|" * 10,
        ]
        for cell in sorted(self.medians(), key=lambda cell: (cell["unit"], cell["size"])):
            numbers = " | ".join(_shown(cell[name]) for name in ("criterion", "decay", "bias", "nrmse"))
            lines.append(
                f"| {cell['unit']} | {cell['size']} | {cell['rule']} | {cell['iterations']:.0f} | {numbers} "
                f"| {cell['good']}/{cell['seeds']} | {_shown(cell['seconds'])} |"
            )
        return lines

    def lines(self) -> list[str]:
        unsolved = ", ".join(self.unsolved()) or "none, every cell has one"
        return [*self.markdown(), "", f"no rule at NRMSE <= {GOAL:g} in the median: {unsolved}"]

    def pictures(self) -> dict[str, Any]:
        return {"reverse-engineering.png": self.plot().figure}

    def _write(self, folder: Path) -> list[str]:
        write_json(folder / _RUNS, {"settings": self.settings, "rows": self.runs})
        write_text(folder / "table.md", "\n".join(self.markdown()) + "\n")
        return [_RUNS, "table.md", *super()._write(folder)]


def reverse_engineer(
    units: Sequence[str],
    sizes: Sequence[int],
    rules: Sequence[str],
    seeds: Sequence[int],
    *,
    nrmse: float = 5e-3,
    seconds: float = 60.0,
    folder: str | os.PathLike | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> ReverseEngineeringTable:
    """Runs the whole table, cell by cell, Levenberg-Marquardt up to 32 units.

    Args:
        units: kinds of units, of `UNITS`.
        sizes: numbers of units.
        rules: of `RULES`.
        seeds: one run each in every cell.
        nrmse: an error that is good enough.
        seconds: the longest processor time of a run.
        folder: where `runs.json` keeps every run as soon as it is done; nowhere by default.
        resume: whether to go on with the runs that are there.
        progress: called with (runs done, all runs).

    Raises:
        ValueError: for unknown units or rules, sizes below 1, no seeds, limits that are not positive, and a `runs.json`
            that is there without `resume`, is none, or was made with other limits.
        OSError: for a folder that cannot be written.
    """
    _check(units, sizes, rules, seeds)
    if not (nrmse > 0 and seconds > 0):
        raise ValueError(f"nrmse={nrmse:g}, seconds={seconds:g}: give numbers above 0")
    settings = {"nrmse": nrmse, "seconds": seconds}
    path = None if folder is None else Path(folder) / _RUNS
    runs = [] if path is None else _kept(path, settings, resume)
    cells = [c for c in itertools.product(units, sizes, rules, seeds) if c[2] != "lm" or c[1] <= _LARGEST_LM]
    have = {(row["unit"], row["size"], row["rule"], row["seed"]) for row in runs}
    missing = [cell for cell in cells if cell not in have]
    for number, cell in enumerate(missing):
        if progress is not None:
            progress(len(cells) - len(missing) + number, len(cells))
        runs.append(reverse_engineer_run(*cell, nrmse=nrmse, seconds=seconds).summary())
        if path is not None:
            write_json(path, {"settings": settings, "rows": runs})
    return ReverseEngineeringTable(runs, settings)


def _check(units: Sequence[str], sizes: Sequence[int], rules: Sequence[str], seeds: Sequence[int]) -> None:
    for what, names, known in (("units", units, UNITS), ("rules", rules, RULES)):
        if strange := [name for name in names if name not in known]:
            raise ValueError(f"{what} {','.join(strange)}: choose from {', '.join(known)}")
    if not seeds or min(sizes) < 1:
        raise ValueError(f"sizes {','.join(map(str, sizes))}, {len(seeds)} seeds: give numbers of at least 1")


def _kept(path: Path, settings: dict[str, float], resume: bool) -> list[dict[str, Any]]:
    """The runs of a file that are to be gone on with."""
    if not path.exists():
        return []
    if not resume:
        raise ValueError(f"{path.parent} holds runs already: resume them, or name another folder")
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        made_with, rows = kept["settings"], [_checked(row) for row in kept["rows"]]
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"{path} is no list of runs: name another folder") from error
    if made_with != settings:
        raise ValueError(f"the runs in {path.parent} were made with {made_with}: give the same nrmse and seconds")
    return rows


def _checked(row: dict[str, Any]) -> dict[str, Any]:
    """A run that has all its entries, with NaN again where JSON has none; any error if it is none."""
    row = row | {name: math.nan for name in _MEASURED if row[name] is None}
    for name in (*_MEASURED, "size", "seed"):
        math.isfinite(row[name])
    if not isinstance(row["unit"], str) or not isinstance(row["rule"], str):
        raise TypeError("names are text")
    return row


def _shown(value: float) -> str:
    return f"{value:.2g}" if math.isfinite(value) else "-"
