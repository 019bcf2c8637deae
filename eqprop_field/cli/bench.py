"""`eqprop-field bench`: how fast it is here, against others and against the hardware."""

import dataclasses
from pathlib import Path

from .arguments import Names
from .command import AbstractCommand, Outcome, Refused, folder_for
from .numbers import AtLeastOne


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bench(AbstractCommand):
    """Measures settling, circuits, training, reservoirs and sequences: against others and against the hardware; and
    what a user waits for.

    Each ratio is the median over turns in which both sides ran one after the other, with the lowest and the highest
    turn. What is not installed is left out and named (pip install 'eqprop-field[bench]'). With --out: bench.csv,
    bench.md, bench.png and summary.json.

    Example: eqprop-field bench --quick
    """

    parts: Names = ("settling", "circuits", "training", "reservoirs", "sequences", "waiting")
    """What to measure."""
    quick: bool = False
    """Three turns instead of eleven, and no epoch of MNIST."""
    turns: AtLeastOne = 11
    """Turns that count."""
    out: Path | None = None
    """The folder for the results."""

    def run(self) -> Outcome:
        self.choose_precision()
        if self.x64:
            raise Refused("--x64: the goals are for float32; leave it away")

        from .._progress import bar
        from ..benchmarks import benchmark

        folder = None if self.out is None else folder_for(self.out)
        with bar("benchmarks") as progress:
            turns = 3 if self.quick else self.turns
            found = benchmark(self.parts, turns=turns, epoch=not self.quick, progress=progress)
        return Outcome.saved(found, folder)
