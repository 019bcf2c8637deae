"""The gradient itself, by the implicit function theorem: the truth that local rules are measured against."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, ArrayLike, Float, PyTree

from .._arrays import as_scalar, checked_pair
from .._linalg import one_by_one, solve
from ..costs import AbstractCost, Quadratic
from ..substrates.base import AbstractSubstrate
from ..substrates.equilibrium import Equilibrium
from ..substrates.solution import Solution, Verdict
from ..vector_fields.base import AbstractVectorField, State, active_set, flatten_state, jacobian, unflatten_state
from .base import AbstractLearningRule, Estimate, mean_gradient


class ImplicitGradient(AbstractLearningRule):
    r"""dJ/dtheta at the free equilibrium, exactly.

    $$J_s^\top \lambda = \Big(\frac{\partial C}{\partial s}\Big)^{\!\top}, \qquad
      \frac{dJ}{d\theta} = -\Big(\frac{\partial\mu}{\partial\theta}\Big)^{\!\top}\lambda
      + \frac{\partial C}{\partial\theta}$$

    For projected dynamics, neurons held at a bound do not move with theta: their lambda is 0. Not a local rule; needs
    the Jacobian of the whole network. A sample whose linear system has no accurate solution counts as not settled.
    Source: Scellier et al. 2018, theorem 1; Almeida 1987, Pineda 1987.

    Attributes:
        substrate: where the free phase runs; `Equilibrium()` by default.
        cost: C; `Quadratic()` by default.
        dense_up_to: networks of at most so many neurons are solved by LU, larger ones by GMRES without a matrix.
        gmres_tol: GMRES's relative tolerance; by default 1e-5 in float32 and 1e-10 in float64.
    """

    substrate: AbstractSubstrate = eqx.field(default_factory=Equilibrium)
    cost: AbstractCost = eqx.field(default_factory=Quadratic)
    dense_up_to: int = eqx.field(static=True, default=512)
    gmres_tol: Float[Array, ""] | None = eqx.field(converter=as_scalar, default=None)

    def estimate(self, field: AbstractVectorField, x: ArrayLike, y: ArrayLike, *, throw: bool = True) -> Estimate:
        x, y = checked_pair(x, y, (field.n_inputs, field.n_outputs), field.dtype)
        free, _ = self.substrate.phases(field, x, (), throw=throw)
        return self.at(field, x, y, free)

    def at(
        self,
        field: AbstractVectorField,
        x: Float[Array, "batch inputs"],
        y: Float[Array, "batch outputs"],
        free: Solution,
    ) -> Estimate:
        """The gradient at a free phase that has run already, wherever it ran."""
        return _gradient(self, field, x, y, free)


@eqx.filter_jit
def _gradient(rule: ImplicitGradient, field: AbstractVectorField, x: Array, y: Array, free: Solution) -> Estimate:
    drive = field.drive(x)
    moving = active_set(field, free.state, field(free.state, drive))
    output = field.output(free.state)
    right_side = jax.tree.map(jnp.multiply, moving, field.embed(rule.cost.gradient(output, y)))
    solve = _solve_dense if field.n_neurons <= rule.dense_up_to else _solve_gmres
    adjoint = solve(rule, field, drive, free.state, moving, right_side)
    adjoint = jax.tree.map(jnp.multiply, moving, adjoint)
    finite = jnp.all(jnp.isfinite(flatten_state(adjoint)), axis=1)
    verdict = jnp.where(finite, free.verdict, jnp.maximum(free.verdict, Verdict.not_settled.value))
    return Estimate(
        gradient=mean_gradient(field, rule.cost, x, free.state, adjoint, verdict),
        cost=rule.cost(output, y),
        verdict=verdict,
        free=free,
    )


def _solve_dense(
    rule: ImplicitGradient, field: AbstractVectorField, drive: State, state: State, moving: State, right_side: State
) -> State:
    """LU of (P J^T P - (I - P)), P the neurons that move."""
    del rule
    p = flatten_state(moving)
    transposed = jnp.swapaxes(jacobian(lambda s: field(s, drive), state), 1, 2)
    system = p[:, :, None] * transposed * p[:, None, :] - (1 - p)[:, :, None] * jnp.eye(p.shape[1], dtype=p.dtype)
    flat = jax.vmap(solve)(system, flatten_state(right_side))
    return unflatten_state(state, flat)


def _solve_gmres(
    rule: ImplicitGradient, field: AbstractVectorField, drive: State, state: State, moving: State, right_side: State
) -> State:
    """GMRES with J^T applied by a vector-Jacobian product, each sample on its own."""
    tol = (1e-5 if field.dtype == jnp.float32 else 1e-10) if rule.gmres_tol is None else rule.gmres_tol
    arrays, rest = eqx.partition(field, eqx.is_array)

    @one_by_one
    def single(arrays: PyTree, tol: Any, state: PyTree, drive: PyTree, moving: PyTree, right_side: PyTree) -> PyTree:
        field = eqx.combine(arrays, rest)
        rows = lambda tree: jax.tree.map(lambda leaf: leaf[None], tree)  # noqa: E731
        _, transpose = jax.vjp(lambda s: field(s, rows(drive)), rows(state))

        def product(vector: PyTree) -> PyTree:
            pulled = jax.tree.map(lambda leaf: leaf[0], transpose(rows(jax.tree.map(jnp.multiply, moving, vector)))[0])
            return jax.tree.map(lambda p, v, u: p * u - (1 - p) * v, moving, vector, pulled)

        operator = lx.FunctionLinearOperator(product, jax.eval_shape(lambda: right_side))
        # A restart loses what was learnt of the operator: as large as the network, up to a memory of 128 vectors.
        solver = lx.GMRES(rtol=tol, atol=tol, restart=min(field.n_neurons, 128))
        solution = lx.linear_solve(operator, right_side, solver, throw=False)
        solved = solution.result == lx.RESULTS.successful
        return jax.tree.map(lambda leaf: jnp.where(solved, leaf, jnp.nan), solution.value)

    return jax.vmap(single, in_axes=(None, None, 0, 0, 0, 0))(arrays, tol, state, drive, moving, right_side)
