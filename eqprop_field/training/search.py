"""Hyperparameter search: values of a recipe within declared ranges, chosen on the validation samples by Optuna."""

import contextlib
import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import equinox as eqx
import numpy as np

from .._files import locked_folder, write_json
from ..datasets import Dataset
from ..learning.base import AbstractLearningRule
from ..results import AbstractResult, known
from ..substrates.base import AbstractSubstrate
from .loop import NotFiniteError, train
from .metrics import ErrorKind, ErrorMeasure
from .recipes import Recipe, recipe_for

_FILE = "trials.json"


@dataclasses.dataclass(frozen=True)
class Range:
    """The values that one hyperparameter may have: numbers between two, or some that are listed.

    Attributes:
        low: the lowest number; high: the highest.
        log: whether their logarithm is drawn evenly.
        choices: the values themselves, instead.

    Raises:
        ValueError: for a range without values.
    """

    low: float = 0.0
    high: float = 0.0
    log: bool = False
    choices: tuple[float | str, ...] = ()

    def __post_init__(self) -> None:
        if not self.choices and not (-math.inf < self.low < self.high < math.inf and (self.low > 0 or not self.log)):
            raise ValueError(
                f"a range from {self.low:g} to {self.high:g}: give LOW:HIGH with LOW < HIGH, and LOW > 0 where the "
                "logarithm is drawn"
            )

    @classmethod
    def parse(cls, text: str) -> "Range":
        """The range that `LOW:HIGH`, `LOW:HIGH:log` or `A|B|C` says.

        Raises:
            ValueError: for anything else.
        """
        with contextlib.suppress(ValueError):
            if "|" in text:
                return cls(choices=tuple(map(_number_or_name, text.split("|"))))
            low, high, *log = text.split(":")
            if log in ([], ["log"]):
                return cls(float(low), float(high), bool(log))
        raise ValueError(f"{text!r} is no range: write LOW:HIGH, LOW:HIGH:log with LOW > 0, or values as A|B|C")


