"""`eqprop-field compare`: learning rules side by side, over several seeds."""

import dataclasses

from .arguments import Names
from .command import Outcome
from .numbers import AtLeastOne
from .train import AbstractTraining


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compare(AbstractTraining):
    """Trains the same networks by several rules, with the same samples and settings, and compares their errors.

    Writes compare.csv (one row a rule, seed and epoch), compare.png and summary.json, and the runs' checkpoints, with
    which a comparison that was broken off goes on.

    Example: eqprop-field compare --rules eqprop,aep,implicit,eqprop:fixed --seeds 5 --epochs 20 --out comparison
    """

    rules: Names = ("eqprop", "aep")
    """Rules; NAME:FEEDBACK where feedback weights change otherwise: fixed (feedback alignment), tied, kolen_pollack."""
    seeds: AtLeastOne = 5
    """Networks, and orders of the samples, for each rule."""

    def run(self) -> Outcome:
        self.choose_precision()
        from .._progress import bar
        from ..training import compare

        (recipe, dataset), folder = self._learnt(), self.folder()
        how = {"recipe": recipe, "substrate": self.substrate.build(recipe), "seeds": self.seeds, "out": folder}
        with bar("comparison") as progress:
            found = compare(dataset, self.rules, **how, progress=progress)
        return Outcome.saved(found, folder, notes=[dataset.described], data=recipe.data, sizes=list(recipe.sizes))
