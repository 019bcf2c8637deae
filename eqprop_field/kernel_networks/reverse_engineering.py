"""Reverse engineering, the report's experiment: a network is fitted to the input and output of another one."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import numpy as np

from ..results import AbstractResult
from ..signals import Signal, Task
from .backward_tuning import BackwardTuning
from .baselines import LBFGS, Adam, LevenbergMarquardt
from .decay import Decay, fit_decay
from .meta_optimisers import LengthCurriculum, MultiStart
from .network import KernelNetwork
from .nodes import AbstractUnit
from .optimiser import AbstractOptimiser, OptimisationResult, Progress
from .problem import Problem
from .second_order import SecondOrder
from .units import AIF, LNL, LSTM, Linear, SoftMax

UNITS: dict[str, type[AbstractUnit]] = {"L": Linear, "LNL": LNL, "AIF": AIF, "SoftMax": SoftMax, "LSTM": LSTM}
_REPORT = {"limit_errors": True, "iterations": 100}
_DMAX = 16  # of the authors' program
_MEAN, _SPREAD = -0.1, 0.1  # of the learner's first weights


def _extended(size: int, **limits: Any) -> AbstractOptimiser:
    """Quasi-Newton backward tuning, with a curriculum over lengths and up to five starts."""
    # pyright takes the limits of both, which are properties, for arguments
    optimiser = BackwardTuning(strategy="quasi_newton", iterations=50000, **limits)
    curriculum = LengthCurriculum(optimiser)  # pyright: ignore[reportCallIssue]
    return MultiStart(curriculum, mean=_MEAN, spread=_SPREAD / size**0.5)  # pyright: ignore[reportCallIssue]


RULES: dict[str, Callable[..., AbstractOptimiser]] = {
    "backward": lambda size, **limits: BackwardTuning(
        strategy="second_then_first", second_order=(SecondOrder(most_kernels=_DMAX),), **_REPORT, **limits
    ),
    "best_of": lambda size, **limits: BackwardTuning(
        strategy="best_of",
        second_order=(SecondOrder(most_kernels=_DMAX), SecondOrder(kappa="damped", most_kernels=_DMAX)),
        **_REPORT,
        **limits,
    ),
    "extended": _extended,
    "lbfgs": lambda size, **limits: LBFGS(iterations=50000, **limits),
    "lm": lambda size, **limits: LevenbergMarquardt(iterations=1000, **limits),
    "adam": lambda size, **limits: Adam(**limits),
}


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class ReverseEngineeringResult(AbstractResult):
    """The result of one run.

    Attributes:
        unit: the kind of units.
        size: how many.
        rule: the optimiser.
        seed: of root, learner and input.
        nrmse: root mean square error over the standard deviation of the target: compare this.
        criterion: the least cost as the report counts it, over samples and ALL nodes, whose number differs by kind.
        decay: of the cost; NaN where an optimiser's schedule came to its end, whose decay it would be.
        fit: the fit itself.
    """

    unit: str
    size: int
    rule: str
    seed: int
    nrmse: float
    criterion: float
    decay: Decay
    fit: OptimisationResult
    stem: ClassVar[str] = "reverse-engineering"

    def rows(self) -> list[dict[str, Any]]:
        """The run as the one row of a table."""
        return [self.summary()]

    def summary(self) -> dict[str, Any]:
        return {
            "unit": self.unit,
            "size": self.size,
            "rule": self.rule,
            "seed": self.seed,
            "iterations": self.fit.iterations,
            "criterion": self.criterion,
            "decay": self.decay.time,
            "bias": self.decay.bias,
            "nrmse": self.nrmse,
            "seconds": self.fit.seconds,
            "simulations": self.fit.simulations,
            "ended": self.fit.advice,
        }

    @property
    def failure(self) -> str | None:
        return self.fit.failure


def reverse_problem(kind: str, size: int, seed: int) -> Problem:
    """A root network's input and output, and a learner that is to reproduce them.

    As the authors' program runs it: normal input, T = 2 N (N + 1) scored samples, the first unit observed, root weights
    normal with standard deviation 0.5/sqrt(N), root leaks 0 and sharpness 1; learner weights normal with mean -0.1 and
    standard deviation 0.1/sqrt(N), offsets frozen at 0, LNL leaks and AIF sharpness learnt, AIF leaks frozen at 0. The
    mean is -0.8/N for more than 8 linear units, which would explode.

    Args:
        kind: L, LNL, AIF, SoftMax or LSTM.
        size: N.
        seed: another one, another root, learner and input.

    Raises:
        ValueError: for a kind that is not one of these, or fewer than one unit.
    """
    if kind not in UNITS:
        raise ValueError(f"unit {kind!r}: choose one of {', '.join(UNITS)}")
    unit = UNITS[kind](units=size)
    of_input, of_root, of_learner = jax.random.split(jax.random.key(seed), 3)
    root = KernelNetwork.create(unit, of_root)
    mean = max(_MEAN, -0.8 / size) if kind == "L" else _MEAN
    learner = KernelNetwork.create(unit, of_learner, mean=mean, spread=_SPREAD / size**0.5)
    if kind != "LSTM":  # its offsets are frozen at 0 anyway
        affine = "x" if kind in ("L", "AIF") else "z"
        root, learner = root.with_weights(affine, 0.0, np.s_[:, 0]), learner.freeze(affine, 0.0, np.s_[:, 0])
    if kind == "LNL":
        root = root.with_weights("l", 0.0)
    if kind == "AIF":
        root = root.with_weights("v", 1.0).with_weights("x", 0.0, np.s_[:, -1])
        learner = learner.freeze("x", 0.0, np.s_[:, -1])
    inputs = jax.random.normal(of_input, (2 * size * (size + 1) + 1, 1))
    return Problem(learner, Task.of(inputs, root.run(Signal.sampled(inputs)).outputs[:, 0]))


def reverse_engineer_run(
    kind: str,
    size: int,
    rule: str,
    seed: int,
    *,
    nrmse: float = 5e-3,
    seconds: float = 60.0,
    progress: Progress | None = None,
) -> ReverseEngineeringResult:
    """Fits a learner to the input and output of a root network: one run of the table.

    Args:
        kind: as for `reverse_problem`.
        size: N.
        rule: `backward` and `best_of`, the report's text and program: 100 iterations, error limiter, no second order
            above 16 kernels; `extended`, backward tuning with the additions of this package: `quasi_newton`,
            `LengthCurriculum`, `MultiStart`; and `lbfgs`, `lm`, `adam`.
        seed: of the draws.
        nrmse: an error that is good enough, relative to the target's standard deviation.
        seconds: the longest processor time.
        progress: called with (iterations done, at most).

    Raises:
        ValueError: for a kind or a rule that is not there.
    """
    if rule not in RULES:
        raise ValueError(f"rule {rule!r}: choose one of {', '.join(RULES)}")
    problem = reverse_problem(kind, size, seed)
    variance = float(np.var(np.asarray(problem.task.targets[1:])))
    optimiser = RULES[rule](size, target=0.5 * nrmse**2 * variance, seconds=seconds)
    fit = optimiser.fit(problem, progress=progress)
    nodes = problem.network.structure.size
    spent = optimiser.scheduled and fit.iterations > optimiser.iterations  # the last costs fall as the rate does
    decay = Decay(np.nan, np.nan) if spent else fit_decay(fit.costs)
    return ReverseEngineeringResult(
        unit=kind,
        size=size,
        rule=rule,
        seed=seed,
        nrmse=(2 * fit.cost / variance) ** 0.5,
        criterion=fit.cost / nodes,
        decay=decay._replace(bias=decay.bias / nodes),
        fit=fit,
    )
