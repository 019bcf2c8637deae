"""Alignment and symmetry of one network at one time: what is followed over training."""

import dataclasses
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .._arrays import checked_pair
from ..learning.base import AbstractLearningRule
from ..learning.implicit import ImplicitGradient
from ..substrates.solution import Verdict
from ..vector_fields.base import AbstractVectorField
from .alignment import compare
from .symmetry import jacobian_asymmetry, weight_symmetry


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """How a rule's update of a batch is aligned, and how symmetric the network is.

    Attributes:
        layers: the layers' names, `all` (the whole gradient) first.
        cosine: of the batch's mean update and its mean negative gradient; NaN where one is zero, (layer,).
        jacobian_asymmetry: ||J - J^T|| / ||J + J^T|| at the free equilibria, the mean over the samples that settled
            with a neuron that can move; NaN without any.
        weight_symmetry: <W, W^T> / ||W||^2.
        settled: the share of the samples with all phases settled; the others are left out.
    """

    layers: tuple[str, ...]
    cosine: Float[np.ndarray, " layer"]
    jacobian_asymmetry: float
    weight_symmetry: float
    settled: float

    def rows(self) -> list[dict[str, Any]]:
        """One row a layer."""
        same = {name: getattr(self, name) for name in ("jacobian_asymmetry", "weight_symmetry", "settled")}
        columns = zip(self.layers, self.cosine.tolist(), strict=True)
        return [{"layer": layer, "cosine": cosine, **same} for layer, cosine in columns]

    def entry(self) -> dict[str, Any]:
        """The same as an entry of a run's history; None for what is not known."""
        known = lambda value: value if math.isfinite(value) else None  # noqa: E731
        return {
            "cosine": {layer: known(cosine) for layer, cosine in zip(self.layers, self.cosine.tolist(), strict=True)},
            "jacobian_asymmetry": known(self.jacobian_asymmetry),
            "weight_symmetry": known(self.weight_symmetry),
        }


def snapshot(
    field: AbstractVectorField,
    rule: AbstractLearningRule,
    x: ArrayLike,
    y: ArrayLike,
    *,
    truth: ImplicitGradient | None = None,
) -> Snapshot:
    r"""Measures $\cos(\nu, -dJ/d\theta)$ of a batch's MEAN update, as training applies it, and the network's symmetry.

    `alignment` averages the cosines of single samples instead, over networks drawn at random.

    Args:
        field: the network, as a rule one that is being trained.
        rule: whose update; its substrate must run under JAX.
        x: inputs, (sample, inputs); y: targets, (sample, outputs).
        truth: how the true gradient is computed (its substrate is not used).

    Raises:
        ValueError: for data that do not fit, or a rule on a circuit.
    """
    x, y = checked_pair(x, y, (field.n_inputs, field.n_outputs), field.dtype)
    if not rule.substrate.traceable:
        raise ValueError("the rule settles outside JAX: measure alignment on an ODE substrate")
    cosine, asymmetry, symmetry, settled = _measured(field, rule, truth or ImplicitGradient(), x, y)
    layers = ("all", *field.layers())
    return Snapshot(layers, np.asarray(cosine, float), float(asymmetry), float(symmetry), float(settled))


@eqx.filter_jit
def _measured(
    field: AbstractVectorField, rule: AbstractLearningRule, truth: ImplicitGradient, x: Array, y: Array
) -> tuple[Array, Array, Array, Array]:
    estimate = rule.estimate(field, x, y, throw=False)
    settled = estimate.verdict == Verdict.converged
    free = eqx.tree_at(lambda free: free.verdict, estimate.free, estimate.verdict)  # the same samples in both
    true = truth.at(field, x, y, free)
    cosine, _ = compare(estimate.gradient, true.gradient, jnp.min(estimate.verdict))
    at_once = jax.tree.map(lambda leaf: leaf[:, None], (field.drive(x), estimate.free.state))
    # Jacobians are dense: a few at a time.
    asymmetry = jax.lax.map(lambda one: jacobian_asymmetry(field, *one)[0], at_once, batch_size=10)
    known = settled & jnp.isfinite(asymmetry)  # undefined where every neuron is held at a bound
    mean = jnp.sum(jnp.where(known, asymmetry, 0)) / jnp.sum(known)
    return cosine, mean, weight_symmetry(field), jnp.mean(settled)
