"""`eqprop-field align-training`: how alignment and symmetry change while each rule trains a network."""

import dataclasses

from .arguments import Names
from .command import Outcome
from .numbers import AtLeastOne
from .train import AbstractTraining


@dataclasses.dataclass(frozen=True, kw_only=True)
class AlignTraining(AbstractTraining):
    """Trains the same networks by each rule, and follows how its update aligns with the gradient.

    After every epoch: the cosine of the mean update over validation samples with the negative gradient, for the whole
    and for every layer, the asymmetry of the Jacobian and the symmetry of the weights. All rules of one seed start from
    the same network, with the recipe's learning rates, constant by default. Writes training_alignment.csv,
    training_alignment.png and summary.json.

    Example: eqprop-field align-training --rules eqprop,aep,recurrent-backprop --epochs 10 --out evolution
    """

    rules: Names = ("eqprop", "aep")
    """Rules, joined by commas, or all."""
    epochs: AtLeastOne = 10
    """How many times every sample is seen."""
    seeds: AtLeastOne = 1
    """Networks for each rule."""
    samples: AtLeastOne = 100
    """Validation samples that alignment is measured on."""

    def run(self) -> Outcome:
        self.choose_precision()
        from .._progress import bar
        from ..analysis import align_training
        from ..learning import RULES

        recipe, dataset = self._learnt(schedule=self.schedule or "constant")
        names, substrate = RULES if "all" in self.rules else self.rules, self.substrate.build(recipe)
        rules = {name: recipe.changed(rule=name).learning_rule(substrate) for name in names}
        fields = [recipe.changed(seed=self.seed + k).field() for k in range(self.seeds)]
        folder = self.folder()
        with bar("alignment over training") as progress:
            found = align_training(fields, rules, dataset, recipe.settings, samples=self.samples, progress=progress)
        context = {"data": recipe.data, "sizes": list(recipe.sizes), "gain": recipe.gain}
        return Outcome.saved(found, folder, **context, beta=recipe.beta, nudging=recipe.nudging)
