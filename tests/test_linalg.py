"""Batches of dense linear algebra: right, under any nesting of vmap, and never waiting for themselves."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eqprop_field._linalg import eigenvalues, have_growing_modes, pseudo_inverse, solve, solve_each

# Four batches at once, and only two of XLA's threads to work on them.
_AT_ONCE = """
import os
os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:2]))
import jax
from eqprop_field._linalg import eigenvalues, pseudo_inverse, solve

@jax.jit
def several(a):
    b, squares, every = a[..., 0], a @ a.swapaxes(2, 3), lambda f: jax.vmap(jax.vmap(f))
    return every(solve)(a, b), every(solve)(a + 1, b), every(eigenvalues)(a), every(pseudo_inverse)(squares)

for k in range(20):
    jax.block_until_ready(several(jax.random.normal(jax.random.key(k), (11, 20, 50, 50))))
print("done")
"""


def _random(*shape):
    return jax.random.normal(jax.random.key(0), shape)


def test_solve_of_nested_batches_is_that_of_numpy():
    a, b = _random(3, 4, 6, 6), _random(4, 6)
    found = jax.jit(jax.vmap(jax.vmap(solve), in_axes=(0, None)))(a, b)
    np.testing.assert_allclose(found, np.linalg.solve(a, np.broadcast_to(b, (3, 4, 6))[..., None])[..., 0], rtol=1e-9)


def test_solve_takes_several_columns():
    a, b = _random(6, 6), _random(6, 2)
    np.testing.assert_allclose(solve(a, b), np.linalg.solve(a, b), rtol=1e-9)


def test_eigenvalues_of_a_batch_are_those_of_numpy():
    a = _random(5, 7, 7)
    found, known = np.sort_complex(jax.vmap(eigenvalues)(a)), np.sort_complex(np.linalg.eigvals(a))
    np.testing.assert_allclose(found, known, rtol=1e-9)


@pytest.mark.parametrize("rank", [0, 2, 5])
def test_pseudo_inverse_of_any_rank_is_that_of_numpy(rank):
    a = _random(3, 5, rank) @ _random(3, 5, rank).swapaxes(1, 2)
    found = jax.vmap(pseudo_inverse)(a)
    np.testing.assert_allclose(found, np.linalg.pinv(a, rcond=1e-12, hermitian=True), rtol=1e-7, atol=1e-9)


def test_pseudo_inverse_cuts_by_the_precision_it_has():
    """Rank 2 of 5 in float32, whose other eigenvalues are rounding errors some 1e-8 of the largest."""
    a = np.asarray(_random(5, 2) @ _random(5, 2).T)
    found = pseudo_inverse(jnp.asarray(a, jnp.float32))
    np.testing.assert_allclose(found, np.linalg.pinv(a, rcond=1e-12, hermitian=True), rtol=1e-3, atol=1e-4)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system cannot bind a process to two cores")
def test_several_batches_at_once_end_on_two_cores():
    done = subprocess.run([sys.executable, "-c", _AT_ONCE], capture_output=True, text=True, timeout=120)
    assert done.stdout == "done\n", done.stderr


@pytest.mark.parametrize("dtype", [float, complex])
def test_compiled_or_not_batches_are_solved_and_judged_alike(dtype):
    draw = np.random.default_rng(3)
    matrices = draw.normal(size=(4, 6, 6)).astype(dtype) + (1j * draw.normal(size=(4, 6, 6)) if dtype is complex else 0)
    matrices[0] -= 10 * np.eye(6)  # definite
    matrices[1] = np.triu(9 * matrices[1], 1) - np.eye(6)  # stable, though disturbances grow at first
    matrices[2] = 0
    right_sides = draw.normal(size=(4, 6)).astype(dtype)
    matrices, right_sides = jnp.asarray(matrices), jnp.asarray(right_sides)
    at_hand, traced = solve_each(matrices, right_sides), jax.jit(solve_each)(matrices, right_sides)
    for k in (0, 1, 3):
        np.testing.assert_allclose(matrices[k] @ at_hand[k], right_sides[k], atol=1e-9)
        np.testing.assert_allclose(traced[k], at_hand[k], atol=1e-9)
    assert not np.isfinite(at_hand[2]).any() and not np.isfinite(traced[2]).any()
    growing = [bool(np.linalg.eigvals(m).real.max() > 1e-12) for m in matrices]
    assert growing == [False, False, False, True]
    assert list(have_growing_modes(matrices)) == growing == list(jax.jit(have_growing_modes)(matrices))
