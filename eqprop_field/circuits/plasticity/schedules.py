"""Networks, plasticity and numbers of epochs that are known to work on small tasks."""

import dataclasses

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Key

from ...activations import tanh
from ...vector_fields import AbstractLayered
from ...vector_fields.registry import field_class
from .plan import Plasticity


@dataclasses.dataclass(frozen=True)
class TaskSchedule:
    """A network and its plasticity for a task.

    Attributes:
        sizes: neurons per layer, input first.
        epochs: how often every sample is shown.
        plasticity: how it learns.
        gain: scale of the initial weights relative to Glorot's.
        biases: the initial biases are uniform between minus and plus this: hidden neurons that differ from the start.
        shuffled: whether each epoch has an order of its own; neighbours one after another undo each other's work.
        passing_loss: the task counts as learnt where the last epoch leaves at most this share of the targets' variance.
    """

    sizes: tuple[int, ...]
    epochs: int
    plasticity: Plasticity = dataclasses.field(default_factory=Plasticity)
    gain: float = 2.5
    biases: float = 2.0
    shuffled: bool = False
    passing_loss: float = 0.05

    def order(self, samples: int) -> list[int]:
        """Which of the task's samples are shown, one after another."""
        random = np.random.default_rng(0)
        epochs = [random.permutation(samples) if self.shuffled else range(samples) for _ in range(self.epochs)]
        return [int(sample) for epoch in epochs for sample in epoch]

    def network(self, key: Key[Array, ""]) -> AbstractLayered:
        """The network before it learns; forward and feedback weights are drawn independently."""
        drawn, biased = jax.random.split(key)
        field = field_class("layered").create(drawn, self.sizes, activation=tanh, gain=self.gain)
        keys = jax.random.split(biased, len(field.biases))
        spread = self.biases
        biases = tuple(
            jax.random.uniform(k, b.shape, b.dtype, -spread, spread) for k, b in zip(keys, field.biases, strict=True)
        )
        return eqx.tree_at(lambda f: f.biases, field, biases)


_PARABOLA, _DIGITS = Plasticity(rate=0.15, feedback_bound=0.2), Plasticity(rate=0.04, feedback_bound=0.3)
TASK_SCHEDULES: dict[str, TaskSchedule] = {
    "xor": TaskSchedule((2, 6, 1), 150),
    "regression": TaskSchedule((1, 8, 1), 400, _PARABOLA, shuffled=True, passing_loss=0.1),
    "digits": TaskSchedule((16, 8, 4), 6, _DIGITS, gain=0.5, biases=0.5, passing_loss=0.6),
}
