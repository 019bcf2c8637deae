"""Dense linear algebra of batches, in a way that cannot hang.

On a CPU jaxlib spreads LAPACK's work on a batch over XLA's worker threads, and the worker that asked for it waits.
As many such batches at once as there are workers (two, on a machine of two cores) wait for one another for good
(jaxlib 0.10). So there a batch is a loop here, and every matrix is worked on by the thread that asks for it.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float


def one_by_one(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` of arrays, whose `vmap` is a loop on a CPU."""
    looped = jax.custom_batching.sequential_vmap(function)
    return functools.wraps(function)(lambda *arrays: (looped if jax.default_backend() == "cpu" else function)(*arrays))


@one_by_one
def solve(matrix: Float[Array, "n n"], right_side: Float[Array, "n *columns"]) -> Float[Array, "n *columns"]:
    return jnp.linalg.solve(matrix, right_side)


@one_by_one
def eigenvalues(matrix: Float[Array, "n n"]) -> Complex[Array, " n"]:
    return jnp.linalg.eigvals(matrix)


@one_by_one
def pseudo_inverse(matrix: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """Of a symmetric matrix without negative eigenvalues; those within the rounding of the largest count as 0.

    Within n eps of it, eps of the matrix's own precision: what is smaller is made of rounding errors alone.
    """
    values, vectors = jnp.linalg.eigh(matrix)
    kept = values > len(matrix) * jnp.finfo(matrix.dtype).eps * values[-1]
    return vectors * jnp.where(kept, 1 / jnp.where(kept, values, 1), 0) @ vectors.T