def _number_or_name(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text.strip()


@dataclasses.dataclass(frozen=True, repr=False)
class Search(AbstractResult):
    """What the trials of a search came to.

    Attributes:
        trials: of each its `values` by name, and the `validation_error`, `test_error` and `seconds` of the run; errors
            are None where it failed its own verdict.
        error_kind: what the errors are.
    """

    stem: ClassVar[str] = "search"
    trials: list[dict[str, Any]]
    error_kind: ErrorKind

    @property
    def best(self) -> dict[str, Any] | None:
        """The trial with the lowest validation error, the first of equals; None where all failed."""
        passed = [trial for trial in self.trials if trial["validation_error"] is not None]
        return min(passed, key=lambda trial: trial["validation_error"], default=None)

    def rows(self) -> list[dict[str, Any]]:
        """One row a trial: its number, values, validation error and seconds."""
        return [
            {"trial": k, **trial["values"], "validation_error": trial["validation_error"], "seconds": trial["seconds"]}
            for k, trial in enumerate(self.trials)
        ]

    def summary(self) -> dict[str, Any]:
        """How many trials there were and how many passed, and the values and errors of the best; only of that one the
        test error is told.
        """
        passed = sum(trial["validation_error"] is not None for trial in self.trials)
        best = self.best or dict.fromkeys(("values", "validation_error", "test_error"))
        told = {name: best[name] for name in ("values", "validation_error", "test_error")}
        return {"trials": len(self.trials), "passed": passed, "error_kind": self.error_kind.value, "best": told}

    @property
    def failure(self) -> str | None:
        return None if self.best else "every trial failed its own verdict: give other ranges, or looser tolerances"

    def lines(self) -> list[str]:
        told = self.summary()
        head = [f"{told['trials']} trials, {told['passed']} of which passed their own verdict"]
        if self.best is None:
            return head
        values = ", ".join(f"{name} {_text(value)}" for name, value in self.best["values"].items())
        errors = (self.error_kind.text(self.best[f"{part}_error"]) for part in ("validation", "test"))
        return [*head, f"the best: {values}", "validation error {}, test error {}".format(*errors)]


def _text(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"


def search(
    dataset: Dataset,
    ranges: Mapping[str, Range | str],
    *,
    recipe: Recipe | None = None,
    substrate: AbstractSubstrate | None = None,
    trials: int = 20,
    out: str | os.PathLike | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Search:
    """Trains with values that Optuna proposes (TPE), and tells which end in the lowest validation error.

    Args:
        dataset: what is learnt; its test samples have no say.
        ranges: by the names of a recipe's attributes or its settings', such as `beta`, `gain`, `input_noise` or `rule`;
            `learning_rates` is what the recipe's are multiplied by, `learning_rates.K` the rate of layer K from the
            output back. A range may be text, see `Range.parse`.
        recipe: what is not in a range; by default that of the data set.
        substrate: where the phases run; the recipe's own by default.
        trials: how many there are to be in the end, those of a search that was broken off among them.
        out: a folder for what was found so far, in which a search that was broken off goes on.
        progress: called with the trials done and their number.

    Raises:
        ValueError: without Optuna, for no trial, a name or range without meaning, and where `out` holds another search.
    """
    try:
        import optuna
    except ImportError as error:
        raise ValueError("Optuna is not installed: pip install 'eqprop-field[search]'") from error
    recipe = (recipe or recipe_for(dataset)).fitted_to(dataset)
    space = {name: Range.parse(each) if isinstance(each, str) else each for name, each in ranges.items()}
    if trials < 1 or not space:
        raise ValueError(f"trials={trials} over {len(space)} ranges: give at least one of each")
    for name, each in space.items():
        for value in each.choices or (each.low, each.high):
            with_values(recipe, {name: value}).learning_rule(substrate)  # refuses before any work
    what = _identity(dataset, recipe, space, recipe.learning_rule(substrate))
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study, path = optuna.create_study(), None if out is None else Path(out) / _FILE
    with contextlib.nullcontext() if path is None else locked_folder(path.parent):
        done = [] if path is None or not path.exists() else _kept(path, what, study, space)
        while len(done) < trials:
            study.sampler = optuna.samplers.TPESampler(seed=recipe.settings.seed + len(done))
            trial = study.ask(_distributions(space))
            done.append({"values": trial.params, **_tried(dataset, with_values(recipe, trial.params), substrate)})
            error = done[-1]["validation_error"]  # without one it is pruned: the sampler keeps away from it
            study.tell(trial, error, optuna.trial.TrialState.PRUNED if error is None else None)
            if path is not None:
                write_json(path, {"search": what, "trials": done})
            if progress is not None:
                progress(len(done), trials)
    return Search(done, ErrorMeasure.of_dataset(dataset).kind)


def with_values(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """The recipe with values of a search, by the names that `search` gives them.

    Raises:
        ValueError: for a name that no recipe has, or a value without meaning.
    """
    rates, others = list(recipe.settings.learning_rates), {}
    known_ones = vars(recipe) | vars(recipe.settings)
    for name, value in sorted(values.items()):  # the factor on all rates before the rates of layers
        what, _, layer = name.partition(".")
        if what != "learning_rates":
            if isinstance(now := known_ones.get(name, ""), bool) or not isinstance(now, int | float | str):
                raise ValueError(f"{name}: only numbers and names can be searched, such as beta, gain or rule")
            if isinstance(now, str) != isinstance(value, str) and name in known_ones:
                raise ValueError(f"{name}={value}: give {'names' if isinstance(now, str) else 'numbers'}")
            others[name] = round(value) if isinstance(now, int) else value
        elif not layer:
            rates = [float(value) * rate for rate in rates]
        elif layer.isdecimal() and int(layer) < len(rates):
            rates[int(layer)] = float(value)
        else:
            raise ValueError(f"{name}: this recipe has learning_rates.0 to learning_rates.{len(rates) - 1}")
    return recipe.changed(**others, learning_rates=tuple(rates))


def _distributions(space: Mapping[str, Range]) -> dict[str, Any]:
    """The ranges as Optuna has them."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    return {
        name: CategoricalDistribution(each.choices)
        if each.choices
        else FloatDistribution(each.low, each.high, each.log)
        for name, each in space.items()
    }


def _kept(path: Path, what: str, study: Any, space: Mapping[str, Range]) -> list[dict[str, Any]]:
    """The trials of a search that was broken off, which the study knows from then on.

    Raises:
        ValueError: for the file of another search, or a damaged one.
    """
    from optuna.trial import TrialState, create_trial

    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        other, trials = said["search"] != what, said["trials"]
        for trial in [] if other else trials:
            error = trial["validation_error"]
            state = TrialState.PRUNED if error is None else TrialState.COMPLETE
            options = {"params": trial["values"], "distributions": _distributions(space)}
            study.add_trial(create_trial(state=state, value=error, **options))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged ({error}): put back a good copy, or name another folder") from error
    if other:
        raise ValueError(f"{path} is of a search of other data, ranges or settings: name another folder")
    return trials


def _tried(dataset: Dataset, recipe: Recipe, substrate: AbstractSubstrate | None) -> dict[str, Any]:
    """The errors and seconds of a run; None for what a run that failed does not have."""
    try:
        run = train(recipe.field(), recipe.learning_rule(substrate), dataset, recipe.settings, progress=False)
    except NotFiniteError:
        return dict.fromkeys(("validation_error", "test_error", "seconds"))
    errors = run.history[run.best_epoch - 1]["validation_error"], run.test_error
    validation, test = map(known, errors) if run.passed else (None, None)
    seconds = sum(entry["seconds"] for entry in run.history)
    return {"validation_error": validation, "test_error": test, "seconds": seconds}


def _identity(dataset: Dataset, recipe: Recipe, space: Mapping[str, Range], rule: AbstractLearningRule) -> str:
    """What must be the same for a search to go on, as one word."""
    settings = dataclasses.asdict(recipe.settings)
    ranges = {name: dataclasses.asdict(each) for name, each in space.items()}
    said = [dataset.name, recipe.summary(), settings, ranges, eqx.tree_pformat(rule, short_arrays=False)]
    data = hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode())
    for part in (dataset.train, dataset.validation):
        data.update(np.ascontiguousarray(part.x).tobytes() + np.ascontiguousarray(part.y).tobytes())
    return data.hexdigest()[:16]
