"""`eqprop-field align-training`: how alignment and symmetry change while each rule trains a network."""

import dataclasses
from pathlib import Path
from typing import Literal

from .arguments import Names, NudgeOptions, OptionalSizes, RecipeNudge, Repair
from .command import AbstractExperiment, Outcome
from .numbers import AtLeastOne, RecipeGain


@dataclasses.dataclass(frozen=True, kw_only=True)
class AlignTraining(AbstractExperiment):
    """Trains the same networks by each rule, and follows how its update aligns with the gradient.

    After every epoch: the cosine of the mean update over validation samples with the negative gradient, for the whole
    and for every layer, the asymmetry of the Jacobian and the symmetry of the weights. All rules of one seed start from
    the same network, with the learning rates of the data set's recipe, constant. Writes training_alignment.csv,
    training_alignment.png and summary.json.

    Example: eqprop-field align-training --rules eqprop,aep,recurrent-backprop --epochs 10 --out evolution
    """

    data: Literal["digits", "mnist", "fashion"] = "digits"
    """What to learn; digits come with scikit-learn."""
    data_dir: Path | None = None
    """The folder with the IDX files of mnist or fashion."""
    sizes: OptionalSizes = ()
    """Neurons per layer, input first (default: the recipe's)."""
    activation: str = "hard_sigmoid"
    """Firing rate."""
    rules: Names = ("eqprop", "aep")
    """Rules, joined by commas."""
    epochs: AtLeastOne = 10
    """How many times every sample is seen."""
    seeds: AtLeastOne = 1
    """Networks for each rule."""
    samples: AtLeastOne = 100
    """Validation samples that alignment is measured on."""
    nudge: RecipeNudge = dataclasses.field(default_factory=RecipeNudge)
    gain: RecipeGain = None
    """Scale of the first weights relative to Glorot's; feedback weights are independent of the forward ones."""
    repair: Repair = dataclasses.field(default_factory=Repair)

    def run(self) -> Outcome:
        self.choose_precision()
        import jax

        from .._progress import bar
        from ..activations import activation
        from ..analysis import align_training
        from ..learning import RULES, named_rules
        from ..training import find_recipe, load_dataset
        from ..vector_fields import field_class

        options = {"sizes": self.sizes or None, "epochs": self.epochs, "schedule": "constant", "seed": self.seed}
        options |= {"gain": self.gain, "repair": self.repair.settings(), **dataclasses.asdict(self.nudge)}
        recipe = find_recipe(data=self.data).changed(**options)
        names = RULES if "all" in self.rules else self.rules
        nudging = NudgeOptions(beta=recipe.beta, nudging=recipe.nudging).build()
        rules = named_rules(names, nudging, recipe.learning_rule().substrate)
        dataset = load_dataset(self.data, self.data_dir, seed=self.seed)
        folder = self.folder()
        keys = [jax.random.key(self.seed + k) for k in range(self.seeds)]
        options = {"activation": activation(self.activation), "gain": recipe.gain}
        fields = [field_class("layered").create(key, recipe.sizes, **options) for key in keys]
        with bar("alignment over training") as progress:
            found = align_training(fields, rules, dataset, recipe.settings, samples=self.samples, progress=progress)
        context = {"data": self.data, "sizes": list(recipe.sizes), "gain": recipe.gain}
        return Outcome.saved(found, folder, **context, beta=recipe.beta, nudging=recipe.nudging)
