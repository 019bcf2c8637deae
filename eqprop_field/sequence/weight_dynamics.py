"""The experiment of Schiller & Steil 2003, Figure 1: how errors fall, and which weights move, while learning."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from ..datasets import roessler
from ..signals import Task
from .driven import fully_recurrent
from .online import AbstractOnlineRule, OnlineRun, learn_online


@dataclasses.dataclass(frozen=True, eq=False)
class WeightDynamics:
    """Errors and rates of weight change of one rule over several networks.

    Attributes:
        error: the mean squared error of every epoch while learning (seeds, epochs); NaN from an explosion on.
        output_change: root mean square change a step of the synapses to the output neuron (seeds, epochs).
        internal_change: the same for all others.
        exploded: the epoch in which a network exploded, from 0; -1 if it did not (seeds,).
    """

    error: Float[np.ndarray, "seeds epochs"]
    output_change: Float[np.ndarray, "seeds epochs"]
    internal_change: Float[np.ndarray, "seeds epochs"]
    exploded: Int[np.ndarray, " seeds"]

    @property
    def ratio(self) -> Float[np.ndarray, "seeds epochs"]:
        """How much faster the output neuron's synapses change than all others."""
        with np.errstate(divide="ignore", invalid="ignore"):  # nothing may have moved
            return self.output_change / self.internal_change

    @property
    def best_epoch(self) -> Int[np.ndarray, " seeds"]:
        """The epoch with the smallest error, counted from 1; 0 for a network that exploded in the first."""
        found = np.where(np.isfinite(self.error), self.error, np.inf)
        return np.where(np.isfinite(found).any(axis=1), found.argmin(axis=1) + 1, 0)

    def medians(self) -> dict[str, Float[np.ndarray, " epochs"]]:
        """The median over the networks, of every epoch: `error`, `output_change`, `internal_change` and `ratio`."""
        names = ("error", "output_change", "internal_change", "ratio")
        return {name: np.median(getattr(self, name), axis=0) for name in names}


def roessler_task(samples: int = 1001, step: float = 0.1) -> Task:
    """x_1 of the Roessler attractor in, x_2 out: u = x_1 / max|x_1|, d = 0.8 x_2 / max|x_2|.

    The paper does not name its coordinates; these are our choice.

    Raises:
        ValueError: as `roessler`.
    """
    path = roessler(samples, step=step)
    u, d = path[:, :1] / np.abs(path[:, 0]).max(), 0.8 * path[:, 1:2] / np.abs(path[:, 1]).max()
    return Task.of(u, d, step)


def weight_dynamics(
    rule: AbstractOnlineRule,
    task: Task,
    keys: Key[Array, " seeds"],
    *,
    epochs: int = 60,
    neurons: int = 10,
    spread: float = 0.1,
) -> WeightDynamics:
    """Lets several random networks learn a task, in one compiled computation.

    The networks are fully recurrent with tanh units, weights uniform on [-spread, spread], and start from 0.

    Args:
        rule: how they learn.
        task: what they learn.
        keys: one JAX random key a network.
        epochs: how often the task is run.
        neurons: N.
        spread: the largest weight at the beginning; small ones matter.

    Raises:
        ValueError: as `fully_recurrent` and `learn_online`.
    """
    sizes = {"neurons": neurons, "inputs": task.inputs.channels, "outputs": task.outputs, "spread": spread}
    fields = [fully_recurrent(key, **sizes) for key in keys]
    weights = jnp.stack([f.weights for f in fields]), jnp.stack([f.input_weights for f in fields])

    def one(weights: Array, input_weights: Array, key: Key[Array, ""]) -> OnlineRun:
        field = eqx.tree_at(lambda f: (f.weights, f.input_weights), fields[0], (weights, input_weights))
        return learn_online(rule, field, task, epochs=epochs, key=key)

    runs = jax.vmap(one)(*weights, keys)
    found = (runs.error, runs.output_change, runs.internal_change, runs.exploded)
    return WeightDynamics(*(np.asarray(part) for part in found))
