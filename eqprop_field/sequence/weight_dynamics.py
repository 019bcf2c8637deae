"""Weight dynamics of online learning: how errors fall, and which weights move (Schiller & Steil 2003, Figure 1)."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from .. import datasets
from ..results import AbstractResult, known
from ..signals import Task
from .aprl import APRL
from .driven import fully_recurrent
from .online import OnlineRun, learn_online
from .online_rule import AbstractOnlineRule
from .rtrl import RTRL


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class WeightDynamics(AbstractResult):
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
    stem: ClassVar[str] = "weight_dynamics"

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

    def rows(self) -> list[dict[str, Any]]:
        """One row a network and epoch; None from an explosion on."""
        curves = np.stack([self.error, self.output_change, self.internal_change], axis=2)
        names = ("mean_squared_error", "output_change", "internal_change")
        return [
            {"seed": seed, "epoch": epoch + 1} | dict(zip(names, map(known, numbers), strict=True))
            for seed, run in enumerate(curves)
            for epoch, numbers in enumerate(run)
        ]

    def summary(self) -> dict[str, Any]:
        """Medians over the networks; None where one had exploded."""
        medians = self.medians()
        return {
            "best_epoch": self.best_epoch.tolist(),
            "exploded": self.exploded.tolist(),
            "median_error": [known(value) for value in medians["error"]],
            "median_ratio": [known(value) for value in medians["ratio"]],
        }

    @property
    def failure(self) -> str | None:
        return "every network exploded in its first epoch: lower the rate, or the spread" if self.lost else None

    @property
    def lost(self) -> bool:
        """Whether every network exploded in its first epoch."""
        return bool((self.exploded == 0).all())

    def lines(self) -> list[str]:
        errors = [error for error in self.medians()["error"].tolist() if np.isfinite(error)]
        ratios = [ratio for ratio in self.medians()["ratio"].tolist() if not np.isnan(ratio)]
        exploded = int((self.exploded >= 0).sum())
        if not errors:
            return ["a network exploded in the first epoch"]
        lowest = min(errors)
        line = f"median error lowest at epoch {errors.index(lowest) + 1:3d} ({lowest:.4f}), at the end {errors[-1]:.4f}"
        line += f"; output weights move {min(ratios):.1f} to {max(ratios):.1f} times as fast"
        return [line + (f"; {exploded} of {len(self.exploded)} exploded" if exploded else "")]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class RoesslerExperiment(AbstractResult):
    """The weight dynamics of several rules on the Roessler attractor.

    Attributes:
        rules: the weight dynamics by the name of the rule; those of the figure are `aprl` and `rtrl`, the other
            settings of APRL `aprl_reset` and `aprl_carried`.
    """

    rules: dict[str, WeightDynamics]
    stem: ClassVar[str] = "roessler"
    names: ClassVar[dict[str, str]] = {
        "aprl": "APRL, V kept, B reset",
        "rtrl": "RTRL",
        "aprl_reset": "APRL, both reset",
        "aprl_carried": "APRL, both kept",
    }

    def rows(self) -> list[dict[str, Any]]:
        """One row a rule, network and epoch; None from an explosion on."""
        return [{"rule": name} | row for name, one in self.rules.items() for row in one.rows()]

    def summary(self) -> dict[str, Any]:
        seeds, epochs = next(iter(self.rules.values())).error.shape
        return {
            "rules": {name: one.summary() for name, one in self.rules.items()},
            "seeds": seeds,
            "epochs": epochs,
        }

    @property
    def failure(self) -> str | None:
        lost = all(one.lost for one in self.rules.values())
        return "every network exploded in its first epoch: lower the rates, or the spread" if lost else None

    def lines(self) -> list[str]:
        return [f"{self.names[name]:23s} {line}" for name, one in self.rules.items() for line in one.lines()]

    def settings(self) -> "RoesslerExperiment":
        """The three settings of APRL alone."""
        return RoesslerExperiment({name: one for name, one in self.rules.items() if name != "rtrl"})

    def figure(self) -> "RoesslerExperiment":
        """The rules of the paper's figure alone."""
        return RoesslerExperiment({name: self.rules[name] for name in ("aprl", "rtrl")})

    def pictures(self) -> dict[str, Any]:
        return {"roessler.png": self.figure().plot().figure, "settings.png": self.settings().plot().figure}


def roessler_task(samples: int = 1001, step: float = 0.1) -> Task:
    """x_1 of the Roessler attractor in, x_2 out: u = x_1 / max|x_1|, d = 0.8 x_2 / max|x_2|.

    The paper does not name its coordinates; these are our choice.

    Raises:
        ValueError: as `datasets.roessler`.
    """
    path = datasets.roessler(samples, step=step)
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
    """Trains several random networks on a task, in one compiled computation.

    The networks are fully recurrent with tanh units, weights uniform on [-spread, spread], and start from 0.

    Args:
        rule: the online rule.
        task: inputs and targets.
        keys: one JAX random key a network.
        epochs: runs through the task.
        neurons: N.
        spread: the largest initial weight; the experiment needs small ones.

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


def roessler(
    keys: Key[Array, " seeds"],
    *,
    epochs: int = 60,
    neurons: int = 10,
    samples: int = 1001,
    step: float = 0.1,
    spread: float = 0.1,
    aprl_rate: float = 1.0,
    rtrl_rate: float = 0.05,
    progress: Callable[[int, int], None] | None = None,
) -> RoesslerExperiment:
    """The experiment of Schiller & Steil 2003, Figure 1: one coordinate of the Roessler attractor from another, online.

    Args:
        keys: one JAX random key a network; all rules start from the same ones.
        epochs: runs through the signal.
        neurons: neurons of each network.
        samples: samples of the signal, an epoch.
        step: time between samples.
        spread: initial weights are uniform between minus and plus this.
        aprl_rate: learning rate of APRL.
        rtrl_rate: learning rate of RTRL.
        progress: called with the rules done and their number.

    Raises:
        ValueError: as `roessler_task` and `weight_dynamics`, and for rates that are not positive.
    """
    rules = {
        "aprl": APRL(rate=aprl_rate, carry_inverse=True, carry_errors=False),
        "rtrl": RTRL(rate=rtrl_rate),
        "aprl_reset": APRL(rate=aprl_rate, carry_inverse=False, carry_errors=False),
        "aprl_carried": APRL(rate=aprl_rate, carry_inverse=True, carry_errors=True),
    }
    task, found = roessler_task(samples, step), {}
    for name, rule in rules.items():
        found[name] = weight_dynamics(rule, task, keys, epochs=epochs, neurons=neurons, spread=spread)
        if progress is not None:
            progress(len(found), len(rules))
    return RoesslerExperiment(found)
