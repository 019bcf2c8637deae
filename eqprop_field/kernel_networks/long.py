"""The gradient over very long sequences, in memory that hardly grows."""

import functools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from . import dynamics
from .criteria import AbstractPointwise
from .dynamics import Past
from .problem import Problem, Theta


def gradient_in_blocks(
    problem: Problem, theta: Theta, block: int | None = None
) -> tuple[Float[Array, ""], Float[Array, " parameters"]]:
    """Cost and gradient, the states of one block of samples at a time: computed again on the way back.

    What `Problem.tuned` finds without the guard. Beside signals and outputs it holds the states of one block and the
    first state of every block: O(sqrt T) with the block's default. Time is O(T), at one simulation more.

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
    unit, known, weights = problem.network.unit, problem.network.plan, problem.network.at(theta)
    task, inputs = problem.task, problem.task.inputs.values
    steps = len(inputs) - 1
    count = -(-steps // block)
    # `windows` of samples 0 to block, having seen `delay` - 1 samples before.
    padded = jnp.pad(inputs, [(known.delay - 1, count * block - steps), (0, 0), (0, 0)])

    def stimuli(which: Array) -> Array:
        seen = jax.lax.dynamic_slice_in_dim(padded, which * block, block + known.delay)
        return dynamics.windows(unit, seen)[known.delay - 1 :]

    def forwards(past: Past, which: Array) -> tuple[Past, tuple[Past, Array]]:
        end, outputs = dynamics.forward(unit, weights, past, stimuli(which), observed=True)
        return end, (past, outputs)

    rest = dynamics.rest(unit, inputs)
    numbers = jnp.arange(count)
    _, (pasts, outputs) = jax.lax.scan(forwards, rest, numbers)
    outputs = outputs.reshape(-1, *outputs.shape[2:])[:steps]
    outputs = jnp.concatenate([jnp.zeros_like(outputs[:1]), outputs])
    rho, slopes = jax.value_and_grad(problem.rho)(outputs, outputs)
    slopes = jnp.pad(slopes[1:], [(0, count * block - steps), (0, 0), (0, 0)]).reshape(count, block, *slopes.shape[1:])

    def backwards(at: tuple[Past, dict], block_of: tuple[Array, Past, Array]) -> tuple[tuple[Past, dict], None]:
        (future, total), (which, past, slope) = at, block_of
        window = stimuli(which)
        _, states = dynamics.forward(unit, weights, past, window)
        whole = jnp.pad(slope, [(0, 0), (0, 0), (0, known.size - task.outputs)])
        future, errors = dynamics.backward(unit, weights, past, window, states, whole, None, future)
        found = dynamics.gradient(dynamics.kernels(unit, past, window, states), problem.flat(errors))
        return (future, jax.tree.map(jnp.add, total, found)), None

    nothing = jax.tree.map(jnp.zeros_like, (rest, weights))
    (_, total), _ = jax.lax.scan(backwards, nothing, (numbers, pasts, slopes), reverse=True)
    penalty, pull = jax.value_and_grad(problem.penalty)(theta, theta)
    return rho + penalty, problem.gathered(theta, total) + pull
