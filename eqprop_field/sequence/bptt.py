"""Backpropagation through time (BPTT) for driven networks: the reference gradient of all rules for sequences."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from ..signals import Recording, Signal, Task
from ..vector_fields import AbstractVectorField
from ..vector_fields.base import State, flatten_state
from .driven import AbstractIntegrator, EulerSteps, check_drive, check_start, euler_step, initial_state, outputs_of
from .readout import Readout


class SequenceEstimate(eqx.Module):
    """The estimate of a gradient from whole sequences.

    Attributes:
        gradient: of E, or the rule's estimate of it, with the structure of the field's `parameters()`: optax takes it.
        error: the mean squared error over all scored targets.
        recording: of the network.
    """

    gradient: AbstractVectorField
    error: Float[Array, ""]
    recording: Recording


class BPTT(eqx.Module):
    r"""BPTT: dE/dtheta of the summed error $E = \tfrac12 \sum_k \lVert y(k) - d(k)\rVert^2$, by reverse mode.

    $$a(k) = e(k) + J(k)^\top a(k+1), \qquad
      \frac{dE}{d\theta} = \sum_k \Big(\frac{\partial F}{\partial\theta}\Big)^{\!\top} a(k+1)$$

    for x(k+1) = F(x(k), theta). The steps are taken in blocks of about sqrt(T), each computed again in the backward
    pass: memory O(sqrt(T)) beside the states themselves, time O(T) at three evaluations a step. `window` truncates the
    backward pass at every so many steps (the blocks of Williams & Peng 1990 with k1 = k2): cheaper, and blind to longer
    dependences. Source: Pearlmutter 1995, section III; Werbos 1990.

    Attributes:
        integrator: `EulerSteps()`, whose steps are differentiated exactly; or `ContinuousTime()`, whose solution is.
        window: after how many steps the backward pass is truncated; never by default. Euler steps only.
    """

    integrator: AbstractIntegrator = eqx.field(default_factory=EulerSteps)
    window: int | None = eqx.field(static=True, default=None)

    def __check_init__(self) -> None:
        if self.window is not None and self.window < 1:
            raise ValueError(f"window={self.window}: give at least one step, or None for the whole sequence")
        if self.window is not None and not isinstance(self.integrator, EulerSteps):
            raise ValueError("a window counts Euler steps: use EulerSteps, or leave the window away")

    def estimate(
        self,
        field: AbstractVectorField,
        task: Task,
        *,
        start: ArrayLike | None = None,
        teacher_forcing: bool = False,
        readout: Readout | None = None,
    ) -> SequenceEstimate:
        """The gradient for a batch of sequences, summed over them.

        Args:
            field: the network.
            task: inputs and targets.
            start: the state at the first sample, as for `simulate`.
            teacher_forcing: whether targets are fed back in place of the outputs.
            readout: a linear readout of all states; it is not learnt here.

        Raises:
            ValueError: for a task that does not fit the field.
        """
        check_task(field, task, readout)
        task = task.astype(field.dtype)
        teacher = teacher_signal(task) if teacher_forcing else None
        check_drive(field, task.inputs, teacher)
        return _estimate(self, field, task, check_start(field, task.batch, start), teacher, readout)


def teacher_signal(task: Task) -> Signal:
    """The targets as the signal of teacher forcing."""
    return Signal(task.targets, task.inputs.step, task.inputs.interpolation)


def check_task(field: AbstractVectorField, task: Task, readout: Readout | None) -> None:
    """Refuses a task that does not fit the field.

    Raises:
        ValueError: for other numbers of inputs or outputs than the network and its readout have.
    """
    if task.inputs.channels != field.n_inputs:
        raise ValueError(f"the task has {task.inputs.channels} inputs and the network {field.n_inputs}")
    outputs = field.n_outputs if readout is None else len(readout.weights)
    if task.outputs != outputs:
        raise ValueError(f"the task has {task.outputs} targets a sample and the network {outputs} outputs")


@eqx.filter_jit
def _estimate(
    rule: BPTT,
    field: AbstractVectorField,
    task: Task,
    start: Array | None,
    teacher: Signal | None,
    readout: Readout | None,
) -> SequenceEstimate:
    initial = initial_state(field, task.batch, start)

    def summed_error(parameters: AbstractVectorField) -> tuple[Array, Recording]:
        moved = eqx.combine(parameters, field)
        if isinstance(rule.integrator, EulerSteps):
            states = _in_blocks(moved, task.inputs, initial, teacher, rule.window)
        else:
            states = rule.integrator.states(moved, task.inputs, initial, teacher)
        outputs = outputs_of(moved, states, readout)
        recording = Recording(task.inputs.times, states, outputs)
        return 0.5 * jnp.sum(task.errors(outputs) ** 2), recording

    gradient, recording = jax.grad(summed_error, has_aux=True)(field.parameters())
    return SequenceEstimate(gradient, task.mean_squared_error(recording.outputs), recording)


def _in_blocks(
    field: AbstractVectorField, inputs: Signal, start: State, teacher: Signal | None, window: int | None
) -> Array:
    """The states of `EulerSteps`, block by block: recomputed in the backward pass, and truncated with a window."""
    steps = len(inputs.values) - 1
    block = max(1, math.isqrt(steps)) if window is None else min(window, steps)
    count = -(-steps // block)

    def blocks(samples: Array) -> Array:
        filled = jnp.pad(samples[:-1], [(0, count * block - steps), (0, 0), (0, 0)], mode="edge")
        return filled.reshape(count, block, *samples.shape[1:])

    def step(state: State, sample: Any) -> tuple[State, Array]:
        state = euler_step(field, inputs.step, state, *sample)
        return state, flatten_state(state)

    @jax.checkpoint
    def several(state: State, samples: Any) -> tuple[State, Array]:
        if window is not None:
            state = jax.lax.stop_gradient(state)
        return jax.lax.scan(step, state, samples)

    forced = None if teacher is None else blocks(teacher.values)
    _, path = jax.lax.scan(several, start, (blocks(inputs.values), forced))
    path = path.reshape(count * block, *path.shape[2:])[:steps]
    return jnp.concatenate([flatten_state(start)[None], path])
