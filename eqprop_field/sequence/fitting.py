"""Fitting: a model and a learner for a user's own signal, with scales, washout, splits and early stopping."""

import dataclasses
import warnings
from typing import Any, NamedTuple

import numpy as np

from ..datasets import DataWarning
from ..kernel_networks import AbstractOptimiser, KernelNetwork
from ..results import known
from ..signals import Task
from ..vector_fields import AbstractVectorField
from .fitted import FitReport, FittedModel, Stream, pair, without_washout
from .learners import LearnerSettings, default_learner, learn
from .liquid import Liquid
from .online_rule import AbstractOnlineRule
from .series import Scale, Series, SeriesScore

_FREE = 0.1  # of the range of bounded states that targets leave free on either side
_WIDTH = 1 / 3  # the standard deviation of a kernel network's targets, whose units saturate at 1


class _Part(NamedTuple):
    """A part of all series.

    Attributes:
        targets: of every series; missing outside of the part.
        ends: the samples of every series up to the end of the part.
    """

    targets: list[Series]
    ends: list[int]

    def task(self, inputs: list[Series], scale: Scale, step: float) -> Task:
        """The part as a task, its inputs from the beginning on."""
        both = list(zip(inputs, self.targets, self.ends, strict=True))
        return Task.stack([u[:end] for u, _, end in both], [scale.scaled(o[:end]) for _, o, end in both], step)


def fit(
    model: Any,
    inputs: Any,
    targets: Any,
    *,
    learner: str | AbstractOptimiser | AbstractOnlineRule | None = None,
    step: float = 1.0,
    scale: bool = True,
    washout: int = 0,
    validation: float = 0.2,
    test: float = 0.0,
    **settings: Any,
) -> FittedModel:
    """Fits a model to a signal.

    The last `test` share of every series is kept for the test, and the `validation` share before it chooses among what
    the learner has found: the ridge, or the weights of the best iteration. Every series begins at rest.

    Args:
        model: a model, or a list of them, of which the best on the validation part is kept (the first one without
            such a part). A vector field (Euler steps of the time between samples), a `KernelNetwork`, an echo state
            network or a `Liquid`, with as many inputs and outputs as the data.
        inputs: (time,), (time, inputs), a data frame, or a list of these for several series.
        targets: likewise; NaN is a missing target.
        learner: `ridge` for reservoirs and liquids; `backward-tuning`, `lbfgs` or `adam` for kernel networks; `bptt`,
            `rtrl` or `aprl` for fields; or an optimiser or online rule itself. The first of each by default.
        step: the time between samples, in the unit of the model's time constants.
        scale: whether inputs and targets are brought to mean 0 and standard deviation 1; targets of a kernel network
            to 1/3, those of a field with bounded states within these bounds; a liquid's inputs are left as they are.
        washout: samples at the beginning of every series that are neither learnt nor scored.
        validation: a share of every series, 0 for none.
        test: another share.
        settings: of the learner, as `LearnerSettings` has them.

    Raises:
        ValueError: for data, shares, a learner or settings that do not fit the model or each other.
    """
    candidates = list(model) if isinstance(model, list | tuple) else [model]
    if not candidates:
        raise ValueError("there is no model in the list: give at least one")
    if validation == 0:
        candidates = candidates[:1]
    x, y = pair(inputs, targets)
    if not all(np.isfinite(one).all() for one in x):
        raise ValueError("the inputs hold NaN or infinity: a model cannot be driven by that, fill the gaps")
    if validation == test == 0:
        message = "no part is kept for validation or test, so the error is that of the samples that are learnt from"
        warnings.warn(message, DataWarning, stacklevel=2)
    chosen = LearnerSettings.of(settings)
    data = _Data(x, y, _parts(y, washout, validation, test), step, scale, washout)
    found = [
        data.fitted(one, learner, _sharing(chosen, number, len(candidates))) for number, one in enumerate(candidates)
    ]
    return found[0] if len(found) == 1 else _best(found)


def _sharing(settings: LearnerSettings, number: int, models: int) -> LearnerSettings:
    """The settings of one of several models, whose progress is a part of the whole."""
    if (whole := settings.progress) is None:
        return settings
    return settings._replace(progress=lambda done, most: whole(number * most + done, models * most))


