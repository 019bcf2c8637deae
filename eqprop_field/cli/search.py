"""`eqprop-field search`: hyperparameters within declared ranges, chosen on the validation samples."""

import dataclasses

import tyro

from .arguments import Names
from .command import Outcome, Refused
from .numbers import AtLeastOne
from .train import AbstractTraining


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchHyperparameters(AbstractTraining):
    """Trains with values that Optuna proposes (extra [search]), and tells which end in the lowest validation error.

    Writes search.csv (one row a trial), search.png and summary.json, and after every trial trials.json, with which a
    search that was broken off goes on.

    Example: eqprop-field search --ranges beta=0.05:0.9,learning_rates=0.1:10:log,rule=eqprop|aep --out search
    """

    ranges: Names = tyro.MISSING
    """NAME=LOW:HIGH, NAME=LOW:HIGH:log or NAME=A|B, joined by commas: beta, gain, input_noise, ...; learning_rates is a
    factor on the recipe's, learning_rates.0 the rate of the output."""
    trials: AtLeastOne = 20
    """How many trials there are to be in the end."""

    def run(self) -> Outcome:
        self.choose_precision()
        from .._progress import bar
        from ..training import search

        if unnamed := [text for text in self.ranges if "=" not in text]:
            raise Refused(f"{unnamed[0]!r} in --ranges has no name: write NAME=LOW:HIGH, such as beta=0.05:0.9")
        ranges = dict(text.split("=", 1) for text in self.ranges)
        recipe, dataset = self._learnt()
        how = {"recipe": recipe, "substrate": self.substrate.build(recipe), "trials": self.trials, "out": self.folder()}
        with bar("search") as progress:
            found = search(dataset, ranges, **how, progress=progress)
        return Outcome.saved(found, self.out, notes=[dataset.described], data=recipe.data, ranges=ranges)
