"""All benchmarks as one result: the ratios of the parts that were asked for, and the machine."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .._files import write_text
from ..results import AbstractResult, known
from .circuits import circuits
from .paired import Ratio, machine
from .reservoirs import reservoirs
from .sequences import sequences
from .settling import settling
from .training import training
from .waiting import waiting

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# How many ratios every part gives, for the progress.
_COUNTS = {"settling": 26, "circuits": 7, "training": 5, "reservoirs": 9, "sequences": 15, "waiting": 11}
PARTS = tuple(_COUNTS)


@dataclasses.dataclass(frozen=True, repr=False)
class Benchmark(AbstractResult):
    """Measured ratios.

    Attributes:
        ratios: one a line.
        machine: what they were measured on.
    """

    stem: ClassVar[str] = "bench"
    ratios: Sequence[Ratio]
    machine: Mapping[str, object]

    @property
    def missed(self) -> list[str]:
        """The names of the ratios that miss their goals."""
        return [ratio.name for ratio in self.ratios if ratio.met is False]

    def rows(self) -> list[dict[str, Any]]:
        """One row a ratio; None for what was not measured."""
        rows = (dataclasses.asdict(ratio) | {"met": ratio.met} for ratio in self.ratios)
        return [{name: known(v) if isinstance(v, float) else v for name, v in row.items()} for row in rows]

    def summary(self) -> dict[str, Any]:
        return {"results": self.rows(), "machine": dict(self.machine)}

    def table(self) -> list[str]:
        """The ratios as the lines of a Markdown table."""
        lines = ["| what | ratio | lowest to highest | goal | |", "|---|---|---|---|---|"]
        for ratio in self.ratios:
            if ratio.skipped is not None:
                lines.append(f"| {ratio.name} | left out | {ratio.skipped} | | |")
                continue
            unit = ratio.unit if ratio.unit == "x" else f" {ratio.unit}"
            spread = "" if ratio.low == ratio.high else f"{ratio.low:.2f} to {ratio.high:.2f}"
            bound = "" if ratio.goal is None else f"{'>=' if ratio.at_least else '<='} {ratio.goal:g}{unit}"
            met = {None: "", True: "met", False: "missed"}[ratio.met]
            lines.append(f"| {ratio.name} | {ratio.ratio:.2f}{unit} | {spread} | {bound} | {met} |")
        return lines

    def lines(self) -> list[str]:
        goals = sum(ratio.met is not None for ratio in self.ratios)
        return [*self.table(), "", self._where(), f"goals missed      {len(self.missed)} of {goals}"]

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draws the ratios of times with their spread and goals."""
        from ..plotting import ratios

        drawn = [ratio for ratio in self.ratios if ratio.skipped is None and ratio.unit == "x"]
        spreads = np.array([(ratio.low, ratio.ratio, ratio.high) for ratio in drawn]).reshape(-1, 3)
        return ratios([r.name for r in drawn], spreads, [(r.goal, r.at_least) for r in drawn], ax)

    def _where(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self.machine.items())

    def _write(self, folder: Path) -> list[str]:
        text = "\n".join(["# Benchmarks", "", f"Taken on: {self._where()}.", "", *self.table()]) + "\n"
        write_text(folder / "bench.md", text)
        return ["bench.md", *super()._write(folder)]


def benchmark(
    parts: Sequence[str] = PARTS,
    *,
    turns: int = 11,
    epoch: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Benchmark:
    """Measures settling, circuits, training, reservoirs and sequences against others and the hardware; and waiting.

    Args:
        parts: some of `PARTS`.
        turns: of every ratio, which is the median over them.
        epoch: whether `training` trains an epoch of MNIST too.
        progress: called with the number of ratios measured, and of all.

    Raises:
        ValueError: for an unknown part, or no turns.
    """
    if unknown := [name for name in parts if name not in PARTS]:
        raise ValueError(f"unknown part {unknown[0]!r}: choose among {', '.join(PARTS)}")
    if turns < 1:
        raise ValueError(f"turns={turns}: give at least 1")
    measure: dict[str, Callable[[], Iterator[Ratio]]] = {
        "settling": lambda: settling(turns),
        "circuits": lambda: circuits(turns),
        "training": lambda: training(turns, epoch=epoch),
        "reservoirs": lambda: reservoirs(turns),
        "sequences": lambda: sequences(turns),
        "waiting": lambda: waiting(turns),
    }
    ratios: list[Ratio] = []
    for name in parts:
        for ratio in measure[name]():
            ratios.append(ratio)
            if progress is not None:
                progress(len(ratios), sum(_COUNTS[part] for part in parts))
    return Benchmark(ratios, machine())
