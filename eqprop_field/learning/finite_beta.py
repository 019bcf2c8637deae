"""Finite influence: how much of an update is due to a beta that is not 0."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .._arrays import checked_pair
from .._compilation import compiled
from ..substrates.dynamics import Dynamics
from ..substrates.implicit import Linearised, LinearSolve
from ..substrates.nudging import Nudging
from ..substrates.solution import Solution
from ..vector_fields.base import AbstractVectorField, mask_samples
from .base import AbstractLearningRule, Estimate, summed_update, tree_norm


def finite_beta(
    rule: AbstractLearningRule, field: AbstractVectorField, x: ArrayLike, y: ArrayLike, found: Estimate
) -> Estimate:
    r"""The estimate, with the error of its finite beta beside it: the update in the limit is one linear solve away.

    $$\frac{\partial s^\beta}{\partial\beta}\Big|_0 = J_0^{-1}\,\frac{\partial C}{\partial s}(s^0), \qquad
      J_0 = \frac{\partial\mu^\beta}{\partial s}(s^0)\Big|_{\beta=0}$$

    among the neurons that can move at $s^0$; of AEP's nudged phase J_0 is the transpose of the field's. The error is
    $\|\nu^\beta - \nu^0\| / \|\nu^\beta\|$ of the updates without what the cost itself says of theta. NaN where no
    sample settled, and not measured for an infinite beta. `budget` measures the same from phases at tiny betas.

    Args:
        rule: which made the estimate: `EqProp` or `AEP`, or another that has a `nudging` and as many nudged phases.
        field: the network; x: inputs; y: targets, as the rule had them.
        found: what the rule found.

    Raises:
        ValueError: for a rule without a `nudging`.
    """
    nudging = getattr(rule, "nudging", None)
    if not isinstance(nudging, Nudging):
        raise ValueError(f"{type(rule).__name__} has no nudging whose beta could tend to 0: ask of EqProp or AEP")
    if nudging.clamped:  # no beta to be small
        return found
    x, y = checked_pair(x, y, (field.n_inputs, field.n_outputs), field.dtype)
    return dataclasses.replace(found, finite_beta=_error(rule, field, x, y, (found.free, found.nudged)))


@compiled
def _error(
    rule: AbstractLearningRule,
    field: AbstractVectorField,
    x: Array,
    y: Array,
    phases: tuple[Solution, tuple[Solution, ...]],
) -> Float[Array, ""]:
    free, nudged = phases
    read = rule._read(field, x, y, free, nudged)
    state = mask_samples(free.converged, free.state)

    def nudge(beta: float):
        (only,) = dataclasses.replace(
            rule, nudging=Nudging((jnp.asarray(beta, field.dtype),), (jnp.ones(()),))
        )._nudges(y)
        return only.anchored(field, x, state)

    system = Dynamics(field, field.drive(x), nudge(0.0))
    moving = system.active(state, system.velocity()(state))
    right_side = jax.tree.map(jnp.negative, nudge(1.0).force(field, state))
    limit = LinearSolve().solve(Linearised(system, state, moving), right_side)
    ideal = summed_update(field, x, state, rule._signal(field, limit), read.verdict)
    return tree_norm(jax.tree.map(jnp.subtract, read.update, ideal)) / tree_norm(read.update)
