"""What every way to fit a network to a task has in common: its limits, its trace, and what it hands back."""

import abc
import contextlib
import copy
import dataclasses
import functools
import time
from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from .network import KernelNetwork
from .problem import Problem, States, Theta, Tuned

_STALL = 1000

Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True, eq=False)
class Tuning:
    """How a fit went.

    Attributes:
        network: the network with the best weights met.
        cost: the problem's cost there.
        costs: the cost at the start and after every iteration.
        simulations: how often the network was run, forwards, or forwards and backwards.
        exploded: how many trial weights made it explode; none of them was taken.
        seconds: processor time that it took, with compilation where it had not run before.
        ended: one sentence on why it ended.
    """

    network: KernelNetwork
    cost: float
    costs: Float[np.ndarray, " iterations"]
    simulations: int
    exploded: int
    seconds: float
    ended: str

    @property
    def iterations(self) -> int:
        """Evaluations of the criterion at weights that were taken, the first ones included, as the report counts."""
        return len(self.costs)

    @property
    def advice(self) -> str:
        """One sentence or two on how it ended."""
        if not self.exploded:
            return self.ended
        return f"{self.ended}; {self.exploded} trial weights made the network explode and were left: the best are kept"


class Finished(Exception):
    """Raised inside a fit when a limit is reached; the message says which."""


class Reached(Finished):
    """Raised when the target is reached."""


class Trace:
    """What a fit has met so far: the best weights, all costs, and whether a limit is reached."""

    def __init__(self, tuner: "AbstractTuner", problem: Problem, progress: Progress | None) -> None:
        self.tuner, self.problem, self.progress = tuner, problem, progress
        self.costs: list[float] = []
        self.best, self.lowest = np.asarray(problem.network.parameters), np.inf
        self.simulations = self.exploded = 0
        self.begun = time.process_time()
        self.first = 0

    def tuned(self, theta: np.ndarray, *at: Any, guarded: bool = False) -> Tuned:
        """One simulation and one way back."""
        found = tuned(self.problem, theta, *at, guarded=guarded)
        self.ran(float(found.cost))
        return found

    def cost(self, theta: np.ndarray, *at: Any) -> float:
        """One simulation."""
        found = float(cost(self.problem, theta, *at))
        self.ran(found)
        return found

    def ran(self, found: float) -> None:
        """Notes a simulation.

        Raises:
            Finished: when the time is up.
        """
        self.simulations += 1
        self.exploded += not np.isfinite(found)
        if self.costs and time.process_time() - self.begun > self.tuner.seconds:
            raise Finished(f"stopped after {self.tuner.seconds:g} seconds of processor time")

    def took(self, found: float, theta: np.ndarray) -> None:
        """Notes an iteration, whose weights are the fit's next ones.

        Raises:
            Finished: when the target is reached, or the iterations are used up.
        """
        self.costs.append(found)
        if found < self.lowest:
            self.lowest, self.best = found, np.asarray(theta)
        if self.progress is not None:
            self.progress(len(self.costs), self.tuner.iterations + 1)
        if found <= self.tuner.target:
            raise Reached("reached the target")
        if len(self.costs) > self.tuner.iterations:
            raise Finished(f"stopped after {self.tuner.iterations} iterations")

    @property
    def stalled(self) -> bool:
        """Whether the last thousand iterations of this part lowered the cost by less than a thousandth."""
        own = self.costs[self.first :]
        return len(own) > _STALL and own[-1] > (1 - 1e-3) * own[-1 - _STALL]

    @contextlib.contextmanager
    def part(self, problem: Problem, theta: Theta) -> Iterator["Trace"]:
        """A part of the fit, of another problem; it ends quietly where its target is reached.

        Args:
            problem: what is fitted meanwhile.
            theta: the weights it begins with.
        """
        part = copy.copy(self)  # with the same list of costs, and the same clock
        part.best, part.lowest, part.first = np.asarray(theta), np.inf, len(self.costs)
        part.problem = eqx.tree_at(lambda p: p.network, problem, problem.network.with_parameters(theta))
        try:
            with contextlib.suppress(Reached):
                yield part
        except Finished:  # a limit of the whole fit: what the part has found is all there will be
            found = float(cost(self.problem, part.best))
            if found < self.lowest:
                self.lowest, self.best = found, part.best
            raise
        finally:
            self.simulations, self.exploded = part.simulations, part.exploded

    def go_on(self, theta: Theta) -> "Trace":
        """The same fit from other weights."""
        self.first = len(self.costs)
        self.problem = eqx.tree_at(lambda p: p.network, self.problem, self.problem.network.with_parameters(theta))
        return self

    def result(self, ended: str) -> Tuning:
        """What came of it."""
        network = self.problem.network.with_parameters(jnp.asarray(self.best))
        seconds = time.process_time() - self.begun
        costs = np.asarray(self.costs or [self.lowest])
        return Tuning(network, self.lowest, costs, self.simulations, self.exploded, seconds, ended)


class AbstractTuner(eqx.Module):
    """A way to fit a network to a task.

    Attributes:
        iterations: how many at most.
        target: a cost that is good enough.
        seconds: the longest processor time.
    """

    iterations: eqx.AbstractVar[int]
    target: eqx.AbstractVar[float]
    seconds: eqx.AbstractVar[float]

    def __check_init__(self) -> None:
        if self.iterations < 1 or not self.seconds > 0:
            raise ValueError(
                f"iterations={self.iterations}, seconds={self.seconds}: give at least 1, and a time above 0"
            )

    def tune(self, problem: Problem, *, progress: Progress | None = None) -> Tuning:
        """Fits the network from the weights it has; it explodes never, for weights that make it so are not taken.

        Args:
            problem: network, task and criterion.
            progress: is told (iterations done, at most).
        """
        trace = Trace(self, problem, progress)
        try:
            with np.errstate(over="ignore", invalid="ignore"):  # weights on trial may make the network explode
                ended = self.search(trace)
        except Finished as limit:
            ended = str(limit)
        if not np.isfinite(trace.lowest):
            ended = (
                "the network explodes with the weights it begins with, and nothing better was found: make them smaller"
            )
        return trace.result(ended)

    @abc.abstractmethod
    def search(self, trace: Trace) -> str:
        """Searches until it is done, telling the trace; returns why it ended.

        Raises:
            Finished: by the trace.
        """


@functools.partial(jax.jit, static_argnames="guarded")
def tuned(
    problem: Problem, theta: Theta, before: Theta | None = None, states: States | None = None, *, guarded: bool = False
) -> Tuned:
    """`Problem.tuned`, compiled."""
    return problem.tuned(theta, before, states, guarded=guarded)


@jax.jit
def cost(problem: Problem, theta: Theta, before: Theta | None = None, states: States | None = None) -> jax.Array:
    """`Problem.cost`, compiled."""
    return problem.cost(theta, before, states)
