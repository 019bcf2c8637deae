"""Standard tasks beside each other: what every learner of signals makes of them, and linear and quadratic lags."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..datasets import SIGNAL_TASKS, SignalTask, signal_task
from ..results import AbstractResult, known
from .fitting import fit
from .learners import RIDGES
from .named_models import signal_model
from .readout import Readout
from .series import SeriesScore

_LAGS = 20  # samples that the baselines see
_PARTS = {"washout": 50, "validation": 0.2, "test": 1 / 3}


class _Learner(NamedTuple):
    """A model by its name, how many units it has, and how it learns."""

    model: str
    units: int
    learner: str


_BASELINES = ("linear-lags", "quadratic-lags")
_MODELS = {
    "esn": _Learner("esn", 300, "ridge"),
    "liquid": _Learner("liquid", 300, "ridge"),
    "bptt": _Learner("graph", 20, "bptt"),
    "rtrl": _Learner("graph", 20, "rtrl"),
    "aprl": _Learner("graph", 20, "aprl"),
    "backward-tuning": _Learner("lnl", 20, "backward-tuning"),
    "lbfgs": _Learner("lnl", 20, "lbfgs"),
}
SIGNAL_LEARNERS = (*_BASELINES, *_MODELS)
"""What `compare_on_signals` compares: least squares on the last 20 inputs, and on all their products of two; echo state
networks of 300 neurons (of eight, the best on the validation part); a liquid of 300; a fully recurrent field of 20
neurons by BPTT, RTRL and APRL; 20 linear-nonlinear units by backward tuning and by L-BFGS. Each as `fit` has it."""


@dataclasses.dataclass(frozen=True, repr=False)
class SignalComparison(AbstractResult):
    """What learners made of the tasks.

    Attributes:
        runs: one row a task, learner and seed: `nmse`, of the test part, None for a run that exploded; `seconds`, and
            the number of `parameters` that were learnt.
    """

    stem: ClassVar[str] = "signals"
    runs: tuple[dict[str, Any], ...]

    def rows(self) -> list[dict[str, Any]]:
        return [run | {"nrmse": None if run["nmse"] is None else run["nmse"] ** 0.5} for run in self.runs]

    @property
    def tasks(self) -> list[str]:
        return list(dict.fromkeys(run["task"] for run in self.runs))

    @property
    def learners(self) -> list[str]:
        return list(dict.fromkeys(run["learner"] for run in self.runs))

    def errors(self, task: str, learner: str) -> np.ndarray:
        """The NMSE of every seed; infinite for a run that exploded."""
        found = [run["nmse"] for run in self.runs if (run["task"], run["learner"]) == (task, learner)]
        return np.array([np.inf if nmse is None else nmse for nmse in found])

    def medians(self) -> np.ndarray:
        """The median NMSE over the seeds, (tasks, learners)."""
        return np.array([[np.median(self.errors(task, one)) for one in self.learners] for task in self.tasks])

    def summary(self) -> dict[str, Any]:
        """The median NMSE of every task and learner, None where most runs exploded."""
        pairs = zip(self.tasks, self.medians(), strict=True)
        table = {task: dict(zip(self.learners, map(known, row), strict=True)) for task, row in pairs}
        return {"runs": len(self.runs), "median_nmse": table}

    def lines(self) -> list[str]:
        width = max(map(len, self.tasks))
        columns = [max(8, len(one)) for one in self.learners]
        head = "  ".join(f"{one:>{n}}" for one, n in zip(self.learners, columns, strict=True))
        told = [f"{'median NMSE':{width}}  {head}"]
        for task, row in zip(self.tasks, self.medians(), strict=True):
            pairs = zip(row, columns, strict=True)
            cells = (f"{nmse:>{n}.3g}" if np.isfinite(nmse) else f"{'-':>{n}}" for nmse, n in pairs)
            told.append(f"{task:{width}}  {'  '.join(cells)}")
        return told


def compare_on_signals(
    tasks: Sequence[str] = tuple(SIGNAL_TASKS),
    learners: Sequence[str] = ("linear-lags", "quadratic-lags", "esn"),
    *,
    samples: int = 3000,
    seeds: int | Sequence[int] = 5,
    progress: Callable[[int, int], None] | None = None,
    **settings: Any,
) -> SignalComparison:
    """Lets every learner learn every task, each seed another series and another model.

    The last third of a series is the test part, a fifth before it the validation part; the first 50 samples are neither
    learnt nor scored.

    Args:
        tasks: names of `SIGNAL_TASKS`.
        learners: names of `SIGNAL_LEARNERS`.
        samples: of every series.
        seeds: how many, from 0 on; or which.
        progress: called with (done, total) runs.
        settings: of all learners, as `LearnerSettings` has them, such as `iterations`; each has its own by default.

    Raises:
        ValueError: for a name that is not there, no seed, and fewer than 300 samples.
    """
    for what, named, there in (("task", tasks, SIGNAL_TASKS), ("learner", learners, SIGNAL_LEARNERS)):
        if unknown := [name for name in named if name not in there]:
            raise ValueError(f"there is no {what} {unknown[0]!r}: choose of {', '.join(there)}")
    chosen = tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds)
    if not (chosen and tasks and learners) or samples < 300:
        raise ValueError(f"samples={samples}, seeds={seeds}: give at least 300, and one task, learner and seed")
    runs, total = [], len(tasks) * len(learners) * len(chosen)
    for task in tasks:
        for seed in chosen:
            series = signal_task(task, samples, seed=seed)
            for learner in learners:
                begun = time.perf_counter()
                if learner in _BASELINES:
                    nmse, parameters = _lagged(learner, series)
                else:
                    nmse, parameters = _fitted(learner, series, seed, settings)
                seconds = time.perf_counter() - begun
                key = {"task": task, "learner": learner, "seed": seed}
                runs.append(key | {"nmse": known(nmse), "seconds": seconds, "parameters": parameters})
                if progress is not None:
                    progress(len(runs), total)
    return SignalComparison(tuple(runs))


def _fitted(name: str, series: SignalTask, seed: int, settings: dict[str, Any]) -> tuple[float, int]:
    chosen = _MODELS[name]
    channels = {"inputs": series.inputs.shape[1], "outputs": series.targets.shape[1]}
    model = signal_model(chosen.model, units=chosen.units, seed=seed, **channels)
    fitted = fit(model, series.inputs, series.targets, learner=chosen.learner, **_PARTS, **settings)
    assert fitted.report is not None
    error = fitted.report.nmse["test"]
    readout = getattr(fitted.model, "readout", None)
    learnt = jax.tree.leaves(eqx.filter(readout if readout is not None else fitted.model, eqx.is_inexact_array))
    return np.nan if error is None else error, sum(leaf.size for leaf in learnt)


def _lagged(name: str, series: SignalTask) -> tuple[float, int]:
    """Ridge regression on the last inputs, and on all products of two of these; its ridge by the validation part."""
    samples, n = series.inputs.shape
    padded = np.concatenate([np.zeros((_LAGS - 1, n)), series.inputs])
    lags = np.stack([padded[k : k + samples] for k in range(_LAGS)], axis=2).reshape(samples, -1)
    if name == "quadratic-lags":
        first, second = np.triu_indices(lags.shape[1])
        lags = np.concatenate([lags, lags[:, first] * lags[:, second]], axis=1)
    last = samples - round(_PARTS["test"] * samples)
    end = last - round(_PARTS["validation"] * samples)
    unit = float(np.sum((lags - lags.mean(axis=0)) ** 2)) / lags.shape[1]
    learnt = slice(_PARTS["washout"], end)

    def error(readout: Readout, first: int, last: int) -> float:
        outputs = np.asarray(readout(jnp.asarray(lags[first:last])), float)
        return SeriesScore([series.targets[first:last]], [outputs]).nmse

    found = [Readout.fit(lags[learnt], series.targets[learnt], ridge=one * unit) for one in RIDGES]
    best = min(found, key=lambda readout: error(readout, end, last))
    return error(best, last, samples), best.weights.size + best.biases.size
