"""`eqprop-field fit`: a model is fitted to a signal of the user's own."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from .command import AbstractExperiment, Outcome
from .numbers import AtLeastOne, OptionalPositive, Positive, at_least


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fit(AbstractExperiment):
    """Fits a model to a signal: columns of a CSV file, or arrays of an npz file.

    The end of the series is kept for validation and test. Writes model.safetensors, for `predict`; fit.csv (every
    iteration), outputs.csv, fit.png and summary.json. Exits with 1 where the model is worse than the mean target.

    Example: eqprop-field fit --data series.csv --inputs u --targets y --model esn --out fitted
    """

    data: Path = tyro.MISSING
    """A .csv file whose first line names its columns, or a .npz file."""
    inputs: str = tyro.MISSING
    """Names of the inputs, with commas between."""
    targets: str = tyro.MISSING
    """Names of the targets; an empty cell is a missing target."""
    model: Literal["esn", "graph", "linear", "lnl", "lstm", "aif", "liquid"] = "esn"
    """The kind of model."""
    units: AtLeastOne = 50
    """Its neurons or units."""
    learner: Literal["ridge", "backward-tuning", "lbfgs", "adam", "bptt", "rtrl", "aprl"] | None = None
    """How it learns. By default ridge for esn and liquid, bptt for graph, backward-tuning for all others."""
    iterations: Annotated[int | None, at_least(1), tyro.conf.arg(help_behavior_hint="(default: the learner's)")] = None
    """Steps of the learner at most."""
    rate: OptionalPositive = None
    """The learning rate, where the learner has one."""
    step: Positive = 1.0
    """Time between samples, in units of the model's time constants."""
    washout: Annotated[int, at_least(0)] = 0
    """Samples at the beginning that are neither learnt nor scored."""
    validation: float = 0.2
    """The share of the series for validation."""
    test: float = 0.2
    """The share after it for the test."""

    def run(self) -> Outcome:
        self.choose_precision()
        from .._progress import bar
        from ..datasets import read_series
        from ..sequence import fit, signal_model

        folder = self.folder()
        x, y = read_series(self.data, self.inputs.split(","), self.targets.split(","))
        model = signal_model(self.model, inputs=x.shape[1], outputs=y.shape[1], units=self.units, seed=self.seed)
        with bar("fitting") as progress:
            fitted = fit(
                model,
                x,
                y,
                learner=self.learner,
                step=self.step,
                washout=self.washout,
                validation=self.validation,
                test=self.test,
                iterations=self.iterations,
                rate=self.rate,
                progress=progress,
            )
        fitted.save(folder / "model.safetensors")
        assert fitted.report is not None  # only a file may lack it
        return Outcome.saved(fitted.report, folder, model="model.safetensors")
