"""Costs: how far the settled output is from its target, and what the parameters themselves cost."""

import abc
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Inexact, PyTree

from ._arrays import as_scalar
from .activations import ACTIVATIONS, Activation, hard_sigmoid


class AbstractCost(eqx.Module):
    """C(theta, s, y): a cost of the output neurons' states plus a penalty on the parameters.

    Attributes:
        weight_decay: lambda of the penalty (lambda / 2) ||theta||^2, zero or positive.
    """

    weight_decay: eqx.AbstractVar[Float[Array, ""]]

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

    def penalty(self, parameters: PyTree) -> Float[Array, ""]:
        """The part of the cost that depends on the parameters alone (appendix A of Scellier et al. 2018)."""
        squares = [jnp.sum(leaf**2) for leaf in jax.tree.leaves(parameters)]
        return 0.5 * self.weight_decay * jnp.sum(jnp.stack(squares))


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


class Matching(AbstractCost):
    r"""The matching loss of an activation: its derivative by the state is the error of the RATE.

    $$C(s, y) = \sum_i \int_{\rho^{-1}(y_i)}^{s_i} (\rho(u) - y_i)\,du, \qquad
      \frac{\partial C}{\partial s_i} = \rho(s_i) - y_i$$

    For the sigmoid it is the logistic cross-entropy, for the linear activation the quadratic cost. An output that is
    saturated on the wrong side still has an error of 1, where the quadratic cost of a clipped state has no derivative:
    with the hard sigmoid and one-hot targets it is a smoothed hinge loss, for fields with `projected=False`.
    Source: Helmbold, Kivinen & Warmuth 1999.

    Attributes:
        activation: rho, of the output neurons: linear, hard_sigmoid, relu, sigmoid or tanh. Targets lie in its range.
        weight_decay: lambda, zero or positive.

    Raises:
        ValueError: for an activation whose integral is not known here.
    """

    activation: Activation = eqx.field(static=True, default=hard_sigmoid)
    weight_decay: Float[Array, ""] = eqx.field(converter=as_scalar, default=0.0)

    def __check_init__(self) -> None:
        if self.activation.name not in _INTEGRALS:
            raise ValueError(f"no matching loss for {self.activation.name}: choose one of {', '.join(_INTEGRALS)}")

    def __call__(
        self, output: Inexact[Array, "batch outputs"], target: Float[Array, "batch outputs"]
    ) -> Inexact[Array, " batch"]:
        integral, conjugate = _INTEGRALS[self.activation.name]
        return jnp.sum(integral(output) - target * output + conjugate(target), axis=-1)

    def gradient(
        self, output: Inexact[Array, "batch outputs"], target: Float[Array, "batch outputs"]
    ) -> Inexact[Array, "batch outputs"]:
        return self.activation(output) - target


def _half_square(s: Array) -> Array:
    return 0.5 * s**2


def _entropy(y: Array) -> Array:
    """y log y + (1 - y) log(1 - y)."""
    return jax.scipy.special.xlogy(y, y) + jax.scipy.special.xlogy(1 - y, 1 - y)


def _integral_of_clipped(activation: Activation) -> Callable[[Array], Array]:
    return lambda s: _half_square(activation(s)) + (s - activation(s)) * activation(s)


# For each rho: R, its integral from 0, and max_s (y s - R(s)), which makes the smallest cost 0.
_INTEGRALS = {
    "linear": (_half_square, _half_square),
    "hard_sigmoid": (_integral_of_clipped(hard_sigmoid), _half_square),
    "relu": (_integral_of_clipped(ACTIVATIONS["relu"]), _half_square),
    "sigmoid": (jax.nn.softplus, _entropy),
    "tanh": (lambda s: jnp.logaddexp(s, -s) - jnp.log(2.0), lambda y: _entropy(0.5 * (1 + y)) + jnp.log(2.0)),
}
