"""Meta-optimisers: a curriculum over the length of a sequence, and restarts from random weights."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from ..signals import Signal, Task
from .optimiser import AbstractOptimiser, RunRecord
from .problem import Problem


class AbstractMetaOptimiser(AbstractOptimiser):
    """An optimiser that runs another one several times, within that one's limits.

    Attributes:
        optimiser: the one that is run; its limits hold for all runs together.
    """

    optimiser: eqx.AbstractVar[AbstractOptimiser]

    @property
    def iterations(self) -> int:
        return self.optimiser.iterations

    @property
    def target(self) -> float:
        return self.optimiser.target

    @property
    def seconds(self) -> float:
        return self.optimiser.seconds


class LengthCurriculum(AbstractMetaOptimiser):
    """A curriculum over the length of the sequence: its first samples, then twice as many, until it is whole.

    A recurrent network that starts far from its task has a rugged cost over a long sequence; short beginnings lead
    close to the solution, and cost little. A beginning is left when its target is reached or its optimiser ends. The
    recorded costs are those of the samples in use; the weights kept are the best for the whole sequence.

    Attributes:
        optimiser: the optimiser of every stage.
        first: samples of the first stage.
    """

    optimiser: AbstractOptimiser
    first: int = 128

    def __check_init__(self) -> None:
        if self.first < 2:
            raise ValueError(f"first={self.first}: give at least 2 samples")

    def search(self, record: RunRecord) -> str:
        theta, samples = record.problem.network.parameters, self.first
        while samples < len(record.problem.task.targets):
            with record.part(beginning(record.problem, samples), theta) as part:
                self.optimiser.search(part)
            theta, samples = jnp.asarray(part.best), 2 * samples
        return self.optimiser.search(record.restarted(theta))


class MultiStart(AbstractMetaOptimiser):
    """Restarts from normal random weights, until the target is reached or all starts are used up.

    Attributes:
        optimiser: the optimiser of every start.
        starts: how many, the first from the problem's own weights.
        mean: the mean of the new weights.
        spread: their standard deviation.
        seed: of their draw.
    """

    optimiser: AbstractOptimiser
    starts: int = 5
    mean: float = 0.0
    spread: float = 0.1
    seed: int = 0

    def __check_init__(self) -> None:
        if self.starts < 1 or not 0 <= self.spread < np.inf:
            raise ValueError(f"starts={self.starts}, spread={self.spread}: give at least 1, and a finite spread")

    def search(self, record: RunRecord) -> str:
        random = np.random.default_rng(self.seed)
        ended = self.optimiser.search(record)
        for _ in range(self.starts - 1):
            drawn = self.mean + self.spread * random.standard_normal(record.best.size)
            ended = self.optimiser.search(record.restarted(jnp.asarray(drawn)))
        return f"{ended} (start {self.starts} of {self.starts})"


def beginning(problem: Problem, samples: int) -> Problem:
    """The problem of the first samples alone."""
    task, inputs = problem.task, problem.task.inputs
    short = Signal(inputs.values[:samples], inputs.step, inputs.interpolation)
    return eqx.tree_at(lambda p: p.task, problem, Task(short, task.targets[:samples], task.valid[:samples]))
