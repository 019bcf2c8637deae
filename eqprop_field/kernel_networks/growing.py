"""Ways to begin: with the beginning of a long sequence, and again from other weights."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from ..signals import Signal, Task
from .problem import Problem
from .tuning import AbstractTuner, Trace


class Growing(AbstractTuner):
    """Lets another tuner fit the first samples, then twice as many, until it has the whole sequence.

    A recurrent network that starts far from its task has a rugged cost over a long sequence: its beginnings lead
    there, and cost little. A beginning is left when the target is reached there, or its tuner ends. The costs told are
    those of the samples in use; the weights kept are the best for the whole sequence.

    Attributes:
        tuner: what fits; its limits are for all beginnings together.
        first: samples of the first beginning.
    """

    tuner: AbstractTuner
    first: int = 128

    @property
    def iterations(self) -> int:
        return self.tuner.iterations

    @property
    def target(self) -> float:
        return self.tuner.target

    @property
    def seconds(self) -> float:
        return self.tuner.seconds

    def __check_init__(self) -> None:
        if self.first < 2:
            raise ValueError(f"first={self.first}: give at least 2 samples")

    def search(self, trace: Trace) -> str:
        theta, samples = trace.problem.network.parameters, self.first
        while samples < len(trace.problem.task.targets):
            with trace.part(beginning(trace.problem, samples), theta) as part:
                self.tuner.search(part)
            theta, samples = jnp.asarray(part.best), 2 * samples
        return self.tuner.search(trace.go_on(theta))


class Restarting(AbstractTuner):
    """Lets another tuner begin again from new normal random weights, until the target is reached or starts are used up.

    Attributes:
        tuner: what fits; its limits are for all starts together.
        starts: how many, the first from the problem's own weights.
        mean: the mean of the new weights.
        spread: their standard deviation.
        seed: of their draw.
    """

    tuner: AbstractTuner
    starts: int = 5
    mean: float = 0.0
    spread: float = 0.1
    seed: int = 0

    @property
    def iterations(self) -> int:
        return self.tuner.iterations

    @property
    def target(self) -> float:
        return self.tuner.target

    @property
    def seconds(self) -> float:
        return self.tuner.seconds

    def __check_init__(self) -> None:
        if self.starts < 1 or not 0 <= self.spread < np.inf:
            raise ValueError(f"starts={self.starts}, spread={self.spread}: give at least 1, and a finite spread")

    def search(self, trace: Trace) -> str:
        random = np.random.default_rng(self.seed)
        ended = self.tuner.search(trace)
        for _ in range(self.starts - 1):
            drawn = self.mean + self.spread * random.standard_normal(trace.best.size)
            ended = self.tuner.search(trace.go_on(jnp.asarray(drawn)))
        return f"{ended} (start {self.starts} of {self.starts})"


def beginning(problem: Problem, samples: int) -> Problem:
    """The problem of the first samples alone."""
    task, inputs = problem.task, problem.task.inputs
    short = Signal(inputs.values[:samples], inputs.step, inputs.interpolation)
    return eqx.tree_at(lambda p: p.task, problem, Task(short, task.targets[:samples], task.live[:samples]))
