"""`eqprop-field reverse-engineer`: the table of reverse engineering, run by run."""

import dataclasses

from .arguments import Names, Sizes
from .command import AbstractExperiment, Outcome
from .numbers import AtLeastOne, Positive


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReverseEngineer(AbstractExperiment):
    """Fits networks to the input and output of other networks, by backward tuning and by the usual methods.

    The table of Vieville et al. 2017 (RR-9100), in float64: units L, LNL, AIF, SoftMax, LSTM; rules `backward` and
    `best_of` (the report's text and program, 100 iterations), `extended` (backward tuning with our additions),
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
    seeds: AtLeastOne = 5
    """Runs of every cell: another root, learner and input each."""
    nrmse: Positive = 5e-3
    """An error that is good enough."""
    seconds: Positive = 60.0
    """The longest processor time of a run."""
    resume: bool = False
    """Go on with what is in --out."""

    def run(self) -> Outcome:
        self.choose_precision(1e-8)
        from .._progress import bar
        from ..kernel_networks import reverse_engineer

        folder = self.folder()
        with bar("reverse engineering") as progress:
            table = reverse_engineer(
                self.units,
                self.sizes,
                self.rules,
                range(self.seed, self.seed + self.seeds),
                nrmse=self.nrmse,
                seconds=self.seconds,
                folder=folder,
                resume=self.resume,
                progress=progress,
            )
        return Outcome.saved(table, folder)
