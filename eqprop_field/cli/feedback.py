"""`eqprop-field feedback`: settling, alignment and learning against the strength of the feedback."""

import dataclasses
from typing import Annotated

from .arguments import Numbers
from .command import Outcome
from .numbers import AtLeastOne, Tolerance, at_least
from .train import AbstractTraining


@dataclasses.dataclass(frozen=True, kw_only=True)
class Feedback(AbstractTraining):
    """Measures one network with feedback of several strengths: sweeps to settle, and alignment with the gradient, layer
    by layer; with --epochs it trains each, too.

    Writes feedback_regulation.csv (one row a strength and layer), feedback_regulation.png and summary.json.

    Example: eqprop-field feedback --sizes 64,64,64,64,10 --activation tanh --symmetry 1 --gain 1 --out feedback
    """

    rule: str = "eqprop"
    """The learning rule."""
    gains: Numbers = (1.0, 0.3, 0.1, 0.01)
    """Strengths of the feedback, joined by commas."""
    samples: AtLeastOne = 20
    """Validation samples that are measured."""
    tol: Tolerance = 1e-8
    """Residual at which a measured phase is settled; below 1e-6 everything is computed in float64."""
    epochs: Annotated[int, at_least(0)] = 0
    """How many times every sample is seen in training; 0 for no training."""

    def run(self) -> Outcome:
        self.choose_precision(self.tol)
        from .._progress import bar
        from ..analysis import regulate_feedback

        (recipe, dataset), folder = self._learnt(rule=self.rule, epochs=None), self.folder()
        options = {"recipe": recipe, "samples": self.samples, "tol": self.tol, "epochs": self.epochs}
        with bar("feedback") as progress:
            found = regulate_feedback(dataset, self.gains, **options, progress=progress)
        return Outcome.saved(found, folder, data=recipe.data, sizes=list(recipe.sizes), rule=self.rule, tol=self.tol)
