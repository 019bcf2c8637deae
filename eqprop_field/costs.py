"""Costs: how far the settled output is from its target, and what the parameters themselves cost."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Inexact, PyTree

from ._arrays import as_scalar


class AbstractCost(eqx.Module):
    """C(theta, s, y): a cost of the output neurons' states plus a penalty on the parameters."""

    @abc.abstractmethod
    def __call__(
        self, output: Inexact[Array, "batch outputs"], target: Float[Array, "batch outputs"]
    ) -> Inexact[Array, " batch"]:
        """The cost of every sample, without the penalty."""

    @abc.abstractmethod
    def gradient(
        self, output: Inexact[Array, "batch outputs"], target: Float[Array, "batch outputs"]
    ) -> Inexact[Array, "batch outputs"]:
        """dC/d(output) of every sample."""

    @abc.abstractmethod
    def penalty(self, parameters: PyTree) -> Float[Array, ""]:
        """The part of the cost that depends on the parameters alone (appendix A of Scellier et al. 2018)."""


class Quadratic(AbstractCost):
    r"""The quadratic cost, with an optional quadratic penalty on the parameters.

    $$C(\theta, s, y) = \tfrac12 \lVert y - s_0 \rVert^2 + \tfrac{\lambda}{2} \lVert \theta \rVert^2$$

    Source: Scellier et al. 2018, equation 11; the dependence on theta is that of its appendix A.

    Attributes:
        weight_decay: lambda, zero or positive.
    """

    weight_decay: Float[Array, ""] = eqx.field(converter=as_scalar, default=0.0)

    def __call__(
        self, output: Inexact[Array, "batch outputs"], target: Float[Array, "batch outputs"]
    ) -> Inexact[Array, " batch"]:
        return 0.5 * jnp.sum((target - output) ** 2, axis=-1)

    def gradient(
        self, output: Inexact[Array, "batch outputs"], target: Float[Array, "batch outputs"]
    ) -> Inexact[Array, "batch outputs"]:
        return output - target

    def penalty(self, parameters: PyTree) -> Float[Array, ""]:
        squares = [jnp.sum(leaf**2) for leaf in jax.tree.leaves(parameters)]
        return 0.5 * self.weight_decay * jnp.sum(jnp.stack(squares))
