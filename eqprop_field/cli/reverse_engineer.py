"""`eqprop-field reverse-engineer`: the report's table, filled with real runs."""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from .arguments import Names, Sizes, checked_seed
from .command import AbstractCommand, Outcome, Refused

if TYPE_CHECKING:
    from ..kernel_networks import ReverseEngineered

_GOOD = 1e-2
_MEASURED = ("iterations", "simulations", "criterion", "decay", "bias", "nrmse", "seconds")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReverseEngineer(AbstractCommand):
    """Fits networks to the input and output of other networks, by backward tuning and by the usual methods.

    The table of Vieville et al. 2017 (RR-9100), in float64: units L, LNL, AIF, SoftMax, LSTM; rules `backward` and
    `best_of` (the report's text and program, 100 iterations), `extended` (backward tuning with what is added here),
    `lbfgs`, `lm` (up to 32 units), `adam`. Every run is kept as soon as it is done in runs.json; `--resume` leaves
    out those that are there. Writes runs.json, runs.csv, table.md, reverse-engineering.png and summary.json. Compare
    NRMSE, the error over the target's standard deviation: the criterion depends on the number of nodes.

    Example: eqprop-field reverse-engineer --units LNL,AIF --sizes 2,4,8 --seeds 5 --out reverse
    """

    units: Names = ("LNL", "AIF")
    """Kinds of units, joined by commas."""
    sizes: Sizes = (2, 4, 8, 16, 32, 64)
    """Numbers of units."""
    rules: Names = ("backward", "best_of", "extended", "lbfgs", "lm", "adam")
    """Rules, joined by commas."""
    seeds: int = 5
    """Runs of every cell: another root, learner and input each."""
    nrmse: float = 5e-3
    """An error that is good enough."""
    seconds: float = 60.0
    """The longest processor time of a run."""
    resume: bool = False
    """Go on with what is in --out."""
    out: Path = tyro.MISSING
    """The folder for the results."""

    def run(self) -> Outcome:
        self.choose_precision(1e-8)
        self._check()
        from .files import folder_for
        from .progress import bar

        folder = folder_for(self.out)
        done = self._kept(folder)
        wanted = [c for c in itertools.product(self.units, self.sizes, self.rules, self._seeds()) if _sensible(*c)]
        have = {(row["unit"], row["size"], row["rule"], row["seed"]) for row in done}
        missing = [cell for cell in wanted if cell not in have]
        with bar("reverse engineering") as progress:
            for cell in missing:
                progress(len(wanted) - len(missing), len(wanted))
                done.append(self._one(*cell))
                self._keep(folder, done)
                missing = missing[1:]
        return self._told(folder, done)

    def _check(self) -> None:
        from ..kernel_networks.reverse_engineering import RULES, UNITS

        checked_seed(self.seed)
        for option, given, known in (("--units", self.units, UNITS), ("--rules", self.rules, RULES)):
            if strange := [name for name in given if name not in known]:
                raise Refused(f"{option} {','.join(strange)}: choose from {', '.join(known)}")
        if self.seeds < 1 or min(self.sizes) < 1:
            raise Refused(f"--seeds {self.seeds} --sizes {','.join(map(str, self.sizes))}: give numbers of at least 1")
        if not (self.nrmse > 0 and self.seconds > 0):
            raise Refused(f"--nrmse {self.nrmse:g} --seconds {self.seconds:g}: give numbers above 0")

    def _seeds(self) -> range:
        return range(self.seed, self.seed + self.seeds)

    def _settings(self) -> dict[str, float]:
        return {"nrmse": self.nrmse, "seconds": self.seconds}

    def _kept(self, folder: Path) -> list[dict[str, Any]]:
        """The runs that are to be gone on with."""
        import json

        path = folder / "runs.json"
        if not path.exists():
            return []
        if not self.resume:
            raise Refused(f"--out {folder} holds runs already: go on with them by --resume, or name another folder")
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            rows, settings = kept["rows"], kept["settings"]
        except (ValueError, KeyError, TypeError) as error:
            raise Refused(f"{path} is no list of runs: name another folder") from error
        if settings != self._settings():
            raise Refused(f"the runs in {folder} were made with {settings}: give the same --nrmse and --seconds")
        return [row | {name: math.nan for name in _MEASURED if row[name] is None} for row in rows]

    def _keep(self, folder: Path, rows: list[dict[str, Any]]) -> None:
        from .._files import write_json

        write_json(folder / "runs.json", {"settings": self._settings(), "rows": rows})

    def _one(self, unit: str, size: int, rule: str, seed: int) -> dict[str, Any]:
        from ..kernel_networks import reverse_engineer

        found: ReverseEngineered = reverse_engineer(unit, size, rule, seed, nrmse=self.nrmse, seconds=self.seconds)
        return found.row()

    def _told(self, folder: Path, rows: list[dict[str, Any]]) -> Outcome:
        from .. import plotting
        from .._files import write_text
        from .files import write_summary, write_table

        medians = summarise(rows)
        write_table(folder / "runs.csv", rows)
        write_text(folder / "table.md", "\n".join(table(medians)) + "\n")
        plotting.save(plotting.reverse_engineering(rows)[0].figure, folder / "reverse-engineering.png")
        files = ["runs.json", "runs.csv", "table.md", "reverse-engineering.png", "summary.json"]
        unsolved = [f"{unit} {size}" for unit, size in unsolved_cells(medians)]
        summary = {"rows": rows, "medians": medians, "unsolved": unsolved, "out": str(folder), "files": files}
        write_summary(folder, summary)
        lines = [*table(medians), ""]
        lines.append(
            f"no rule at NRMSE <= {_GOOD:g} in the median: {', '.join(unsolved) or 'none, every cell has one'}"
        )
        failure = (
            None if any(math.isfinite(row["nrmse"]) for row in rows) else "every run exploded at its first weights"
        )
        return Outcome(summary, [*lines, f"written to {folder}: {', '.join(files)}"], failure)


