"""`eqprop-field bench`: how fast it is here, against others and against the hardware."""

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .arguments import Names
from .command import AbstractCommand, Outcome, Refused

if TYPE_CHECKING:
    from ..benchmarks import Ratio


# Results of every part, for the progress bar.
_LINES = {"settling": 26, "circuits": 7, "training": 5, "reservoirs": 9, "sequences": 15}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bench(AbstractCommand):
    """Measures settling, circuits, training, reservoirs and sequences: against others and against the hardware.

    Each ratio is the median over turns in which both sides ran one after the other, with the lowest and the highest
    turn. What is not installed is left out and named (pip install 'eqprop-field[bench]'). With --out: bench.csv,
    bench.md, bench.png and summary.json.

    Example: eqprop-field bench --quick
    """

    parts: Names = tuple(_LINES)
    """What to measure."""
    quick: bool = False
    """Three turns instead of eleven, and no epoch of MNIST."""
    turns: int = 11
    """Turns that count."""
    out: Path | None = None
    """The folder for the results."""

    def run(self) -> Outcome:
        self.choose_precision()
        if self.turns < 1:
            raise Refused(f"--turns {self.turns}: give at least 1")
        if self.x64:
            raise Refused("--x64: the goals are for float32; leave it away")

        from ..benchmarks import machine
        from .files import folder_for
        from .progress import bar

        folder = None if self.out is None else folder_for(self.out)
        turns = 3 if self.quick else self.turns
        results: list[Ratio] = []
        with bar("benchmarks") as progress:
            for part in self._parts(turns):
                for result in part:
                    results.append(result)
                    progress(len(results), sum(_LINES[name] for name in self.parts))
        said = machine()
        summary: dict[str, Any] = {"results": [as_row(result) for result in results], "machine": said}
        if folder is not None:
            summary |= {"out": str(folder), "files": write(folder, results, said)}
        missed = [result.name for result in results if result.met is False]
        lines = [*table(results), "", ", ".join(f"{name} {value}" for name, value in said.items())]
        lines.append(f"goals missed      {len(missed)} of {sum(result.met is not None for result in results)}")
        return Outcome(summary, lines)

    def _parts(self, turns: int) -> list[Iterator["Ratio"]]:
        from ..benchmarks import circuits, reservoirs, sequences, settling, training

        unknown = [name for name in self.parts if name not in _LINES]
        if unknown:
            raise Refused(f"unknown part {unknown[0]!r}: choose among {', '.join(_LINES)}")
        parts = {
            "settling": lambda: settling(turns),
            "circuits": lambda: circuits(turns),
            "training": lambda: training(turns, epoch=not self.quick),
            "reservoirs": lambda: reservoirs(turns),
            "sequences": lambda: sequences(turns),
        }
        return [parts[name]() for name in self.parts]


def as_row(result: "Ratio") -> dict[str, Any]:
    """The result as a JSON object; NaN, for what was not measured, as null."""
    row = dataclasses.asdict(result) | {"met": result.met}
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in row.items()}


def table(results: list["Ratio"]) -> list[str]:
    """The lines people read; also a Markdown table."""
    told = ["| what | ratio | lowest to highest | goal | |", "|---|---|---|---|---|"]
    for result in results:
        if result.skipped is not None:
            told.append(f"| {result.name} | left out | {result.skipped} | | |")
            continue
        unit = result.unit if result.unit == "x" else f" {result.unit}"
        spread = "" if result.low == result.high else f"{result.low:.2f} to {result.high:.2f}"
        bound = "" if result.goal is None else f"{'>=' if result.at_least else '<='} {result.goal:g}{unit}"
        met = {None: "", True: "met", False: "missed"}[result.met]
        told.append(f"| {result.name} | {result.ratio:.2f}{unit} | {spread} | {bound} | {met} |")
    return told


def write(folder: Path, results: list["Ratio"], said: dict[str, object]) -> list[str]:
    """Writes the results as a table, a picture and JSON; returns the files' names."""
    from .. import plotting
    from .._files import write_text
    from .files import write_summary, write_table

    where = ", ".join(f"{name} {value}" for name, value in said.items())
    write_table(folder / "bench.csv", [as_row(result) for result in results])
    write_text(folder / "bench.md", "\n".join(["# Benchmarks", "", f"Taken on: {where}.", "", *table(results)]) + "\n")
    drawn = [result for result in results if result.skipped is None and result.unit == "x"]
    axes = plotting.ratios(
        [result.name for result in drawn],
        [(result.low, result.ratio, result.high) for result in drawn],
        [(result.goal, result.at_least) for result in drawn],
    )
    plotting.save(axes[0].figure, folder / "bench.png")
    files = ["bench.csv", "bench.md", "bench.png", "summary.json"]
    write_summary(folder, {"results": [as_row(result) for result in results], "machine": said, "files": files})
    return files
