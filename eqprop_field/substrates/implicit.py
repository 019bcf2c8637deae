"""Implicit differentiation: how an equilibrium answers to what it depends on, and linear systems with its Jacobian."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Bool, Float, Inexact, PyTree

from .._arrays import as_scalar
from .._linalg import solve
from ..vector_fields.base import State, flatten_state, jacobian, mask_samples, unflatten_state
from .dynamics import AbstractSystem, by_sample


class Linearised(eqx.Module):
    r"""$P J P - (I - P)$: a system's Jacobian J at a state among the neurons that can move, P the projection on them.

    Attributes:
        system: what moves.
        state: where J is taken.
        moving: the diagonal of P, 1 or 0.
    """

    system: AbstractSystem
    state: State
    moving: State

    def matrix(self) -> Inexact[Array, "batch neurons neurons"]:
        """The matrix of every sample over the flattened state."""
        p = flatten_state(self.moving)
        inner = jacobian(self.system.velocity(), self.state)
        return p[:, :, None] * inner * p[:, None, :] - (1 - p)[:, :, None] * jnp.eye(p.shape[1], dtype=p.dtype)

    def product(self, vector: State) -> State:
        """Its product with a vector of every sample, without the matrix."""
        within = jax.tree.map(jnp.multiply, self.moving, vector)
        return self._completed(vector, jax.jvp(self.system.velocity(), (self.state,), (within,))[1])

    def transposed_product(self, vector: State) -> State:
        """The same with its transpose, which is not conjugated where states are complex."""
        _, transpose = jax.vjp(self.system.velocity(), self.state)
        return self._completed(vector, transpose(jax.tree.map(jnp.multiply, self.moving, vector))[0])

    def _completed(self, vector: State, inner: State) -> State:
        return jax.tree.map(lambda p, v, u: p * u - (1 - p) * v, self.moving, vector, inner)


class LinearSolve(eqx.Module):
    """How linear systems with the Jacobian at an equilibrium are solved.

    Attributes:
        dense_up_to: systems of at most so many neurons are solved by LU, larger ones by GMRES without a matrix.
        gmres_tol: GMRES's relative tolerance; by default 1e-5 in float32 and 1e-10 in float64.
    """

    dense_up_to: int = eqx.field(static=True, default=512)
    gmres_tol: Float[Array, ""] | None = eqx.field(converter=as_scalar, default=None)

    def solve(self, linearised: Linearised, right_side: State, *, transposed: bool = False) -> State:
        """The solution for every sample, 0 where a neuron cannot move; NaN where GMRES falls short of its tolerance."""
        moving = linearised.moving
        solver = self._by_lu if flatten_state(moving).shape[1] <= self.dense_up_to else self._by_gmres
        solution = solver(linearised, jax.tree.map(jnp.multiply, moving, right_side), transposed)
        return jax.tree.map(jnp.multiply, moving, solution)

    def differentiable(self, linearised: Linearised, right_side: State) -> State:
        """`solve`, which JAX can differentiate, forwards and backwards."""

        def solver(transposed: bool) -> Callable[[Callable, Array], Array]:
            return lambda _, flat: flatten_state(
                self.solve(linearised, unflatten_state(right_side, flat), transposed=transposed)
            )

        # As one array: JAX transposes the solution only if every leaf of the right side depends on what is asked for.
        product = lambda flat: flatten_state(linearised.product(unflatten_state(right_side, flat)))  # noqa: E731
        flat = jax.lax.custom_linear_solve(product, flatten_state(right_side), solver(False), solver(True))
        return unflatten_state(right_side, flat)

    def _by_lu(self, linearised: Linearised, right_side: State, transposed: bool) -> State:
        matrix = linearised.matrix()
        matrix = jnp.swapaxes(matrix, 1, 2) if transposed else matrix
        return unflatten_state(right_side, jax.vmap(solve)(matrix, flatten_state(right_side)))

    def _by_gmres(self, linearised: Linearised, right_side: State, transposed: bool) -> State:
        neurons = flatten_state(right_side).shape[1]
        dtype = jax.tree.leaves(linearised.moving)[0].dtype
        default = 1e-5 if dtype == jnp.float32 else 1e-10
        tol: Any = default if self.gmres_tol is None else self.gmres_tol

        def single(system: AbstractSystem, state: State, moving: State, right_side: State) -> PyTree:
            alone = Linearised(system, state, moving)
            product = alone.transposed_product if transposed else alone.product
            operator = lx.FunctionLinearOperator(product, jax.eval_shape(lambda: right_side))
            # A restart loses what was learnt of the operator: as large as the network, up to a memory of 128 vectors.
            solver = lx.GMRES(rtol=tol, atol=tol, restart=min(neurons, 128))
            solution = lx.linear_solve(operator, right_side, solver, throw=False)
            solved = solution.result == lx.RESULTS.successful
            return jax.tree.map(lambda leaf: jnp.where(solved, leaf[0], jnp.nan), solution.value)

        return by_sample(single, linearised.system, linearised.state, linearised.moving, right_side)


@eqx.filter_custom_jvp
def at_equilibrium(
    state: State, system: AbstractSystem, settled: Bool[Array, " batch"], *, linear: LinearSolve
) -> State:
    r"""A settled state, which from here on depends on its system by the implicit function theorem.

    $$J\,ds = -df(s) \quad\text{among the neurons that can move},\qquad ds = 0 \text{ for those held at a bound}$$

    Args:
        state: the equilibrium, however it was found; its own derivative is not used.
        system: what settled.
        settled: which samples are at rest; the others are constant.
        linear: how the linear systems are solved.
    """
    del system, settled, linear
    return state


@at_equilibrium.def_jvp
def _at_equilibrium_jvp(
    primals: tuple[State, AbstractSystem, Bool[Array, " batch"]],
    tangents: tuple[PyTree, PyTree, PyTree],
    *,
    linear: LinearSolve,
) -> tuple[State, PyTree]:
    _, system, settled = primals
    state = at_equilibrium(*primals, linear=linear)  # again, for derivatives of this derivative
    rest = mask_samples(settled, state)  # NaN would come back from samples that hold it
    velocity, change = eqx.filter_jvp(lambda system: system.velocity()(rest), (system,), (tangents[1],))
    # Leaves of mu that depend on nothing that moves have no tangent.
    change = jax.tree.map(lambda v, c: jnp.zeros_like(v) if c is None else c, velocity, change)
    moving = mask_samples(settled, system.active(rest, velocity))
    right_side = jax.tree.map(lambda p, v: -p * v, moving, change)
    return state, linear.differentiable(Linearised(system, rest, moving), right_side)
