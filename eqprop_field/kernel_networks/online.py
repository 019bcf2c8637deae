"""Online backward tuning: over a sliding window of past samples, while the network runs."""

import dataclasses
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from .._arrays import check_positive
from ..results import AbstractResult
from . import dynamics
from .dynamics import Past
from .network import KernelNetwork
from .problem import Problem, Theta


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class OnlineTuningResult(AbstractResult):
    """The result of online backward tuning.

    Attributes:
        network: the network after its last step.
        error: the mean squared error of every stride, before it was learnt from (strides,); NaN without a target.
        stride: samples between two steps.
    """

    network: KernelNetwork
    error: Float[np.ndarray, " strides"]
    stride: int
    stem: ClassVar[str] = "online_tuning"

    def rows(self) -> list[dict[str, Any]]:
        """One row a stride: `stride`, from 0, and `mean_squared_error`."""
        return [{"stride": i, "mean_squared_error": error} for i, error in enumerate(self.error.tolist())]

    def summary(self) -> dict[str, Any]:
        """The mean error of the first and of the last tenth of the run."""
        tenth = max(1, len(self.error) // 10)
        return {
            "strides": len(self.error),
            "samples_per_stride": self.stride,
            "first_error": float(np.nanmean(self.error[:tenth])),
            "last_error": float(np.nanmean(self.error[-tenth:])),
        }


class OnlineBackwardTuning(eqx.Module):
    r"""Gradient steps every few samples, by backward tuning over the last `window` samples.

    The window is simulated again with the present weights from the state that the network had at its beginning, and
    errors are tuned back through it (equation 3) but no further: dependences longer than the window are not learnt.
    Time O(T window / stride), memory O(window). Steps are Adam's. Least squares alone. The report leaves this as a
    perspective (section 3, real-time aspects).

    Attributes:
        window: samples of the window.
        stride: samples between two steps, at most the window.
        rate: the learning rate.
    """

    window: int = eqx.field(static=True, default=20)
    stride: int = eqx.field(static=True, default=5)
    rate: float = 1e-2

    def __check_init__(self) -> None:
        if not 1 <= self.stride <= self.window:
            raise ValueError(f"window={self.window}, stride={self.stride}: give 1 <= stride <= window")
        check_positive(self, "rate")

    def fit(self, problem: Problem) -> OnlineTuningResult:
        """Runs through the task once, learning.

        Raises:
            ValueError: for a task shorter than the window.
        """
        if len(problem.task.targets) <= self.window:
            raise ValueError(f"window={self.window}: the task has only {len(problem.task.targets)} samples")
        theta, error = _run(self, problem)
        return OnlineTuningResult(problem.network.with_parameters(theta), np.asarray(error), self.stride)


@eqx.filter_jit
def _run(rule: OnlineBackwardTuning, problem: Problem) -> tuple[Theta, Array]:
    unit, task, network = problem.network.unit, problem.task, problem.network
    inputs = dynamics.input_windows(unit, task.inputs.values)
    strides = (len(inputs) - rule.window) // rule.stride + 1
    descent = optax.adam(rule.rate)

    def stride(at: tuple[Past, Theta, optax.OptState], which: Array) -> tuple[tuple, Array]:
        past, theta, state = at
        weights, first = network.weights_at(theta), which * rule.stride
        seen = jax.lax.dynamic_slice_in_dim(inputs, first, rule.window)
        targets, known = (
            jax.lax.dynamic_slice_in_dim(part[1:], first, rule.window) for part in (task.targets, task.scored)
        )
        _, states = dynamics.forward(unit, weights, past, seen)
        segment = dynamics.Segment(past, seen, states)
        misfit = jnp.where(known, states[..., : task.outputs] - jnp.where(known, targets, 0), 0)
        slopes = jnp.pad(misfit / jnp.maximum(jnp.sum(known), 1), [(0, 0), (0, 0), (0, states.shape[2] - task.outputs)])
        _, errors = dynamics.backward(unit, weights, segment, slopes)
        found = dynamics.gradient(dynamics.kernels(unit, segment), problem.by_group(errors))
        step, state = descent.update(problem.by_parameter(theta, found), state)
        new = network.clip(jnp.asarray(optax.apply_updates(theta, step)))
        # The network moves on with the weights that it has run with.
        past, _ = dynamics.forward(unit, weights, past, seen[: rule.stride])
        late = slice(rule.window - rule.stride, None)
        error = jnp.sum(misfit[late] ** 2) / jnp.sum(known[late])
        return (past, new, state), error

    theta = network.parameters
    start = (dynamics.initial_past(unit, task.inputs.values), theta, descent.init(theta))
    (_, theta, _), error = jax.lax.scan(stride, start, jnp.arange(strides))
    return theta, error
