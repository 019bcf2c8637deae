"""Gradient checkpointing: the gradient over very long sequences, in memory of O(sqrt T)."""

import functools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from . import dynamics
from .criteria import AbstractPointwise
from .dynamics import Past
from .problem import Problem, Theta


def checkpointed_gradient(
    problem: Problem, theta: Theta, block: int | None = None
) -> tuple[Float[Array, ""], Float[Array, " parameters"]]:
    """Cost and gradient, the states of one block of samples at a time: computed again on the way back.

    The gradient of `Problem.backward_pass` without the limiter. Beside signals and outputs it holds the states of one
    block and the first state of every block: O(sqrt T) with the block's default. Time is O(T), at one simulation more.

    Args:
        problem: network, task and criteria, all of them of the outputs (`AbstractPointwise`).
        theta: the parameters.
        block: samples in a block; about sqrt(T) by default.

    Raises:
        ValueError: for a criterion of hidden nodes, or a block of no samples.
    """
    if not all(isinstance(term, AbstractPointwise) for term in problem.terms):
        raise ValueError("block by block only the outputs are seen at once: use criteria of the outputs alone")
    steps = len(problem.task.targets) - 1
    size = max(1, math.isqrt(steps)) if block is None else min(block, steps)
    if size < 1:
        raise ValueError(f"block={block}: give at least one sample")
    return _in_blocks(problem, theta, size)


@functools.partial(jax.jit, static_argnames="block")
def _in_blocks(problem: Problem, theta: Theta, block: int) -> tuple[Array, Array]:
    unit, known, weights = problem.network.unit, problem.network.structure, problem.network.weights_at(theta)
    task, inputs = problem.task, problem.task.inputs.values
    steps = len(inputs) - 1
    count = -(-steps // block)
    # `input_windows` of samples 0 to block, having seen `max_input_lag` - 1 samples before.
    padded = jnp.pad(inputs, [(known.max_input_lag - 1, count * block - steps), (0, 0), (0, 0)])

    def inputs_of(which: Array) -> Array:
        seen = jax.lax.dynamic_slice_in_dim(padded, which * block, block + known.max_input_lag)
        return dynamics.input_windows(unit, seen)[known.max_input_lag - 1 :]

    def forwards(past: Past, which: Array) -> tuple[Past, tuple[Past, Array]]:
        end, outputs = dynamics.forward(unit, weights, past, inputs_of(which), outputs_only=True)
        return end, (past, outputs)

    rest = dynamics.initial_past(unit, inputs)
    numbers = jnp.arange(count)
    _, (pasts, outputs) = jax.lax.scan(forwards, rest, numbers)
    outputs = outputs.reshape(-1, *outputs.shape[2:])[:steps]
    outputs = jnp.concatenate([jnp.zeros_like(outputs[:1]), outputs])
    rho, slopes = jax.value_and_grad(problem.rho)(outputs, outputs)
    slopes = jnp.pad(slopes[1:], [(0, count * block - steps), (0, 0), (0, 0)]).reshape(count, block, *slopes.shape[1:])

    def backwards(at: tuple[Past, dict], block_of: tuple[Array, Past, Array]) -> tuple[tuple[Past, dict], None]:
        (future, total), (which, past, slope) = at, block_of
        windows = inputs_of(which)
        _, states = dynamics.forward(unit, weights, past, windows)
        segment = dynamics.Segment(past, windows, states)
        whole = jnp.pad(slope, [(0, 0), (0, 0), (0, known.size - task.outputs)])
        future, errors = dynamics.backward(unit, weights, segment, whole, future=future)
        found = dynamics.gradient(dynamics.kernels(unit, segment), problem.by_group(errors))
        return (future, jax.tree.map(jnp.add, total, found)), None

    zero = jax.tree.map(jnp.zeros_like, (rest, weights))
    (_, total), _ = jax.lax.scan(backwards, zero, (numbers, pasts, slopes), reverse=True)
    penalty, pull = jax.value_and_grad(problem.penalty)(theta, theta)
    return rho + penalty, problem.by_parameter(theta, total) + pull
