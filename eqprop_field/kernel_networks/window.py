"""Backward tuning on the fly: over a window of the near past, while the network runs."""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from . import dynamics
from .dynamics import Past
from .network import KernelNetwork
from .problem import Problem, Theta


class OnTheFlyRun(eqx.Module):
    """What became of a network that was tuned while it ran.

    Attributes:
        network: the network after its last step.
        error: the mean squared error of every stride, before it was learnt from (strides,); NaN without a target.
    """

    network: KernelNetwork
    error: Float[Array, " strides"]


class OnTheFly(eqx.Module):
    r"""Every few samples goes back over the last `window` of them, and moves the weights along the gradient found.

    The window is simulated again with the weights of the moment from the state that the network had at its beginning,
    and errors are tuned back through it (equation 3) but no further: what takes longer than the window is not seen.
    Time O(T window / stride), memory O(window). Steps are Adam's. Least squares alone. The report leaves this as a
    perspective (section 3, real-time aspects).

    Attributes:
        window: samples that are gone back over.
        stride: samples between two steps, at most the window.
        rate: the learning rate.
    """

    window: int = eqx.field(static=True, default=20)
    stride: int = eqx.field(static=True, default=5)
    rate: float = 1e-2

    def __check_init__(self) -> None:
        if not 1 <= self.stride <= self.window:
            raise ValueError(f"window={self.window}, stride={self.stride}: give 1 <= stride <= window")

    def run(self, problem: Problem) -> OnTheFlyRun:
        """Runs through the task once, learning.

        Raises:
            ValueError: for a task shorter than the window.
        """
        if len(problem.task.targets) <= self.window:
            raise ValueError(f"window={self.window}: the task has only {len(problem.task.targets)} samples")
        theta, error = _run(self, problem)
        return OnTheFlyRun(problem.network.with_parameters(theta), error)


@eqx.filter_jit
def _run(rule: OnTheFly, problem: Problem) -> tuple[Theta, Array]:
    unit, task, network = problem.network.unit, problem.task, problem.network
    stimuli = dynamics.windows(unit, task.inputs.values)
    strides = (len(stimuli) - rule.window) // rule.stride + 1
    descent = optax.adam(rule.rate)

    def stride(at: tuple[Past, Theta, optax.OptState], which: Array) -> tuple[tuple, Array]:
        past, theta, state = at
        weights, first = network.at(theta), which * rule.stride
        seen = jax.lax.dynamic_slice_in_dim(stimuli, first, rule.window)
        targets, known = (
            jax.lax.dynamic_slice_in_dim(part[1:], first, rule.window) for part in (task.targets, task.scored)
        )
        _, states = dynamics.forward(unit, weights, past, seen)
        missed = jnp.where(known, states[..., : task.outputs] - jnp.where(known, targets, 0), 0)
        slopes = jnp.pad(missed / jnp.maximum(jnp.sum(known), 1), [(0, 0), (0, 0), (0, states.shape[2] - task.outputs)])
        _, errors = dynamics.backward(unit, weights, past, seen, states, slopes)
        found = dynamics.gradient(dynamics.kernels(unit, past, seen, states), problem.flat(errors))
        moved, state = descent.update(problem.gathered(theta, found), state)
        new = network.clip(jnp.asarray(optax.apply_updates(theta, moved)))
        # The network moves on with the weights that it has run with.
        past, _ = dynamics.forward(unit, weights, past, seen[: rule.stride])
        late = slice(rule.window - rule.stride, None)
        error = jnp.sum(missed[late] ** 2) / jnp.sum(known[late])
        return (past, new, state), error

    theta = network.parameters
    begun = (dynamics.rest(unit, task.inputs.values), theta, descent.init(theta))
    (_, theta, _), error = jax.lax.scan(stride, begun, jnp.arange(strides))
    return theta, error
