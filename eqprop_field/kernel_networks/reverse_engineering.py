"""The report's experiment: a network's input and output are given, another one has to find weights that do the same."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from ..signals import Signal, Task
from .backward_tuning import BackwardTuning
from .baselines import LBFGS, Adam, LevenbergMarquardt
from .decay import Decay, fit_decay
from .growing import Growing, Restarting
from .network import KernelNetwork
from .nodes import AbstractUnit
from .problem import Problem
from .second_order import SecondOrder
from .tuning import AbstractTuner, Progress, Tuning
from .units import AIF, LNL, LSTM, Linear, SoftMax

UNITS: dict[str, type[AbstractUnit]] = {"L": Linear, "LNL": LNL, "AIF": AIF, "SoftMax": SoftMax, "LSTM": LSTM}
_REPORT = {"guarded": True, "iterations": 100}
_DMAX = 16  # of the authors' program
_MEAN, _SPREAD = -0.1, 0.1  # of the learner's first weights


def _extended(size: int, **limits: Any) -> AbstractTuner:
    """Backward tuning with memory, on growing beginnings, begun again up to five times as the learner was."""
    # pyright takes the limits of both, which are properties, for arguments
    tuner = BackwardTuning(strategy="remembering", iterations=50000, **limits)
    growing = Growing(tuner)  # pyright: ignore[reportCallIssue]
    return Restarting(growing, mean=_MEAN, spread=_SPREAD / size**0.5)  # pyright: ignore[reportCallIssue]


RULES: dict[str, Callable[..., AbstractTuner]] = {
    "backward": lambda size, **limits: BackwardTuning(second=(SecondOrder(most_kernels=_DMAX),), **_REPORT, **limits),
    "best_of": lambda size, **limits: BackwardTuning(
        strategy="best_of",
        second=(SecondOrder(most_kernels=_DMAX), SecondOrder(kappa="damped", most_kernels=_DMAX)),
        **_REPORT,
        **limits,
    ),
    "extended": _extended,
    "lbfgs": lambda size, **limits: LBFGS(iterations=50000, **limits),
    "lm": lambda size, **limits: LevenbergMarquardt(iterations=1000, **limits),
    "adam": lambda size, **limits: Adam(**limits),
}
LARGEST_LM = 32  # units; beyond, the Jacobian alone has tens of millions of entries


@dataclasses.dataclass(frozen=True, eq=False)
class ReverseEngineered:
    """One run of the table.

    Attributes:
        unit: the kind of units.
        size: how many.
        rule: what fitted.
        seed: of root, learner and input.
        nrmse: root mean square error over the standard deviation of the target: compare this.
        criterion: the least cost as the report counts it, over samples and ALL nodes, whose number differs by kind.
        decay: how the cost fell.
        tuning: the fit itself.
    """

    unit: str
    size: int
    rule: str
    seed: int
    nrmse: float
    criterion: float
    decay: Decay
    tuning: Tuning

    def row(self) -> dict[str, Any]:
        """The run as a row of the table."""
        return {
            "unit": self.unit,
            "size": self.size,
            "rule": self.rule,
            "seed": self.seed,
            "iterations": self.tuning.iterations,
            "criterion": self.criterion,
            "decay": self.decay.time,
            "bias": self.decay.bias,
            "nrmse": self.nrmse,
            "seconds": self.tuning.seconds,
            "simulations": self.tuning.simulations,
            "ended": self.tuning.advice,
        }


def reverse_problem(kind: str, size: int, seed: int) -> Problem:
    """A root network's input and output, and a learner that has to find them again.

    As the authors' program runs it: normal input, T = 2 N (N + 1) scored samples, the first unit observed, root weights
    normal with standard deviation 0.5/sqrt(N), root leaks 0 and sharpness 1; learner weights normal with mean -0.1 and
    standard deviation 0.1/sqrt(N), offsets held at 0, LNL leaks and AIF sharpness learnt, AIF leaks held at 0. The mean
    is -0.8/N for more than 8 linear units, which would explode.

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
    if kind != "LSTM":  # its offsets are held at 0 anyway
        affine = "x" if kind in ("L", "AIF") else "z"
        root, learner = root.put(affine, 0.0, np.s_[:, 0]), learner.hold(affine, 0.0, np.s_[:, 0])
    if kind == "LNL":
        root = root.put("l", 0.0)
    if kind == "AIF":
        root = root.put("v", 1.0).put("x", 0.0, np.s_[:, -1])
        learner = learner.hold("x", 0.0, np.s_[:, -1])
    inputs = jax.random.normal(of_input, (2 * size * (size + 1) + 1, 1))
    return Problem(learner, Task.of(inputs, root.run(Signal.sampled(inputs)).outputs[:, 0]))


def reverse_engineer(
    kind: str,
    size: int,
    rule: str,
    seed: int,
    *,
    nrmse: float = 5e-3,
    seconds: float = 60.0,
    progress: Progress | None = None,
) -> ReverseEngineered:
    """One run of the table.

    Args:
        kind: as for `reverse_problem`.
        size: N.
        rule: `backward` and `best_of`, the report's text and program: 100 iterations, guard, no second order above 16
            kernels; `extended`, backward tuning with what was added here: `remembering`, `Growing`, `Restarting`; and
            `lbfgs`, `lm`, `adam`.
        seed: of the draws.
        nrmse: an error that is good enough, relative to the target's standard deviation.
        seconds: the longest processor time.
        progress: is told (iterations done, at most).

    Raises:
        ValueError: for a kind or a rule that is not there.
    """
    if rule not in RULES:
        raise ValueError(f"rule {rule!r}: choose one of {', '.join(RULES)}")
    problem = reverse_problem(kind, size, seed)
    variance = float(np.var(np.asarray(problem.task.targets[1:])))
    found = RULES[rule](size, target=0.5 * nrmse**2 * variance, seconds=seconds).tune(problem, progress=progress)
    nodes = problem.network.plan.size
    return ReverseEngineered(
        unit=kind,
        size=size,
        rule=rule,
        seed=seed,
        nrmse=(2 * found.cost / variance) ** 0.5,
        criterion=found.cost / nodes,
        decay=fit_decay(found.costs / nodes),
        tuning=found,
    )
