"""Rest: how far a settled state still is from its equilibrium, and whether that equilibrium is stable."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Complex, Float, PyTree

from .._arrays import per_sample
from .._linalg import eigenvalues, has_growing_mode, solve
from ..vector_fields.base import State, flatten_state, jacobian, mask_samples, unflatten_state
from .dynamics import AbstractSystem
from .implicit import Linearised
from .krylov import arnoldi, minimal_residual
from .solution import FAR, Solution, Verdict, has_diverged, residual_of, speed_of

_FARTHEST = 1e3  # tolerances; a state that is slower than a thousandth of its leak need not be near any equilibrium
_NEAR = 10.0  # tolerances; so near a kink beside the state says nothing about an equilibrium
_LINEAR, _PRODUCTS = 1e-2, 96
_DENSE = 128  # neurons
_KRYLOV = 48


def checked_rest(system: AbstractSystem, solution: Solution, tol: Float[Array, ""], *, stability: bool) -> Solution:
    r"""A solution with its correction, and with the verdicts that its residual alone cannot pass.

    A small residual means slow, not near. The distance to rest is that of one Newton step,
    $\delta = -J^{-1}\mu$ among the neurons that can move. A converged sample is

    - `not_settled` where that is more than a thousand tolerances, or where the step does not bring the residual down to
      a quarter: at a fold just behind which the equilibrium has vanished it leaves $1/4 + c$ with c > 0, before it
      $1/4 - c$ (Kantorovich's test);
    - `unstable_equilibrium` where an eigenvalue of $\partial(ds/dt)/\partial s$ has a positive real part.

    Up to 128 neurons J is a matrix; above, by products with it alone, the step is GMRES's to one per cent, and the
    eigenvalues are the outermost ones of 48 Arnoldi steps. Limits: a fold so near that $\mu$ rounds to 0 there; and
    of a large network what is so slow that GMRES does not see it (a share of the residual below 1e-2 in a mode far
    slower than the others), and an unstable mode that the Arnoldi steps miss.
    Source: Deuflhard, Newton Methods for Nonlinear Problems, 2004, section 2.1.

    Args:
        system: what settled.
        solution: its end; not differentiated.
        tol: the residual to have reached.
        stability: whether to look for unstable modes.
    """
    system, solution = _still((system, solution))
    there = ~has_diverged(solution.state) & (solution.residual < FAR)
    state = mask_samples(there, solution.state)
    velocity = system.velocity()
    mu = velocity(state)
    moving = mask_samples(there, system.active(state, mu))
    linearised = Linearised(system, state, moving)
    matrix = linearised.matrix() if flatten_state(state).shape[1] <= _DENSE else None
    correction, solved = _newton_step(linearised, matrix, mu)
    ahead = system.project(jax.tree.map(jnp.add, state, correction))
    left = residual_of(system, ahead, velocity(ahead))
    distance = speed_of(correction)
    rounding = 10 * jnp.finfo(distance.dtype).eps * speed_of(state)
    vanished = ~(left <= solution.residual / 4 + rounding) & (distance > _NEAR * tol) & solved
    lost = ~(distance <= _FARTHEST * tol) | vanished
    verdict = jnp.where(solution.converged & lost, Verdict.not_settled.value, solution.verdict)
    if stability:
        unstable = solution.converged & _has_growing_mode(linearised, matrix)
        verdict = jnp.where(unstable, Verdict.unstable_equilibrium.value, verdict)
    unknown = jnp.where(tol < jnp.inf, jnp.inf, jnp.nan)
    correction = jax.tree.map(lambda c: jnp.where(per_sample(there & (tol < jnp.inf), c), c, unknown), correction)
    return dataclasses.replace(solution, verdict=verdict.astype(jnp.int32), correction=correction)


def _newton_step(linearised: Linearised, matrix: Array | None, mu: State) -> tuple[State, Bool[Array, " batch"]]:
    """-J^-1 mu among the neurons that can move, infinite where it is not to be had; and whether it is all of it.

    What GMRES left over counts as if it lay in the same direction.
    """
    like = linearised.state
    right_side = flatten_state(jax.tree.map(lambda p, m: -p * m, linearised.moving, mu))
    if matrix is not None:
        step = jax.vmap(solve)(matrix, right_side)
        found = jnp.all(jnp.isfinite(step), axis=1)
        return unflatten_state(like, jnp.where(found[:, None], step, jnp.inf)), found
    product = lambda flat: flatten_state(linearised.product(unflatten_state(like, flat)))  # noqa: E731
    step, left = minimal_residual(product, right_side, tol=_LINEAR, most=_PRODUCTS)
    whole = jnp.linalg.norm(right_side, axis=1)
    share = jnp.where(whole > 0, jnp.linalg.norm(left, axis=1) / jnp.where(whole > 0, whole, 1), 0)
    found = (share < 0.99)[:, None]
    step = jnp.where(found, step / jnp.where(found, 1 - share[:, None], 1), jnp.inf)
    return unflatten_state(like, step), share < 10 * _LINEAR


def _still(tree: PyTree) -> PyTree:
    """The same without derivatives."""
    return jax.tree.map(lambda leaf: jax.lax.stop_gradient(leaf) if eqx.is_inexact_array(leaf) else leaf, tree)


def _has_growing_mode(linearised: Linearised, matrix: Array | None) -> Bool[Array, " batch"]:
    """Whether any disturbance of the state grows, among the neurons that can move."""
    tau = jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(linearised.system.time_constants())])
    root = jnp.sqrt(tau)  # half to either side: a similar matrix, and as symmetric as J is
    if matrix is not None:
        matrix = matrix / (root[:, None] * root[None, :])
    else:
        like = linearised.state

        def product(flat: Array) -> Array:
            return flatten_state(linearised.product(unflatten_state(like, flat / root))) / root

        flat = flatten_state(like)
        start = jax.random.normal(jax.random.key(0), flat.shape[1:], flat.real.dtype)
        matrix = arnoldi(product, jnp.broadcast_to(start, flat.shape).astype(flat.dtype), _KRYLOV)
    return jax.vmap(has_growing_mode)(jnp.where(jnp.isfinite(matrix), matrix, 0))


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
