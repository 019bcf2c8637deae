"""`eqprop-field demo`: the main job on real digits, with a report."""

import dataclasses
from pathlib import Path

from .command import AbstractCommand, Outcome, folder_for


@dataclasses.dataclass(frozen=True, kw_only=True)
class Demo(AbstractCommand):
    """Trains a network on handwritten digits, simulates both phases, measures alignment, runs it in ngspice, compares.

    Writes one folder: report.html (open it in a browser), summary.json, the network, and a folder for each step.

    Example: eqprop-field demo --out demo
    """

    out: Path = Path("demo")
    """The folder for the report and everything it shows."""

    def run(self) -> Outcome:
        self.choose_precision()
        from .._progress import bar
        from ..demo import demo

        folder = folder_for(self.out)
        with bar("demo") as progress:
            result = demo(folder, self.seed, progress)
        summary = result.save(folder)
        return Outcome(summary, [*result.lines(), f"report: {folder / 'report.html'}"], result.failure)
