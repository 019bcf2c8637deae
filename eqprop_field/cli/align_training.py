"""`eqprop-field align-training`: how alignment and symmetry change while each rule trains a network."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import tyro

from .arguments import Names, NudgeOptions, OptionalFloat, OptionalSizes, Repair, checked_gain, checked_seed
from .command import AbstractCommand, Outcome, Refused

if TYPE_CHECKING:
    from ..datasets import Dataset
    from ..learning import AbstractLearningRule
    from ..training import Recipe

Rows = list[dict[str, Any]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class AlignTraining(AbstractCommand):
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
    epochs: int = 10
    """How many times every sample is seen."""
    seeds: int = 1
    """Networks for each rule."""
    samples: int = 100
    """Validation samples that alignment is measured on."""
    beta: OptionalFloat = None
    """Influence parameter of training and of measuring."""
    gain: OptionalFloat = None
    """Scale of the first weights relative to Glorot's; feedback weights are independent of the forward ones."""
    repair: Repair = dataclasses.field(default_factory=Repair)
    out: Path = tyro.MISSING
    """The folder for the results."""

    def run(self) -> Outcome:
        self.choose_precision()
        for option, count in (("--seeds", self.seeds), ("--samples", self.samples)):
            if count < 1:
                raise Refused(f"{option} {count}: give at least 1")

        from .. import plotting
        from ..training import load_dataset
        from .files import folder_for, write_summary, write_table
        from .progress import bar
        from .rules import chosen

        recipe = self._recipe()
        nudge = NudgeOptions(beta=recipe.beta, nudging="symmetric")
        rules = chosen(self.rules, nudge, recipe.learning_rule().substrate)
        dataset = load_dataset(self.data, self.data_dir, seed=self.seed)
        folder = folder_for(self.out)
        rows: Rows = []
        with bar("alignment over training") as progress:
            for name, rule in rules.items():
                for k in range(self.seeds):
                    rows += self._followed(recipe.seeded(checked_seed(self.seed + k)), dataset, name, rule, k)
                    progress(len({(row["rule"], row["seed"]) for row in rows}), len(rules) * self.seeds)
        write_table(folder / "training_alignment.csv", rows)
        plotting.save(picture(rows)[0].figure, folder / "training_alignment.png")
        last = [row for row in rows if row["epoch"] in (0, self.epochs) and row["layer"] == "all"]
        summary = {"data": self.data, "sizes": list(recipe.sizes), "beta": recipe.beta, "gain": recipe.gain}
        summary |= {"rules": list(rules), "first_and_last": last, "out": str(folder)}
        summary |= {"files": ["training_alignment.csv", "training_alignment.png", "summary.json"]}
        write_summary(folder, summary)
        return Outcome(summary, [*lines(rows), f"written to {folder}: {', '.join(summary['files'])}"])

    def _recipe(self) -> "Recipe":
        from ..training import FIRST_RECIPES, RECIPES

        recipe = RECIPES[FIRST_RECIPES[self.data]]
        recipe = recipe.resized(self.sizes) if self.sizes else recipe
        settings = dataclasses.replace(
            recipe.settings, epochs=self.epochs, schedule="constant", repair=self.repair.settings()
        )
        gain = recipe.gain if self.gain is None else checked_gain(self.gain)
        beta = recipe.beta if self.beta is None else self.beta
        return dataclasses.replace(recipe, settings=settings, beta=beta, gain=gain)

    def _followed(self, recipe: "Recipe", dataset: "Dataset", name: str, rule: "AbstractLearningRule", k: int) -> Rows:
        """The rows of one rule and network, from before the first epoch to after the last."""
        import jax

        from ..activations import activation
        from ..analysis import snapshot
        from ..training import train
        from ..vector_fields import AbstractVectorField, LayeredField

        key = jax.random.key(recipe.settings.seed)
        rho = activation(self.activation)
        field = recipe.settings.repair.kept(LayeredField.create(key, recipe.sizes, activation=rho, gain=recipe.gain))
        x, y = dataset.validation.x[: self.samples], dataset.validation.y[: self.samples]

        snapshots = [snapshot(field, rule, x, y)]

        def measure(field: AbstractVectorField) -> dict[str, Any]:
            snapshots.append(snapshot(field, rule, x, y))
            return {}

        run = train(field, rule, dataset, recipe.settings, measure=measure, progress=False)
        errors = ["", *(entry["validation_error"] for entry in run.history)]
        return [
            {"rule": name, "seed": k, "epoch": epoch, "validation_error": error} | row
            for epoch, (error, found) in enumerate(zip(errors, snapshots, strict=True))
            for row in found.rows()
        ]


def _column(rows: Rows, rule: str, name: str, layer: str = "all") -> np.ndarray:
    """One column of the table, (seed, epoch); NaN where it is empty."""
    kept = [row for row in rows if row["rule"] == rule and row["layer"] == layer]
    seeds = 1 + max(row["seed"] for row in kept)
    return np.array([np.nan if row[name] == "" else row[name] for row in kept], float).reshape(seeds, -1)


def picture(rows: Rows) -> Any:
    """The Axes of the picture of a table."""
    from .. import plotting

    rules, layers = (list(dict.fromkeys(row[name] for row in rows)) for name in ("rule", "layer"))
    by_rule = lambda name: {rule: _column(rows, rule, name) for rule in rules}  # noqa: E731
    cosine = {rule: np.stack([_column(rows, rule, "cosine", layer) for layer in layers], axis=-1) for rule in rules}
    epochs = np.array(sorted({row["epoch"] for row in rows}), float)
    return plotting.alignment_over_training(
        epochs, cosine, layers, by_rule("jacobian_asymmetry"), by_rule("weight_symmetry"), by_rule("validation_error")
    )


def lines(rows: Rows) -> list[str]:
    """Start and end of every rule, means over the seeds."""
    told = [f"{'rule':<18}  {'cosine':>17}  {'Jacobian asymmetry':>18}  {'weight symmetry':>17}  validation error"]
    for rule in dict.fromkeys(row["rule"] for row in rows):
        mean = {
            name: _column(rows, rule, name).mean(axis=0)
            for name in ("cosine", "jacobian_asymmetry", "weight_symmetry", "validation_error")
        }
        ends = [f"{mean[n][0]:.4f} > {mean[n][-1]:.4f}" for n in ("cosine", "jacobian_asymmetry", "weight_symmetry")]
        error = 100 * mean["validation_error"][-1]
        told.append(f"{rule:<18}  {ends[0]:>17}  {ends[1]:>18}  {ends[2]:>17}  {error:>14.1f} %")
    return told
