"""Krylov methods on batches of linear maps that are known by their products alone, every sample on its own."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Inexact

Vectors = Inexact[Array, "batch n"]

_CYCLE = 8  # products between two looks at what is left


def minimal_residual(
    product: Callable[[Vectors], Vectors], right_side: Vectors, *, tol: float, most: int, cycle: int = _CYCLE
) -> tuple[Vectors, Vectors]:
    """An x with product(x) = right_side, and what is left of the right side: restarted ORTHODIR, which is GMRES.

    It stops once nothing larger than `tol` of any right side is left, in the Euclidean norm, or after `most` products.
    Unlike GMRES it carries the solution along, needs no least squares, and cannot break down before it is exact. With a
    cycle of 8 products the method is exact for up to 8 unknowns. Right sides of 0 are solved by 0.
    Source: Young & Jea 1980; Saad, Iterative Methods for Sparse Linear Systems, section 6.9.

    Args:
        product: linear in each sample's vector.
        right_side: one a sample.
        tol: relative to the right side.
        most: products, rounded up to whole cycles.
        cycle: products between two restarts, which keep as many vectors.
    """
    cycle = min(cycle, right_side.shape[1])
    enough = tol * _length(right_side)

    def going_on(carry: tuple[Array, Vectors, Vectors]) -> Array:
        done, _, left = carry
        return (done < most) & jnp.any(_length(left) > enough)

    def one_cycle(carry: tuple[Array, Vectors, Vectors]) -> tuple[Array, Vectors, Vectors]:
        done, x, left = carry
        blank = jnp.zeros((left.shape[0], cycle, left.shape[1]), left.dtype)

        def step(state: tuple[Array, ...], k: Array) -> tuple[tuple[Array, ...], None]:
            x, left, along, directions, images = state
            image, shares, scale = _orthonormalised(product(along), images)
            along = scale * (along - jnp.einsum("bk,bkn->bn", shares, directions))
            share = jnp.sum(image.conj() * left, axis=1, keepdims=True)
            directions, images = directions.at[:, k].set(along), images.at[:, k].set(image)
            return (x + share * along, left - share * image, image, directions, images), None

        first = (x, left, _inverse(_length(left)) * left, blank, blank)
        (x, left, *_), _ = jax.lax.scan(step, first, jnp.arange(cycle))
        return done + cycle, x, left

    start = jnp.zeros((), jnp.int32), jnp.zeros_like(right_side), right_side
    _, x, left = jax.lax.while_loop(going_on, one_cycle, start)
    return x, left


def arnoldi(product: Callable[[Vectors], Vectors], start: Vectors, steps: int) -> Inexact[Array, "batch steps steps"]:
    """The Hessenberg matrices of so many Arnoldi steps: their eigenvalues tend to the outermost ones of the map.

    With as many steps as unknowns they are the map's own. Where the Krylov space of a sample ends early, the rest of
    its matrix is minus the identity.

    Args:
        product: linear in each sample's vector.
        start: one a sample, with a share in every eigenvector: random.
        steps: at most the number of unknowns.
    """
    first = _inverse(_length(start)) * start
    blank = jnp.zeros((start.shape[0], steps + 1, start.shape[1]), start.dtype).at[:, 0].set(first)

    def step(basis: Array, k: Array) -> tuple[Array, tuple[Array, Array]]:
        image, shares, scale = _orthonormalised(product(basis[:, k]), basis)
        return basis.at[:, k + 1].set(image), (shares[:, :steps], _inverse(scale)[:, 0])

    basis, (columns, below) = jax.lax.scan(step, blank, jnp.arange(steps))
    matrix = jnp.moveaxis(columns, 0, 2)
    matrix = matrix + jax.vmap(lambda d: jnp.diag(d, -1))(below.T[:, :-1].astype(matrix.dtype))
    there = jnp.sum(jnp.abs(basis[:, :steps]), axis=2) > 0
    beyond = jnp.where(there, 0, 1)[:, :, None] * jnp.eye(steps, dtype=matrix.dtype)
    return jnp.where(there[:, :, None] & there[:, None, :], matrix, 0) - beyond


def _orthonormalised(image: Vectors, basis: Array) -> tuple[Vectors, Array, Float[Array, "batch 1"]]:
    """The image less its parts along the basis, normalised; these parts; and the factor, 0 where nothing is left."""
    size, shares = _length(image), jnp.zeros(basis.shape[:2], basis.dtype)
    for _ in range(2):  # twice is enough
        more = jnp.einsum("bkn,bn->bk", basis.conj(), image)
        image, shares = image - jnp.einsum("bk,bkn->bn", more, basis), shares + more
    length = _length(image)
    scale = _inverse(jnp.where(length > 100 * jnp.finfo(image.dtype).eps * size, length, 0))
    return scale * image, shares, scale


def _length(vectors: Vectors) -> Float[Array, "batch 1"]:
    return jnp.sqrt(jnp.sum(jnp.abs(vectors) ** 2, axis=1, keepdims=True))


def _inverse(length: Float[Array, "batch 1"]) -> Float[Array, "batch 1"]:
    return jnp.where(length > 0, 1 / jnp.where(length > 0, length, 1), 0)
