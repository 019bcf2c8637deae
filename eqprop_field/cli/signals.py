"""`eqprop-field signals`: learners of signals on the standard tasks."""

import dataclasses
from typing import Annotated

from .arguments import Names
from .command import AbstractExperiment, Outcome
from .numbers import AtLeastOne, at_least


@dataclasses.dataclass(frozen=True, kw_only=True)
class Signals(AbstractExperiment):
    """Lets learners of signals learn standard tasks, beside linear and quadratic regression on the last 20 inputs.

    Writes signals.csv (one row a task, learner and seed), signals.png and summary.json.

    Example: eqprop-field signals --tasks narma-10,delayed-xor --learners linear-lags,esn --out signals
    """

    tasks: Names = ()
    """Of narma-10, narma-20, mackey-glass, lorenz, roessler, delayed-xor, copy, adding and sine-to-square. (default:
    all)"""
    learners: Names = ("linear-lags", "quadratic-lags", "esn")
    """Those, and liquid, bptt, rtrl, aprl, backward-tuning, lbfgs, which take longer."""
    samples: Annotated[int, at_least(300)] = 3000
    """Samples of every series; a third is the test part."""
    seeds: AtLeastOne = 5
    """Series and models, for each task and learner."""

    def run(self) -> Outcome:
        self.choose_precision()
        from .._progress import bar
        from ..datasets import SIGNAL_TASKS
        from ..sequence import compare_on_signals

        folder, seeds = self.folder(), range(self.seed, self.seed + self.seeds)
        with bar("signals") as progress:
            found = compare_on_signals(
                self.tasks or tuple(SIGNAL_TASKS), self.learners, samples=self.samples, seeds=seeds, progress=progress
            )
        return Outcome.saved(found, folder)