def _sensible(unit: str, size: int, rule: str, seed: int) -> bool:
    """Whether a run can be made at all: the Jacobian of Levenberg-Marquardt outgrows memory and patience."""
    from ..kernel_networks.reverse_engineering import LARGEST_LM

    del unit, seed
    return rule != "lm" or size <= LARGEST_LM


def summarise(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The median over seeds of everything measured, and how many of them reached the goal."""
    import numpy as np

    cells: dict[tuple, list[dict[str, Any]]] = {}
    for row in rows:
        cells.setdefault((row["unit"], row["size"], row["rule"]), []).append(row)
    medians = []
    for (unit, size, rule), runs in cells.items():
        told: dict[str, Any] = {"unit": unit, "size": size, "rule": rule, "seeds": len(runs)}
        for name in _MEASURED:
            values = np.array([run[name] for run in runs], float)
            if name in ("criterion", "nrmse"):
                values[np.isnan(values)] = np.inf  # a run that exploded is the worst one
            known = values[~np.isnan(values)]
            told[name] = float(np.median(known)) if len(known) else math.nan
        medians.append(told | {"good": sum(run["nrmse"] <= _GOOD for run in runs)})
    return medians


def unsolved_cells(medians: Sequence[dict[str, Any]]) -> list[tuple[str, int]]:
    """Units and sizes at which no rule reaches the goal in the median."""
    best: dict[tuple[str, int], float] = {}
    for told in medians:
        cell = (told["unit"], told["size"])
        best[cell] = min(best.get(cell, math.inf), told["nrmse"])
    return [cell for cell, nrmse in best.items() if not nrmse <= _GOOD]


def table(medians: Sequence[dict[str, Any]]) -> list[str]:
    """The medians as a Markdown table, as the report has it, with more columns."""
    told = [
        "| unit | N | rule | iterations | criterion | decay | bias | NRMSE | at 1e-2 | seconds |",
        "|" + "---|" * 10,
    ]
    for one in sorted(medians, key=lambda one: (one["unit"], one["size"])):
        numbers = [_shown(one[name], digits) for name, digits in (("criterion", 2), ("decay", 2), ("bias", 2))]
        told.append(
            f"| {one['unit']} | {one['size']} | {one['rule']} | {one['iterations']:.0f} | {' | '.join(numbers)} "
            f"| {_shown(one['nrmse'], 2)} | {one['good']}/{one['seeds']} | {_shown(one['seconds'], 2)} |"
        )
    return told


def _shown(value: float, digits: int) -> str:
    return f"{value:.{digits}g}" if math.isfinite(value) else "-"
