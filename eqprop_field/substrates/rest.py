"""Rest: how far a settled state still is from its equilibrium, and whether that equilibrium is stable."""

import dataclasses
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Complex, Float, Inexact, Int, PyTree

from .._arrays import per_sample
from .._compilation import compiled
from .._linalg import eigenvalues, have_growing_modes, solve_each
from ..vector_fields.base import State, flatten_state, jacobian, mask_samples, unflatten_state
from .dynamics import AbstractSystem
from .implicit import Linearised
from .krylov import arnoldi, minimal_residual
from .solution import Solution, Verdict, default_tolerance, has_diverged, residual_of, speed_of

_FARTHEST = 1e3  # tolerances; a state that is slower than a thousandth of its leak need not be near any equilibrium
_NEAR = 10.0  # tolerances; so near a kink beside the state says nothing about an equilibrium
_LINEAR, _PRODUCTS = 1e-2, 96
_DENSE = 128  # neurons
_KRYLOV = 48


def checked_rest(
    system: AbstractSystem, solution: Solution, tol: Float[Array, ""] | None, *, stability: bool
) -> Solution:
    r"""A solution with its correction, and with the verdicts that its residual alone cannot pass.

    A small residual means slow, not near. The distance to rest is that of one Newton step,
    $\delta = -J^{-1}\mu$ among the neurons that can move. A converged sample is

    - `not_settled` where that is more than a thousand tolerances, or where the step does not bring the residual down to
      a quarter: at a fold just behind which the equilibrium has vanished it leaves $1/4 + c$ with c > 0, before it
      $1/4 - c$ (Kantorovich's test);
    - `unstable_equilibrium` where an eigenvalue of $\partial(ds/dt)/\partial s$ has a positive real part.

    Compiled by itself; where the values are at hand, only what depends on the system is, and no linear algebra.

    Up to 128 neurons J is a matrix; above, by products with it alone, the step is GMRES's to one per cent, and the
    eigenvalues are the outermost ones of 48 Arnoldi steps. Limits: a fold so near that $\mu$ rounds to 0 there; and
    of a large network what is so slow that GMRES does not see it (a share of the residual below 1e-2 in a mode far
    slower than the others), and an unstable mode that the Arnoldi steps miss.
    Source: Deuflhard, Newton Methods for Nonlinear Problems, 2004, section 2.1.

    Args:
        system: what settled.
        solution: its end, whose state keeps its derivatives; the check has none.
        tol: the residual to have reached; by default what the precision allows.
        stability: whether to look for unstable modes.
    """
    system, end = _still((system, (solution.state, solution.residual, solution.verdict)))
    state, residual, _ = end
    tol = default_tolerance(tol, residual.dtype)
    neurons = sum(math.prod(leaf.shape[1:]) for leaf in jax.tree.leaves(state))
    if neurons <= _DENSE:
        right_side, matrix, growth = _matrices(system, state, residual, stability)
        step, whole = solve_each(matrix, right_side), None
    else:
        step, whole, growth = _by_products(system, state, residual, stability)
    unstable = None if growth is None else have_growing_modes(growth)
    correction, verdict = _judged(system, end, tol, (step, whole), unstable)
    return dataclasses.replace(solution, verdict=verdict, correction=correction)


def _linearised(
    system: AbstractSystem, state: State, residual: Float[Array, " batch"]
) -> tuple[Inexact[Array, "batch n"], Linearised]:
    """-mu among the neurons that can move, flat, and the system linearised; 0 for samples that diverged."""
    there = ~has_diverged(state) & jnp.isfinite(residual)
    state = mask_samples(there, state)
    mu = system.velocity()(state)
    moving = mask_samples(there, system.active(state, mu))
    return flatten_state(jax.tree.map(lambda p, m: -p * m, moving, mu)), Linearised(system, state, moving)


@compiled
def _matrices(
    system: AbstractSystem, state: State, residual: Float[Array, " batch"], stability: bool
) -> tuple[Array, Array, Array | None]:
    """The right side of Newton's step, its matrix, and one whose eigenvalues are those of d(ds/dt)/ds."""
    right_side, linearised = _linearised(system, state, residual)
    matrix = linearised.matrix()
    if not stability:
        return right_side, matrix, None
    root = _root_of_tau(system)
    growth = matrix / (root[:, None] * root[None, :])
    return right_side, matrix, jnp.where(jnp.isfinite(growth), growth, 0)


