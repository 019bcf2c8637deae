"""Optimisers: the interface of every fit of a kernel network to a task, the record of a run, and its result."""

import abc
import contextlib
import copy
import dataclasses
import functools
import time
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ..results import AbstractResult
from .network import KernelNetwork
from .problem import BackwardPass, Problem, States, Theta

_STALL = 1000

Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class OptimisationResult(AbstractResult):
    """The result of a fit: the network with the lowest cost, and how the cost fell.

    Attributes:
        network: the network with the best weights met.
        cost: the problem's cost there.
        costs: the cost at the start and after every iteration.
        simulations: how often the network was run, forwards, or forwards and backwards.
        exploded: how many trial weights made it explode; none of them was accepted.
        seconds: processor time of the fit, with compilation where it had not run before.
        ended: one sentence on why it ended.
        misfit: what the pointwise criteria give for the network.
        guess: what they give for the mean target in place of its outputs: a fit that ends above it has failed.
    """

    network: KernelNetwork
    cost: float
    costs: Float[np.ndarray, " iterations"]
    simulations: int
    exploded: int
    seconds: float
    ended: str
    misfit: float
    guess: float
    stem: ClassVar[str] = "fit"

    @property
    def iterations(self) -> int:
        """Evaluations of the criterion at accepted weights, the first ones included, as the report counts."""
        return len(self.costs)

    @property
    def advice(self) -> str:
        """One sentence or two on how it ended."""
        parts = [self.ended]
        if self.exploded:
            parts.append(f"{self.exploded} trial weights made the network explode and were left: the best are kept")
        if self.misfit > self.guess:
            parts.append(
                f"the error, {self.misfit:.3g}, is above the {self.guess:.3g} of the mean target: the network has "
                "learnt nothing of use; give more iterations, other first weights or another optimiser"
            )
        return "; ".join(parts)

    def rows(self) -> list[dict[str, Any]]:
        """One row an iteration: `iteration`, from 0, and `cost`."""
        return [{"iteration": i, "cost": cost} for i, cost in enumerate(self.costs.tolist())]

    def summary(self) -> dict[str, Any]:
        return {
            "cost": self.cost,
            "misfit": self.misfit,
            "guess": self.guess,
            "iterations": self.iterations,
            "simulations": self.simulations,
            "exploded": self.exploded,
            "seconds": self.seconds,
            "ended": self.advice,
        }

    @property
    def failure(self) -> str | None:
        if not np.isfinite(self.cost):
            return self.ended
        return self.advice if self.misfit > self.guess else None


class LimitReached(Exception):
    """Raised inside a fit when a limit is reached; the message says which."""


class TargetReached(LimitReached):
    """Raised when the target is reached."""


class RunRecord:
    """The record of a run: the best weights so far, the cost of every iteration, and whether a limit is reached."""

    def __init__(
        self,
        optimiser: "AbstractOptimiser",
        problem: Problem,
        progress: Progress | None,
        stopping: "EarlyStopping | None" = None,
    ) -> None:
        self.optimiser, self.problem, self.progress, self.stopping = optimiser, problem, progress, stopping
        self.costs: list[float] = []
        self.best, self.lowest = np.asarray(problem.network.parameters), np.inf
        self.simulations = self.exploded = 0
        self.started = time.process_time()
        self.first = 0

    def backward_pass(self, theta: np.ndarray, *previous: Any, limit_errors: bool = False) -> BackwardPass:
        """Simulates and tunes backwards; counts as one simulation."""
        found = backward_pass(self.problem, theta, *previous, limit_errors=limit_errors)
        self.add_simulation(float(found.cost))
        return found

    def cost(self, theta: np.ndarray, *previous: Any) -> float:
        """Simulates; returns the cost."""
        found = float(cost(self.problem, theta, *previous))
        self.add_simulation(found)
        return found

    def add_simulation(self, cost: float) -> None:
        """Counts a simulation, of this cost.

        Raises:
            LimitReached: when the time is up.
        """
        self.simulations += 1
        self.exploded += not np.isfinite(cost)
        if self.costs and time.process_time() - self.started > self.optimiser.seconds:
            raise LimitReached(f"stopped after {self.optimiser.seconds:g} seconds of processor time")

    def add_iteration(self, cost: float, theta: np.ndarray) -> None:
        """Adds an iteration: the cost of the weights that the fit goes on from.

        Raises:
            LimitReached: when the target is reached, or the iterations are used up.
        """
        self.costs.append(cost)
        judged = cost if self.stopping is None else self.stopping.judge(theta)
        if judged < self.lowest:
            self.lowest, self.best = judged, np.asarray(theta)
        if self.progress is not None:
            self.progress(len(self.costs), self.optimiser.iterations + 1)
        if self.stopping is not None and self.stopping.over:
            raise LimitReached(f"stopped early: no better validation in {self.stopping.patience} iterations")
        if cost <= self.optimiser.target:
            raise TargetReached("reached the target")
        if len(self.costs) > self.optimiser.iterations:
            raise LimitReached(f"stopped after {self.optimiser.iterations} iterations")

    @property
    def stalled(self) -> bool:
        """Whether the last thousand iterations of this part lowered the cost by less than a thousandth."""
        costs = self.costs[self.first :]
        return len(costs) > _STALL and costs[-1] > (1 - 1e-3) * costs[-1 - _STALL]

    @contextlib.contextmanager
    def part(self, problem: Problem, theta: Theta) -> Iterator["RunRecord"]:
        """A part of the run that fits another problem, with the same costs and limits; a target reached ends it alone.

        Args:
            problem: what is fitted meanwhile.
            theta: the initial weights.
        """
        part = copy.copy(self)  # with the same list of costs, and the same clock
        part.best, part.lowest, part.first = np.asarray(theta), np.inf, len(self.costs)
        part.problem = _with_parameters(problem, theta)
        try:
            with contextlib.suppress(TargetReached):
                yield part
        except LimitReached:  # a limit of the whole run: what the part has found is all there will be
            found = float(cost(self.problem, part.best))
            if found < self.lowest:
                self.lowest, self.best = found, part.best
            raise
        finally:
            self.simulations, self.exploded = part.simulations, part.exploded

    def restarted(self, theta: Theta) -> "RunRecord":
        """This record, the run going on from other weights."""
        self.first = len(self.costs)
        self.problem = _with_parameters(self.problem, theta)
        return self

    def result(self, ended: str) -> OptimisationResult:
        """The result, the run having ended for this reason."""
        misfit, guess = (float(found) for found in _misfit(self.problem, jnp.asarray(self.best)))
        return OptimisationResult(
            network=self.problem.network.with_parameters(jnp.asarray(self.best)),
            cost=float(cost(self.problem, jnp.asarray(self.best))) if self.stopping else self.lowest,
            costs=np.asarray(self.costs or [self.lowest]),
            simulations=self.simulations,
            exploded=self.exploded,
            seconds=time.process_time() - self.started,
            ended=ended,
            misfit=misfit,
            guess=guess,
        )


