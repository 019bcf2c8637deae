"""Equilibrium propagation in vector fields: the plain rule."""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Int

from .._arrays import checked_pair
from ..costs import AbstractCost, Quadratic
from ..substrates.base import AbstractSubstrate
from ..substrates.equilibrium import Equilibrium
from ..substrates.nudging import Nudging
from ..substrates.solution import Solution
from ..vector_fields.base import AbstractVectorField, State
from .base import AbstractLearningRule, Estimate, mean_gradient, worst_verdict


class EqProp(AbstractLearningRule):
    r"""Equilibrium propagation: the update from the free and the nudged equilibria.

    $$\Delta\theta \propto \nu = \Big(\frac{\partial\mu}{\partial\theta}(s^0)\Big)^{\!\top}
      \frac{\partial s^\beta}{\partial\beta}\Big|_{\beta=0}$$

    For a synapse: $\Delta W_{ij} = \frac1\beta \rho(s_j^0)\,(s_i^\beta - s_i^0)$, the end-point form. Where the
    substrate keeps the nudged trajectory, the trajectory form $\frac1\beta \int \rho(s_j)\,ds_i$ is reported beside it;
    the two agree as beta -> 0.

    `Estimate.gradient` is -nu. It equals dJ/dtheta only where the Jacobian dmu/ds at the equilibrium is symmetric,
    for then nu = (dmu/dtheta)^T J^{-1} dC/ds and dJ/dtheta = -(dmu/dtheta)^T J^{-T} dC/ds agree up to the sign
    (theorem 1). A symmetric W alone is enough for the hard sigmoid with projected dynamics, NOT for a smooth rho:
    there J = W rho'(s) - I. Source: Scellier et al. 2018, equations 13-19.

    Attributes:
        nudging: which betas, and how the derivative is read; symmetric with beta = 0.1 by default.
        substrate: where the phases run; `Equilibrium()` by default.
        cost: C; `Quadratic()` by default.
    """

    nudging: Nudging = eqx.field(default_factory=lambda: Nudging.symmetric(0.1))
    substrate: AbstractSubstrate = eqx.field(default_factory=Equilibrium)
    cost: AbstractCost = eqx.field(default_factory=Quadratic)

    def estimate(self, field: AbstractVectorField, x: ArrayLike, y: ArrayLike, *, throw: bool = True) -> Estimate:
        x, y = checked_pair(x, y, (field.n_inputs, field.n_outputs), field.dtype)
        free, nudged = self.substrate.phases(field, x, self.nudging.nudges(self.cost, y), throw=throw)
        return compare_phases(self.nudging, self.cost, field, x, y, free, nudged)


@eqx.filter_jit
def compare_phases(
    nudging: Nudging,
    cost: AbstractCost,
    field: AbstractVectorField,
    x: Array,
    y: Array,
    free: Solution,
    nudged: Sequence[Solution],
) -> Estimate:
    """The estimate from phases that have run, wherever they ran: an ODE solver or a measured circuit."""
    verdict = worst_verdict(free, *nudged)
    displacement = nudging.displacement(free.state, [solution.state for solution in nudged])
    path_gradient = None
    if all(solution.trajectory is not None for solution in nudged):
        path_gradient = _path_gradient(nudging, cost, field, x, nudged, verdict)
    return Estimate(
        gradient=mean_gradient(field, cost, x, free.state, displacement, verdict),
        cost=cost(field.output(free.state), y),
        verdict=verdict,
        free=free,
        nudged=tuple(nudged),
        path_gradient=path_gradient,
    )


def _path_gradient(
    nudging: Nudging,
    cost: AbstractCost,
    field: AbstractVectorField,
    x: Array,
    nudged: Sequence[Solution],
    verdict: Int[Array, " batch"],
) -> AbstractVectorField:
    """-sum_k w_k int (dmu/dtheta(s))^T ds along each nudged phase, by the midpoint rule (second order in the times)."""
    middles, increments = [], []
    for weight, solution in zip(nudging.weights, nudged, strict=True):
        middles.append(jax.tree.map(lambda s: 0.5 * (s[1:] + s[:-1]), solution.trajectory))
        increments.append(jax.tree.map(lambda s, w=weight: w * jnp.diff(s, axis=0), solution.trajectory))
    rows = sum(jax.tree.leaves(middle)[0].shape[0] for middle in middles)

    def stack(*leaves: Array) -> Array:
        """Time, and which nudge, into the batch axis."""
        joined = jnp.concatenate(leaves)
        return joined.reshape(-1, *joined.shape[2:])

    # mean_gradient divides by the settled rows; every sample is there `rows` times.
    scaled: State = jax.tree.map(lambda *leaves: rows * stack(*leaves), *increments)
    middle: State = jax.tree.map(stack, *middles)
    return mean_gradient(field, cost, jnp.tile(x, (rows, 1)), middle, scaled, jnp.tile(verdict, rows))