@compiled
def _by_products(
    system: AbstractSystem, state: State, residual: Float[Array, " batch"], stability: bool
) -> tuple[Array, Bool[Array, " batch"], Array | None]:
    """The same of a large network: Newton's step, infinite where it is not to be had; whether that is all of it; and
    Arnoldi's small matrix.

    What GMRES left over counts as if it lay in the same direction.
    """
    right_side, linearised = _linearised(system, state, residual)
    like = linearised.state
    product = lambda flat: flatten_state(linearised.product(unflatten_state(like, flat)))  # noqa: E731
    step, left = minimal_residual(product, right_side, tol=_LINEAR, most=_PRODUCTS)
    length = jnp.linalg.norm(right_side, axis=1)
    share = jnp.where(length > 0, jnp.linalg.norm(left, axis=1) / jnp.where(length > 0, length, 1), 0)
    found = (share < 0.99)[:, None]
    step = jnp.where(found, step / jnp.where(found, 1 - share[:, None], 1), jnp.inf)
    if not stability:
        return step, share < 10 * _LINEAR, None
    root, flat = _root_of_tau(system), flatten_state(like)
    start = jax.random.normal(jax.random.key(0), flat.shape[1:], flat.real.dtype)
    start = jnp.broadcast_to(start, flat.shape).astype(flat.dtype)
    growth = arnoldi(lambda vectors: product(vectors / root) / root, start, _KRYLOV)
    return step, share < 10 * _LINEAR, jnp.where(jnp.isfinite(growth), growth, 0)


@compiled
def _judged(
    system: AbstractSystem,
    end: tuple[State, Array, Array],
    tol: Float[Array, ""],
    found: tuple[Array | np.ndarray, Bool[Array, " batch"] | None],
    unstable: Bool[Array | np.ndarray, " batch"] | None,
) -> tuple[State, Int[Array, " batch"]]:
    """Newton's step with the structure of the state, and the verdict.

    Args:
        system: what settled.
        end: the state in which it did, its residual and its verdict.
        tol: the residual to have reached.
        found: the step, flat, and whether it is all of it: by default where it is finite.
        unstable: where a disturbance grows, if that was looked at.
    """
    (state, residual, verdict), (step, whole) = end, found
    step, finite = jnp.asarray(step), jnp.all(jnp.isfinite(step), axis=1)
    whole = finite if whole is None else whole
    there = ~has_diverged(state) & jnp.isfinite(residual)
    state = mask_samples(there, state)
    correction = unflatten_state(state, jnp.where(finite[:, None], step, jnp.inf))
    ahead = system.project(jax.tree.map(jnp.add, state, correction))
    left = residual_of(system, ahead, system.velocity()(ahead))
    distance = speed_of(correction)
    rounding = 10 * jnp.finfo(distance.dtype).eps * speed_of(state)
    vanished = ~(left <= residual / 4 + rounding) & (distance > _NEAR * tol) & whole
    unknown = jnp.where(tol < jnp.inf, jnp.inf, jnp.nan)
    correction = jax.tree.map(lambda c: jnp.where(per_sample(there & (tol < jnp.inf), c), c, unknown), correction)
    graver = jnp.where(~(distance <= _FARTHEST * tol) | vanished, Verdict.not_settled.value, Verdict.converged.value)
    if unstable is not None:
        graver = jnp.where(unstable, Verdict.unstable_equilibrium.value, graver)
    return correction, jnp.where(verdict == Verdict.converged, graver, verdict).astype(jnp.int32)


def _root_of_tau(system: AbstractSystem) -> Float[Array, " n"]:
    """Half of 1 / tau to either side gives a similar matrix, and one as symmetric as J is."""
    return jnp.sqrt(jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(system.time_constants())]))


def _still(tree: PyTree) -> PyTree:
    """The same without derivatives."""
    return jax.tree.map(lambda leaf: jax.lax.stop_gradient(leaf) if eqx.is_inexact_array(leaf) else leaf, tree)


def spectral_abscissa(system: AbstractSystem, state: State) -> Float[Array, " batch"]:
    """The largest real part of the eigenvalues of d(ds/dt)/ds; negative at a stable equilibrium."""
    return jnp.max(spectrum(system, state).real, axis=1)


def spectrum(system: AbstractSystem, state: State) -> Complex[Array, "batch neurons"]:
    """The eigenvalues of d(ds/dt)/ds.

    Neurons held at a bound cannot move and are left out: they count as -1. Dense: meant for up to about a thousand
    neurons.
    """
    velocity = system.velocity()
    taus = jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(system.time_constants())])
    moving = flatten_state(system.active(state, velocity(state)))
    matrix = jacobian(velocity, state) / taus[None, :, None]
    matrix = moving[:, :, None] * matrix * moving[:, None, :] - (1 - moving)[:, :, None] * jnp.eye(len(taus))
    return jax.vmap(eigenvalues)(jnp.where(jnp.isfinite(matrix), matrix, 0))