class EarlyStopping:
    """The cost of samples that are not learnt from: the best weights are judged by it, and a fit ends without progress.

    Attributes:
        problem: the same network with these samples.
        patience: after how many iterations without a lower cost a fit ends.
        costs: of every iteration.
    """

    def __init__(self, problem: Problem, patience: int) -> None:
        self.problem, self.patience = problem, patience
        self.costs: list[float] = []

    def judge(self, theta: np.ndarray) -> float:
        """The cost of these weights, which is kept."""
        self.costs.append(float(cost(self.problem, theta)))
        return self.costs[-1]

    @property
    def over(self) -> bool:
        """Whether the patience is at its end."""
        return len(self.costs) - 1 - int(np.argmin(self.costs)) >= self.patience


def _with_parameters(problem: Problem, theta: Theta) -> Problem:
    return eqx.tree_at(lambda p: p.network, problem, problem.network.with_parameters(theta))


class AbstractOptimiser(eqx.Module):
    """A way to fit a kernel network to a task.

    Attributes:
        iterations: how many at most.
        target: a cost that is good enough.
        seconds: the longest processor time.
        scheduled: whether steps get smaller by a schedule over all iterations.
    """

    scheduled: ClassVar[bool] = False
    iterations: eqx.AbstractVar[int]
    target: eqx.AbstractVar[float]
    seconds: eqx.AbstractVar[float]

    def __check_init__(self) -> None:
        if self.iterations < 1 or not self.seconds > 0:
            raise ValueError(
                f"iterations={self.iterations}, seconds={self.seconds}: give at least 1, and a time above 0"
            )

    def fit(
        self, problem: Problem, *, progress: Progress | None = None, stopping: EarlyStopping | None = None
    ) -> OptimisationResult:
        """Fits the network from the weights it has; weights that make it explode are never accepted.

        Args:
            problem: network, task and criterion.
            progress: called with (iterations done, at most) after every iteration.
            stopping: other samples, by which the best weights are chosen, and which end the fit early.
        """
        record = RunRecord(self, problem, progress, stopping)
        try:
            with np.errstate(over="ignore", invalid="ignore"):  # weights on trial may make the network explode
                ended = self.search(record)
        except LimitReached as limit:
            ended = str(limit)
        if not np.isfinite(record.lowest):
            ended = (
                "the network explodes with the weights it begins with, and nothing better was found: make them smaller"
            )
        return record.result(ended)

    @abc.abstractmethod
    def search(self, record: RunRecord) -> str:
        """Searches until it is done, adding every simulation and iteration to the record; returns why it ended.

        Raises:
            LimitReached: by the record.
        """


@functools.partial(jax.jit, static_argnames="limit_errors")
def backward_pass(
    problem: Problem,
    theta: Theta,
    previous: Theta | None = None,
    previous_states: States | None = None,
    *,
    limit_errors: bool = False,
) -> BackwardPass:
    """`Problem.backward_pass`, compiled."""
    return problem.backward_pass(theta, previous, previous_states, limit_errors=limit_errors)


@jax.jit
def _misfit(problem: Problem, theta: Theta) -> tuple[jax.Array, jax.Array]:
    return problem.misfit(theta)


@jax.jit
def cost(
    problem: Problem, theta: Theta, previous: Theta | None = None, previous_states: States | None = None
) -> jax.Array:
    """`Problem.cost`, compiled."""
    return problem.cost(theta, previous, previous_states)
