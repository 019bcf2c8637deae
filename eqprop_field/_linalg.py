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
import numpy as np
from jaxtyping import Array, Bool, Complex, Float, Inexact

from ._arrays import is_concrete


def one_by_one(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` of arrays, whose `vmap` is a loop on a CPU."""
    looped = jax.custom_batching.sequential_vmap(function)
    return functools.wraps(function)(lambda *arrays: (looped if jax.default_backend() == "cpu" else function)(*arrays))


@one_by_one
def solve(matrix: Inexact[Array, "n n"], right_side: Inexact[Array, "n *columns"]) -> Inexact[Array, "n *columns"]:
    return jnp.linalg.solve(matrix, right_side)


@one_by_one
def eigenvalues(matrix: Inexact[Array, "n n"]) -> Complex[Array, " n"]:
    """The eigenvalues; on the host where the device is no CPU, whose libraries may not have them."""
    if jax.default_backend() == "cpu":
        return jnp.linalg.eigvals(matrix)
    shape = jax.ShapeDtypeStruct(matrix.shape[:1], jnp.result_type(matrix.dtype, jnp.complex64))
    return jax.pure_callback(_host_eigenvalues, shape, matrix, vmap_method="expand_dims")


def _host_eigenvalues(matrices: np.ndarray) -> np.ndarray:
    matrices = np.asarray(matrices)
    return np.linalg.eigvals(matrices).astype(np.result_type(matrices.dtype, np.complex64))


def solve_each(
    matrices: Inexact[Array, "batch n n"], right_sides: Inexact[Array, "batch n"]
) -> Inexact[Array | np.ndarray, "batch n"]:
    """`solve` of a batch, NaN or infinite where a matrix is singular; by numpy, which compiles nothing, if it can."""
    if not is_concrete(matrices, right_sides):
        return jax.vmap(solve)(matrices, right_sides)
    pairs = zip(np.asarray(matrices), np.asarray(right_sides), strict=True)
    return np.stack([_solution(matrix, right_side) for matrix, right_side in pairs])


def _solution(matrix: np.ndarray, right_side: np.ndarray) -> np.ndarray:
    try:
        return np.linalg.solve(matrix, right_side)
    except np.linalg.LinAlgError:  # singular
        return np.full_like(right_side, np.nan)


def have_growing_modes(matrices: Inexact[Array, "batch n n"]) -> Bool[Array | np.ndarray, " batch"]:
    """Whether an eigenvalue of each lies to the right of the imaginary axis, by more than rounding.

    Where the Hermitian part is negative definite there is none, which a Cholesky factorisation tells for a tenth of the
    price; only other matrices are asked for their eigenvalues. By numpy, which compiles nothing, if it can.
    """
    if not is_concrete(matrices):
        return jax.vmap(_has_growing_mode)(matrices)
    return np.array([_grows(matrix) for matrix in np.asarray(matrices)])


def _grows(matrix: np.ndarray) -> bool:
    try:
        np.linalg.cholesky(-0.5 * (matrix + matrix.conj().T))
    except np.linalg.LinAlgError:  # not definite
        return bool(np.max(np.linalg.eigvals(matrix).real) > _rounding(matrix))
    return False


@one_by_one
def _has_growing_mode(matrix: Inexact[Array, "n n"]) -> Bool[Array, ""]:
    certain = jnp.all(jnp.isfinite(jnp.linalg.cholesky(-0.5 * (matrix + matrix.conj().T))))
    none = jnp.asarray(False)
    return jax.lax.cond(certain, lambda _: none, lambda m: jnp.max(eigenvalues(m).real) > _rounding(m), matrix)


def _rounding(matrix: Any) -> Any:
    return 100 * jnp.finfo(matrix.dtype).eps * abs(matrix).max()


@one_by_one
def pseudo_inverse(matrix: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """Of a symmetric matrix without negative eigenvalues; those within the rounding of the largest count as 0.

    Within n eps of it, eps of the matrix's own precision: what is smaller is made of rounding errors alone.
    """
    values, vectors = jnp.linalg.eigh(matrix)
    kept = values > len(matrix) * jnp.finfo(matrix.dtype).eps * values[-1]
    return vectors * jnp.where(kept, 1 / jnp.where(kept, values, 1), 0) @ vectors.T
