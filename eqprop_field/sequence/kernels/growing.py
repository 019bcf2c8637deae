"""A fit to a long sequence that begins with its beginning."""

import equinox as eqx
import jax.numpy as jnp

from ..signals import Signal, Task
from .problem import Problem
from .tuning import AbstractTuner, Trace


class Growing(AbstractTuner):
    """Lets another tuner fit the first samples, then twice as many, until it has the whole sequence.

    A recurrent network that starts far from its task has a rugged cost over a long sequence: the beginnings lead to it,
    and cost little. A beginning is left when the target is reached there, or after `patience` iterations. The costs told
    are those of the samples in use; the weights kept are the best for the whole sequence.

    Attributes:
        tuner: what fits; its limits are for all beginnings together.
        first: samples of the first beginning.
        patience: iterations of every beginning, at most.
    """

    tuner: AbstractTuner
    first: int = 64
    patience: int = 1000

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
        if self.first < 2 or self.patience < 1:
            raise ValueError(f"first={self.first}, patience={self.patience}: give at least 2 samples and 1 iteration")

    def search(self, trace: Trace) -> str:
        theta, samples = trace.problem.network.parameters, self.first
        while samples < len(trace.problem.task.targets):
            with trace.part(beginning(trace.problem, samples), theta, self.patience) as part:
                self.tuner.search(part)
            theta, samples = jnp.asarray(part.best), 2 * samples
        return self.tuner.search(trace.go_on(theta))


def beginning(problem: Problem, samples: int) -> Problem:
    """The problem of the first samples alone."""
    task, inputs = problem.task, problem.task.inputs
    short = Signal(inputs.values[:samples], inputs.step, inputs.interpolation)
    return eqx.tree_at(lambda p: p.task, problem, Task(short, task.targets[:samples], task.live[:samples]))
