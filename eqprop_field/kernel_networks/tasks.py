"""Tasks of the report's other experiments: outliers, products of past inputs, long and periodic sequences."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Key

from ..signals import Task


def with_outliers(task: Task, key: Key[Array, ""], *, share: float = 0.1, size: float = 10.0) -> Task:
    """The task with a share of its targets moved by `size` standard deviations, up or down.

    Raises:
        ValueError: for a share outside of 0 to 1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share={share}: give a share of the targets, from 0 to 1")
    which, where = jax.random.split(key)
    hit = jax.random.bernoulli(which, share, task.targets.shape)
    away = size * jnp.nanstd(task.targets) * jax.random.rademacher(where, task.targets.shape, task.targets.dtype)
    return Task(task.inputs, jnp.where(hit, task.targets + away, task.targets), task.valid)


def delayed_product_task(samples: int, delays: tuple[int, int] = (1, 6), seed: int = 0) -> Task:
    """The product of two past inputs: more than a few leaky units can do exactly, so it has to be approximated.

    Raises:
        ValueError: for fewer samples than the longer delay.
    """
    if min(delays) < 1 or samples <= max(delays) + 1:
        raise ValueError(f"samples={samples}, delays={delays}: give positive delays, and more samples than the longer")
    u = np.random.default_rng(seed).uniform(-1, 1, samples)
    o = np.full(samples, np.nan)
    o[max(delays) :] = np.prod([u[max(delays) - d : samples - d] for d in delays], axis=0)
    return Task.of(u[:, None], o[:, None])


def sierpinski(rows: int) -> Float[np.ndarray, " samples"]:
    """Pascal's triangle modulo 2 read row by row, -1 and 1: rows (rows + 1) / 2 samples, without a period.

    Raises:
        ValueError: for fewer than one row.
    """
    if rows < 1:
        raise ValueError(f"rows={rows}: give at least one")
    # A binomial coefficient is odd where k has no bit that n lacks (Lucas).
    return np.array([1.0 if k & ~n == 0 else -1.0 for n in range(rows) for k in range(n + 1)])


def generation_task(sequence: ArrayLike, repeats: int = 1) -> Task:
    """A sequence (time,) or (time, outputs) to be generated again and again, without an input but a pulse at sample 0.

    Raises:
        ValueError: for fewer than one repeat, or no sequence.
    """
    o = np.asarray(sequence, float)
    o = o[:, None] if o.ndim == 1 else o
    if repeats < 1 or o.ndim != 2 or not len(o):
        raise ValueError(
            f"a sequence of shape {np.shape(sequence)}, {repeats} times: give (time, outputs), once or more"
        )
    targets = np.concatenate([np.full((1, o.shape[1]), np.nan), np.tile(o, (repeats, 1))])
    pulse = np.zeros((len(targets), 1))
    pulse[0] = 1
    return Task.of(pulse, targets)
