"""`eqprop-field train`: trains a network on labelled data."""

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from .arguments import OptionalFloat, OptionalInt, OptionalSizes, Rates, Repair, checked_gain, checked_seed
from .command import AbstractCommand, Outcome

if TYPE_CHECKING:
    from ..learning import AbstractLearningRule
    from ..training import Recipe, TrainingRun


@dataclasses.dataclass(frozen=True, kw_only=True)
class Train(AbstractCommand):
    """Trains a network by local learning, and reports the error on samples it has never seen.

    Writes net.safetensors (the best epoch by validation error), checkpoint.safetensors, learning_curve.png and
    summary.json. MNIST and Fashion-MNIST need their four IDX files: name their folder with --data-dir.

    Example: eqprop-field train --data digits --sizes 64,32,10 --epochs 20 --out digits
    """

    data: Literal["digits", "mnist", "fashion"] = "digits"
    """What to learn; digits come with scikit-learn."""
    data_dir: Path | None = None
    """The folder with the IDX files of mnist or fashion."""
    sizes: OptionalSizes = ()
    """Neurons per layer, input first (default: 64,32,10 for digits, 784,512,10 for the others)."""
    rule: str = "eqprop"
    """The learning rule."""
    epochs: OptionalInt = None
    """How many times every sample is seen."""
    batch_size: OptionalInt = None
    """Samples a step."""
    learning_rates: Rates = ()
    """One rate, or one for each layer from the output back."""
    beta: OptionalFloat = None
    """Influence parameter; nudging is symmetric, +beta and -beta."""
    gain: OptionalFloat = None
    """Scale of the first weights relative to Glorot's; feedback weights are independent of the forward ones."""
    repair: Repair = dataclasses.field(default_factory=Repair)
    resume: bool = False
    """Go on from the checkpoint in --out."""
    out: Path = tyro.MISSING
    """The folder for the results."""

    def run(self) -> Outcome:
        self.choose_precision()

        from ..training import load_dataset, train
        from .files import folder_for

        recipe = self._recipe()
        rule = self._rule(recipe)
        dataset = load_dataset(self.data, self.data_dir, seed=recipe.settings.seed)
        folder = folder_for(self.out)
        run = train(
            recipe.field(),
            rule,
            dataset,
            recipe.settings,
            out=folder,
            resume=self.resume,
            progress=sys.stderr.isatty(),
        )
        summary = write_training(folder, run, what_was_trained(self.data, self.rule, recipe))
        return Outcome(
            summary, [*lines(run), f"written to        {folder}: {', '.join(summary['files'])}"], unsettled(run)
        )

    def _recipe(self) -> "Recipe":
        """The data set's recipe, with what was said on the command line."""
        from ..training import RECIPES

        recipe = RECIPES[self.data].seeded(checked_seed(self.seed))
        if self.sizes:
            recipe = recipe.resized(self.sizes)
        for_loop = {"epochs": self.epochs, "batch_size": self.batch_size, "learning_rates": self.learning_rates or None}
        settings = dataclasses.replace(recipe.settings, repair=self.repair.settings(), **_said(for_loop))
        gain = None if self.gain is None else checked_gain(self.gain)
        return dataclasses.replace(recipe, settings=settings, **_said({"beta": self.beta, "gain": gain}))

    def _rule(self, recipe: "Recipe") -> "AbstractLearningRule":
        from .rules import chosen

        return chosen((self.rule,), recipe.beta, recipe.rule().substrate)[self.rule]


def _said(options: dict[str, Any]) -> dict[str, Any]:
    """The options that were given."""
    return {name: value for name, value in options.items() if value is not None}


def what_was_trained(data: str, rule: str, recipe: "Recipe") -> dict[str, Any]:
    """What was trained, for the summary."""
    return {"data": data, "sizes": list(recipe.sizes), "rule": rule, "beta": recipe.beta, "gain": recipe.gain}


def write_training(folder: Path, run: "TrainingRun", said: dict[str, Any]) -> dict[str, Any]:
    """Writes the network, the learning curve and the summary, which holds `said` too; returns the summary."""
    from .. import plotting
    from ..storage import save_network
    from .files import write_summary

    save_network(folder / "net.safetensors", run.field)
    plotting.save(picture(run)[0].figure, folder / "learning_curve.png")
    files = ["net.safetensors", "checkpoint.safetensors", "learning_curve.png", "summary.json"]
    summary = said | run.summary() | {"out": str(folder), "files": files}
    write_summary(folder, summary)
    return summary


def picture(run: "TrainingRun") -> Any:
    """The Axes of the learning curve."""
    import numpy as np

    from .. import plotting

    columns = ("epoch", "train_objective", "train_error", "validation_error")
    epochs, objective, train_error, validation_error = (
        np.array([entry[column] for entry in run.history], float) for column in columns
    )
    return plotting.learning_curve(
        epochs, objective, train_error, validation_error, test_error=run.test_error, best_epoch=run.best_epoch
    )


def unsettled(run: "TrainingRun") -> str | None:
    """One sentence if too many samples did not settle."""
    if run.passed:
        return None
    return (
        f"{100 * run.unsettled:.1f} % of the last epoch's samples did not settle and taught nothing: "
        "lower --gain or the learning rates"
    )


def lines(run: "TrainingRun") -> list[str]:
    """What people read of a run."""
    first, last, best = run.history[0], run.history[-1], run.history[run.best_epoch - 1]
    seconds = sum(entry["seconds"] for entry in run.history)
    return [
        f"objective         {first['train_objective']:.4f} in epoch 1, "
        f"{last['train_objective']:.4f} in epoch {last['epoch']}",
        f"validation error  {100 * best['validation_error']:.1f} % in epoch {run.best_epoch}, the best",
        f"test error        {100 * run.test_error:.1f} %",
        f"time              {seconds:.1f} s for {len(run.history)} epochs",
    ]