def _best(found: list[FittedModel]) -> FittedModel:
    """The best on the validation part, the first of those that are alike; its history is that of all."""
    reports = [one.report for one in found if one.report is not None]
    judged = [np.inf if report.nmse["validation"] is None else report.nmse["validation"] for report in reports]
    number = int(np.argmin(judged))
    history = tuple({"model": k, **row} for k, report in enumerate(reports) for row in report.history)
    ended = f"{reports[number].ended}; model {number} of {len(found)}, the best on the validation part"
    report = dataclasses.replace(reports[number], ended=ended, history=history)
    return dataclasses.replace(found[number], report=report)


class _Data(NamedTuple):
    """Series, their parts, and what `fit` was told of them."""

    inputs: list[Series]
    targets: list[Series]
    parts: dict[str, _Part]
    step: float
    scale: bool
    washout: int

    def fitted(
        self, model: Any, learner: str | AbstractOptimiser | AbstractOnlineRule | None, settings: LearnerSettings
    ) -> FittedModel:
        """One model, fitted."""
        learner = default_learner(model) if learner is None else learner
        train, judged = self.parts["train"], self.parts["validation"]
        learnt = [one[:end] for one, end in zip(self.inputs, train.ends, strict=True)]
        input_scale, output_scale = _scales(model, learnt, train.targets, self.scale)
        scaled = [input_scale.scaled(one) for one in self.inputs]
        known_targets = any(np.isfinite(one).any() for one in judged.targets)
        validated = judged.task(scaled, output_scale, self.step) if known_targets else None
        found = learn(model, learner, train.task(scaled, output_scale, self.step), validated, settings)
        fitted = FittedModel(found.model, input_scale, output_scale, self.step, self.washout)
        outputs = [Stream(fitted).predict(one) for one in self.inputs]
        name = learner if isinstance(learner, str) else type(learner).__name__
        nmse = {part: known(SeriesScore(kept.targets, outputs).nmse) for part, kept in self.parts.items()}
        whole = SeriesScore([without_washout(one, self.washout) for one in self.targets], outputs)
        return dataclasses.replace(fitted, report=FitReport(name, found.ended, nmse, tuple(found.history), whole))


def _parts(targets: list[Series], washout: int, validation: float, test: float) -> dict[str, _Part]:
    """The parts, by their name."""
    if not (0 <= validation < 1 and 0 <= test < 1 and validation + test < 1):
        raise ValueError(
            f"validation={validation}, test={test}: give shares from 0, which leave something to learn from"
        )
    lasts = [len(one) - round(test * len(one)) for one in targets]
    ends = [last - round(validation * len(one)) for one, last in zip(targets, lasts, strict=True)]
    if not 0 <= washout < min(ends) - 1:
        raise ValueError(f"washout={washout}: leave at least two of the {min(ends)} samples that are learnt from")
    wholes = [len(one) for one in targets]
    edges = {"train": ([washout] * len(ends), ends), "validation": (ends, lasts), "test": (lasts, wholes)}
    parts = {
        name: _Part([_only(*each) for each in zip(targets, first, last, strict=True)], last)
        for name, (first, last) in edges.items()
    }
    if not np.isfinite(np.concatenate(parts["train"].targets)).any(axis=0).all():
        raise ValueError("an output has no known target in the part that is learnt from: give more samples")
    return parts


def _only(targets: Series, first: int, last: int) -> Series:
    """The targets of these samples; all others are missing."""
    kept = np.full_like(targets, np.nan)
    kept[first:last] = targets[first:last]
    return kept


def _scales(model: Any, inputs: list[Series], targets: list[Series], scale: bool) -> tuple[Scale, Scale]:
    inputs_as_they_are = Scale.none(inputs[0].shape[1])
    if not scale:
        return inputs_as_they_are, Scale.none(targets[0].shape[1])
    read = inputs_as_they_are if isinstance(model, Liquid) else Scale.standard(inputs)
    low, high = model.leaf_bounds[0] if isinstance(model, AbstractVectorField) else (-np.inf, np.inf)
    if not np.isfinite(high - low):
        return read, Scale.standard(targets, _WIDTH if isinstance(model, KernelNetwork) else 1.0)
    margin = _FREE * (high - low)
    return read, Scale.between(targets, low + margin, high - margin)
