"""Learning rules side by side: the same networks, samples and settings, over several seeds."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..datasets import Dataset
from ..results import AbstractResult, known
from ..substrates.base import AbstractSubstrate
from .loop import train
from .metrics import ErrorKind
from .recipes import Recipe, recipe_for
from .run import TrainingRun
from .symmetry_repair import FEEDBACK, SymmetryRepair

_DECAY = 1e-3  # of Kolen-Pollack, where the recipe has none


@dataclasses.dataclass(frozen=True, repr=False)
class Comparison(AbstractResult):
    """What several rules end in.

    Attributes:
        runs: of every rule, one a seed, in the order of the seeds.
        seeds: of the networks and of the order of the samples.
    """

    stem: ClassVar[str] = "compare"
    runs: dict[str, list[TrainingRun]]
    seeds: tuple[int, ...]

    @property
    def error_kind(self) -> ErrorKind:
        """What the errors are."""
        return next(iter(self.runs.values()))[0].error_kind

    def errors(self, rule: str) -> np.ndarray:
        """The test errors of a rule, one a seed; NaN for a run that failed its own verdict."""
        return np.array([run.test_error if run.passed else np.nan for run in self.runs[rule]])

    def rows(self) -> list[dict[str, Any]]:
        """One row a rule, seed and epoch; the test error stands in the row of the epoch whose network was kept."""
        return [
            {
                "rule": rule,
                "seed": seed,
                "epoch": entry["epoch"],
                "train_error": known(entry["train_error"]),
                "validation_error": known(entry["validation_error"]),
                "test_error": known(run.test_error) if entry["epoch"] == run.best_epoch else None,
                "objective": known(entry["train_objective"]),
                "seconds": entry["seconds"],
            }
            for rule, runs in self.runs.items()
            for seed, run in zip(self.seeds, runs, strict=True)
            for entry in run.history
        ]

    def summary(self) -> dict[str, Any]:
        """Of every rule: mean and standard deviation of the test error over the seeds whose run passed, how many these
        are, the mean of the validation error, and seconds a run.
        """
        return {"seeds": list(self.seeds), "error_kind": self.error_kind.value, "rules": dict(map(self._of, self.runs))}

    def _of(self, rule: str) -> tuple[str, dict[str, Any]]:
        errors, runs = self.errors(rule), self.runs[rule]
        settled = errors[np.isfinite(errors)]
        kept = [run.history[run.best_epoch - 1]["validation_error"] for run in runs if run.passed]
        return rule, {
            "test_error": known(settled.mean()) if len(settled) else None,
            "spread": known(settled.std(ddof=1)) if len(settled) > 1 else None,
            "validation_error": known(np.mean(kept)) if kept else None,
            "passed": len(settled),
            "seconds": float(np.mean([sum(entry["seconds"] for entry in run.history) for run in runs])),
        }

    @property
    def failure(self) -> str | None:
        failed = [
            f"{rule} (seed {seed})"
            for rule, runs in self.runs.items()
            for seed, run in zip(self.seeds, runs, strict=True)
            if not run.passed
        ]
        told = f"{', '.join(failed[:5])}{', ...' if len(failed) > 5 else ''}"
        return f"{len(failed)} runs failed their own verdict and are in no mean: {told}" if failed else None

    def lines(self) -> list[str]:
        scale, _ = self.error_kind.axis
        width = max(map(len, self.runs))
        digits = 2 if self.error_kind.is_share else 4

        def shown(value: float | None) -> str:
            return "-" if value is None else f"{scale * value:.{digits}f}"

        unit = " (%)" if self.error_kind.is_share else ""
        told = [f"{'rule':{width}}  test error{unit}  spread  validation  passed  seconds"]
        for rule, found in self.summary()["rules"].items():
            columns = (shown(found["test_error"]), shown(found["spread"]), shown(found["validation_error"]))
            passed = f"{found['passed']}/{len(self.seeds)}"
            told.append(
                f"{rule:{width}}  {columns[0]:>{10 + len(unit)}}  {columns[1]:>6}  {columns[2]:>10}  {passed:>6}  "
                f"{found['seconds']:>7.1f}"
            )
        return told


def compare(
    dataset: Dataset,
    rules: Sequence[str] = ("eqprop", "aep"),
    *,
    recipe: Recipe | None = None,
    substrate: AbstractSubstrate | None = None,
    seeds: int | Sequence[int] = 5,
    out: str | os.PathLike | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Comparison:
    """Trains the same networks by several rules, with the same samples, order, learning rates and epochs.

    A rule's best learning rates are its own: what is compared is the rules within ONE recipe, so give each what suits
    it, or read the figures with that in mind.

    Args:
        dataset: what is learnt. Its split is the same for all seeds.
        rules: names of `RULES`, each with `:FEEDBACK` behind it where feedback weights change otherwise than by the
            rule: `eqprop:fixed` is feedback alignment, `eqprop:kolen_pollack` and `eqprop:tied` are others.
        recipe: network and settings; by default those of the data set.
        substrate: where the phases run; the recipe's own by default.
        seeds: how many, from the recipe's own on; or which. They draw the networks and the order of the samples.
        out: a folder for the checkpoints of the runs, in which a comparison that was broken off goes on.
        progress: called with (done, total) epochs.

    Raises:
        ValueError: for a rule or a feedback that is not known, no seed, and as `train`.
    """
    recipe = (recipe or recipe_for(dataset)).fitted_to(dataset)
    first = recipe.settings.seed
    chosen = tuple(range(first, first + seeds)) if isinstance(seeds, int) else tuple(seeds)
    if not chosen or not rules or len(set(rules)) < len(rules) or len(set(chosen)) < len(chosen):
        raise ValueError(f"rules={tuple(rules)}, seeds={seeds}: give at least one of each, and none twice")
    recipes = {name: _by(name, recipe) for name in rules}
    each, runs = recipe.settings.epochs, {name: [] for name in rules}
    total, done = each * len(chosen) * len(rules), 0

    def counted(_: Any) -> dict[str, Any]:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)
        return {}

    for seed in chosen:
        for name, by in recipes.items():
            one, end = by.changed(seed=seed), done + each
            folder = None if out is None else Path(out) / "runs" / f"{name.replace(':', '-')}-{seed}"
            runs[name].append(
                train(
                    one.field(),
                    one.learning_rule(substrate),
                    dataset,
                    one.settings,
                    out=folder,
                    resume=folder is not None,
                    measure=counted,
                    progress=False,
                )
            )
            done = end
    return Comparison(runs, chosen)


def _by(name: str, recipe: Recipe) -> Recipe:
    """The recipe with the rule and the feedback of this name."""
    rule, _, feedback = name.partition(":")
    repair = recipe.settings.repair
    if feedback:
        if feedback not in FEEDBACK:
            raise ValueError(f"{name}: unknown feedback {feedback!r}: choose one of {', '.join(FEEDBACK)}")
        decay = (repair.decay or _DECAY) if feedback == "kolen_pollack" else None
        repair = SymmetryRepair(feedback, decay, repair.homeostasis)
    changed = recipe.changed(rule=rule, repair=repair)
    changed.learning_rule()  # refuses what is not known before any work
    return changed
