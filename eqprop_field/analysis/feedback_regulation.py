"""Feedback regulation: how networks settle, align with the gradient and learn, by the strength of their feedback."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import equinox as eqx
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int

from ..datasets import Dataset
from ..learning.base import AbstractLearningRule
from ..learning.implicit import ImplicitGradient
from ..results import AbstractResult, known
from ..substrates.solution import Verdict
from ..training import Recipe, TrainingRun, fitted, recipe_for, train
from ..vector_fields.base import AbstractVectorField
from .alignment import compare


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class FeedbackRegulation(AbstractResult):
    """Networks with the same weights and feedback of several strengths, before they are trained.

    Attributes:
        gains: g, the strengths, (gain,).
        layers: the layers' names, the output first.
        sweeps: that the free phase took, (gain, sample).
        verdicts: of the free phase, (gain, sample).
        cosine: of the mean update and the mean negative gradient of the samples whose phases all settled; NaN where
            none did, (gain, layer).
        runs: the training with each strength, where there was any.
    """

    stem: ClassVar[str] = "feedback_regulation"
    gains: tuple[float, ...]
    layers: tuple[str, ...]
    sweeps: Int[np.ndarray, "gain sample"]
    verdicts: Int[np.ndarray, "gain sample"]
    cosine: Float[np.ndarray, "gain layer"]
    runs: tuple[TrainingRun, ...] = ()

    @property
    def settled(self) -> Float[np.ndarray, " gain"]:
        """The share of the samples whose free phase settled."""
        return np.mean(self.verdicts == Verdict.converged, axis=1)

    def rows(self) -> list[dict[str, Any]]:
        """One row a strength and layer; `sweeps` is the mean, of the samples that did not settle the limit.

        Errors are those of `TrainingRun`, None without training and where a run failed its own verdict.
        """
        return [
            {
                "feedback_gain": gain,
                "settled": self.settled[k],
                "sweeps": self.sweeps[k].mean(),
                "validation_error": self._error(k, "validation"),
                "test_error": self._error(k, "test"),
                "layer": layer,
                "cosine": known(self.cosine[k, i]),
            }
            for k, gain in enumerate(self.gains)
            for i, layer in enumerate(self.layers)
        ]

    def _error(self, k: int, part: str) -> float | None:
        if not self.runs or not self.runs[k].passed:
            return None
        run = self.runs[k]
        return run.test_error if part == "test" else run.history[run.best_epoch - 1]["validation_error"]

    def summary(self) -> dict[str, Any]:
        """Of every strength: the share that settled, sweeps, errors, and the cosines from the output back."""
        same = ("settled", "sweeps", "validation_error", "test_error")
        firsts = self.rows()[:: len(self.layers)]
        found = {
            f"{row['feedback_gain']:g}": {name: row[name] for name in same} | {"cosine": list(map(known, cosine))}
            for row, cosine in zip(firsts, self.cosine, strict=True)
        }
        return {"samples": self.sweeps.shape[1], "layers": list(self.layers), "feedback_gains": found}

    @property
    def failure(self) -> str | None:
        return None if self.settled.any() else "no sample settled at any strength: lower the gain, or the strengths"

    def lines(self) -> list[str]:
        told = ["gain     settled  sweeps  error   cosine with the gradient, layer by layer from the output"]
        for k, gain in enumerate(self.gains):
            error = self._error(k, "test")
            cells = " ".join("     -" if np.isnan(c) else f"{c:6.4f}" for c in self.cosine[k])
            shown = "-" if error is None else self.runs[k].error_kind.text(error).split(" (")[0]
            told.append(f"{gain:<8g} {self.settled[k]:6.0%} {self.sweeps[k].mean():8.1f}  {shown:>6}  {cells}")
        return told


def regulate_feedback(
    dataset: Dataset,
    gains: Sequence[float] = (1.0, 0.3, 0.1, 0.01),
    *,
    recipe: Recipe | None = None,
    samples: int = 20,
    tol: float = 1e-8,
    epochs: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> FeedbackRegulation:
    r"""Draws one network with feedback of several strengths g, and measures each; and trains it, if that is asked for.

    $$\mu_i = W_{i,i+1}\,\rho(s_{i+1}) + g\,W_{i,i-1}\,\rho(s_{i-1}) + b_i - s_i$$

    Measured are the sweeps of the free phase, to `tol` or 2000 of them, and the cosine of the update with the negative
    gradient in every layer. An error arrives in layer i about g^i times as strong, so that many layers and a small g
    need float64; the update makes up for it. Source: arXiv 2508.11659.

    Args:
        dataset: what is learnt, and whose first validation samples are measured on.
        gains: the strengths g.
        recipe: the network, the rule and the settings; by default those of the data set.
        samples: how many are measured on.
        tol: the residual at which their phases are settled; training has the recipe's.
        epochs: of the training; 0 for none.
        progress: called with the strengths done and their number.

    Raises:
        ValueError: for no strength or sample, a strength that is not above 0, and a network without layers.
    """
    recipe = (recipe or recipe_for(dataset)).fitted_to(dataset)
    if not gains or samples < 1 or epochs < 0:
        raise ValueError("give at least one strength and one sample, and no fewer than 0 epochs")
    measured = recipe.changed(tol=tol, max_iterations=2000).learning_rule()
    truth, found, runs = ImplicitGradient(cost=measured.cost), [], []
    field = recipe.field()
    for k, gain in enumerate(gains, 1):
        one = recipe.changed(feedback_gain=gain, epochs=epochs or None)
        field = one.field()
        part = fitted(dataset, field, measured.cost).validation
        found.append(_measured(field, measured, truth, part.x[:samples], part.y[:samples]))
        if epochs:
            runs.append(train(field, one.learning_rule(), dataset, one.settings, progress=False))
        if progress is not None:
            progress(k, len(gains))
    cosine, sweeps, verdicts = (np.stack([np.asarray(each) for each in column]) for column in zip(*found, strict=True))
    layers = tuple(field.layers())
    return FeedbackRegulation(tuple(gains), layers, sweeps, verdicts, cosine[:, 1:], tuple(runs))


@eqx.filter_jit
def _measured(
    field: AbstractVectorField, rule: AbstractLearningRule, truth: ImplicitGradient, x: ArrayLike, y: ArrayLike
) -> tuple[Array, Array, Array]:
    """The cosines of the whole and of every layer, and the free phase's sweeps and verdicts."""
    estimate = rule.estimate(field, x, y, throw=False)
    free = eqx.tree_at(lambda free: free.verdict, estimate.free, estimate.verdict)  # the same samples in both
    cosine, _ = compare(estimate.gradient, truth.at(field, x, y, free).gradient, estimate.verdict.min())
    return cosine, estimate.free.steps, estimate.free.verdict
