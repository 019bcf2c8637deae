"""Costs: C(theta, s, y) of settled states, their derivatives, and what the parameters themselves cost."""

import abc
import math
import sys
import types
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Inexact, PyTree

from ._arrays import as_scalar, check_positive, is_concrete
from ._tracing import told_plainly
from .activations import ACTIVATIONS, Activation, hard_sigmoid


class AbstractCost(eqx.Module):
    r"""C(theta, s, y): a cost of the parameters, the settled state and the target, and a penalty on the parameters.

    The gradient is $dJ/d\theta = \partial C/\partial\theta - (\partial\mu/\partial\theta)^\top J^{-\top}
    \partial C/\partial s$, everything at the free equilibrium (appendix A of Scellier et al. 2018).

    Attributes:
        weight_decay: lambda of the penalty (lambda / 2) ||theta||^2, zero or positive.
    """

    weight_decay: eqx.AbstractVar[Float[Array, ""]]

    def __check_init__(self) -> None:
        if is_concrete(self.weight_decay) and not 0 <= float(self.weight_decay) < math.inf:
            raise ValueError(f"weight_decay={self.weight_decay:g}: give a strength of at least 0, such as 1e-4")

    @abc.abstractmethod
    def of(self, field: Any, state: PyTree, target: Float[Array, "batch outputs"]) -> Inexact[Array, " batch"]:
        """The cost of every sample at a state of a field, without the penalty."""

    def slope(self, field: Any, state: PyTree, target: Float[Array, "batch outputs"]) -> PyTree:
        """dC/ds of every sample, with the state's structure."""
        values, transpose = jax.vjp(lambda s: self.of(field, s, target), state)
        return transpose(jnp.ones_like(values))[0]

    def curvature(self, field: Any, state: PyTree, target: Float[Array, "batch outputs"]) -> Any:
        """What the cost adds to the stiffness of each output, (batch, outputs), for steps; 0 where it is not known."""
        del field, state, target
        return 0.0

    def by_parameters(
        self, field: Any, state: PyTree, target: Float[Array, "batch outputs"], counted: Bool[Array, " batch"]
    ) -> PyTree:
        """dC/dtheta at fixed states, summed over the samples that count, with the structure of `field.parameters()`."""
        return _by_parameters(field, lambda moved: self.of(moved, state, target), lambda _: counted)

    def penalty(self, parameters: PyTree) -> Float[Array, ""]:
        """The part of the cost that depends on the parameters alone."""
        squares = [jnp.sum(leaf**2) for leaf in jax.tree.leaves(parameters)]
        return 0.5 * self.weight_decay * jnp.sum(jnp.stack(squares))


def _by_parameters(field: Any, function: Callable[[Any], Array], weigh: Callable[[Array], Array]) -> PyTree:
    """The gradient by the field's parameters of a function of the field, each of whose values is weighed."""
    values, transpose = jax.vjp(lambda parameters: function(eqx.combine(parameters, field)), field.parameters())
    return transpose(jnp.asarray(weigh(values), values.dtype))[0]


class AbstractOutputCost(AbstractCost):
    """A cost of what the field reads from its state, and of the target. A subclass gives the cost alone."""

    @abc.abstractmethod
    def __call__(
        self, output: Inexact[Array, "batch outputs"], target: Float[Array, "batch outputs"]
    ) -> Inexact[Array, " batch"]:
        """The cost of every sample, without the penalty."""

    def gradient(
        self, output: Inexact[Array, "batch outputs"], target: Float[Array, "batch outputs"]
    ) -> Inexact[Array, "batch outputs"]:
        """dC/d(output) of every sample; by JAX unless it is given."""
        values, transpose = jax.vjp(lambda o: self._each(o, target), output)
        return transpose(jnp.ones_like(values))[0]

    def _each(
        self, output: Inexact[Array, "batch outputs"], target: Float[Array, "batch outputs"]
    ) -> Inexact[Array, " batch"]:
        """The cost itself, whose shape is that of the batch: else samples would count one another."""
        values = self(output, target)
        if jnp.shape(values) != (len(output),):
            raise ValueError(
                f"{type(self).__name__} of {len(output)} samples has the shape {jnp.shape(values)}: give one number a "
                f"sample, ({len(output)},), such as a sum over axis 1"
            )
        return values

    def of(self, field: Any, state: PyTree, target: Float[Array, "batch outputs"]) -> Inexact[Array, " batch"]:
        return self._each(field.output(state), target)

    def slope(self, field: Any, state: PyTree, target: Float[Array, "batch outputs"]) -> PyTree:
        output, transpose = jax.vjp(field.output, state)
        return transpose(self.gradient(output, target))[0]

    def curvature(self, field: Any, state: PyTree, target: Float[Array, "batch outputs"]) -> Any:
        output = field.output(state)
        return jax.jvp(lambda s: self.gradient(s, target), (output,), (jnp.ones_like(output),))[1]

    def by_parameters(
        self, field: Any, state: PyTree, target: Float[Array, "batch outputs"], counted: Bool[Array, " batch"]
    ) -> PyTree:
        def weigh(output: Array) -> Array:
            return jnp.where(counted[:, None], self.gradient(output, target), 0)

        return _by_parameters(field, lambda moved: moved.output(state), weigh)


class FunctionCost(AbstractCost):
    """A cost that is a function of one sample; `cost` makes it.

    Attributes:
        function: C(theta, s, y) -> ().
        weight_decay: lambda, zero or positive.
    """

    function: Callable[[Any, Any, Array], Array] = eqx.field(static=True)
    weight_decay: Float[Array, ""] = eqx.field(converter=as_scalar, default=0.0)

    def of(self, field: Any, state: PyTree, target: Float[Array, "batch outputs"]) -> Inexact[Array, " batch"]:
        with told_plainly("the cost"):
            values = jax.vmap(lambda s, y: self.function(field.parameter_tree, s, y))(state, target)
        if not eqx.is_array(values):
            raise ValueError(f"the cost of one sample is a {type(values).__name__}: give a function with one number")
        if values.ndim != 1:
            raise ValueError(
                f"the cost of one sample has the shape {values.shape[1:]}: give a function with one number"
            )
        if not jnp.issubdtype(values.dtype, jnp.inexact):
            raise ValueError(
                f"the cost of one sample is a number of {values.dtype}: give a function with one real number"
            )
        if jnp.iscomplexobj(values) and not any(map(jnp.iscomplexobj, jax.tree.leaves(state))):
            raise ValueError("the cost of one sample is a complex number: give a function with one real number")
        return values


def cost(function: Callable[[Any, Any, Array], Array], *, weight_decay: ArrayLike = 0.0) -> FunctionCost:
    """A cost from a function of one sample, C(theta, s, y), in plain JAX; all of its derivatives are taken.

    It may depend on hidden states, and on the parameters: dC/dtheta is part of every rule's gradient. GeneRec and
    contrastive Hebbian learning follow the error of the rates whatever the cost, and nonlinear back-propagation needs
    an `AbstractOutputCost`.

    Args:
        function: of theta (what `epf.field` was given; otherwise the field itself, with its attributes), the state s of
            one sample with the field's structure, and the target y (outputs,). It gives one number.
        weight_decay: lambda of the penalty (lambda / 2) ||theta||^2.
    """
    return FunctionCost(function=function, weight_decay=weight_decay)


class Quadratic(AbstractOutputCost):
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


class Matching(AbstractOutputCost):
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
            known = ", ".join(_INTEGRALS)
            raise ValueError(
                f"no matching loss for {self.activation.name}: choose one of {known}, or the quadratic cost"
            )

    def __call__(
        self, output: Inexact[Array, "batch outputs"], target: Float[Array, "batch outputs"]
    ) -> Inexact[Array, " batch"]:
        integral, conjugate = _INTEGRALS[self.activation.name]
        return jnp.sum(integral(output) - target * output + conjugate(target), axis=-1)

    def gradient(
        self, output: Inexact[Array, "batch outputs"], target: Float[Array, "batch outputs"]
    ) -> Inexact[Array, "batch outputs"]:
        return self.activation(output) - target


class CrossEntropy(AbstractOutputCost):
    r"""The cross-entropy of a softmax of the outputs: $C(s, y) = \log\sum_k e^{s_k} - \sum_k y_k s_k$.

    Targets are a distribution over the outputs, such as one-hot. Its derivative is softmax(s) - y.

    Attributes:
        weight_decay: lambda, zero or positive.
    """

    weight_decay: Float[Array, ""] = eqx.field(converter=as_scalar, default=0.0)

    def __call__(
        self, output: Inexact[Array, "batch outputs"], target: Float[Array, "batch outputs"]
    ) -> Inexact[Array, " batch"]:
        return jax.nn.logsumexp(output, axis=-1) - jnp.sum(target * output, axis=-1)

    def gradient(
        self, output: Inexact[Array, "batch outputs"], target: Float[Array, "batch outputs"]
    ) -> Inexact[Array, "batch outputs"]:
        return jax.nn.softmax(output, axis=-1) - target


class Huber(AbstractOutputCost):
    r"""Quadratic for small errors, linear for large ones: no output is pulled harder than by `width`.

    Source: Huber 1964.

    Attributes:
        width: the error at which the cost becomes linear, positive.
        weight_decay: lambda, zero or positive.
    """

    width: Float[Array, ""] = eqx.field(converter=as_scalar, default=1.0)
    weight_decay: Float[Array, ""] = eqx.field(converter=as_scalar, default=0.0)

    def __check_init__(self) -> None:
        check_positive(self, "width")

    def __call__(
        self, output: Inexact[Array, "batch outputs"], target: Float[Array, "batch outputs"]
    ) -> Inexact[Array, " batch"]:
        inside = self.gradient(output, target)
        return jnp.sum(inside * (output - target) - 0.5 * inside**2, axis=-1)

    def gradient(
        self, output: Inexact[Array, "batch outputs"], target: Float[Array, "batch outputs"]
    ) -> Inexact[Array, "batch outputs"]:
        return jnp.clip(output - target, -self.width, self.width)


class Margin(AbstractOutputCost):
    r"""The hinge loss of classes: every wrong output is to stay a margin below the right one.

    $$C(s, y) = \sum_k (1 - y_k) \max\Big(0,\; m + s_k - \sum_j y_j s_j\Big)$$

    for one-hot targets y. Source: Weston & Watkins 1999.

    Attributes:
        margin: m, positive.
        weight_decay: lambda, zero or positive.
    """

    margin: Float[Array, ""] = eqx.field(converter=as_scalar, default=0.5)
    weight_decay: Float[Array, ""] = eqx.field(converter=as_scalar, default=0.0)

    def __check_init__(self) -> None:
        check_positive(self, "margin")

    def __call__(
        self, output: Inexact[Array, "batch outputs"], target: Float[Array, "batch outputs"]
    ) -> Inexact[Array, " batch"]:
        right = jnp.sum(target * output, axis=-1, keepdims=True)
        return jnp.sum((1 - target) * jax.nn.relu(self.margin + output - right), axis=-1)


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


_NAMED: dict[str, Callable[[Activation], AbstractCost]] = {
    "quadratic": lambda _: Quadratic(),
    "matching": lambda rho: Matching(activation=rho),
    "cross-entropy": lambda _: CrossEntropy(),
    "huber": lambda _: Huber(),
    "margin": lambda _: Margin(),
}


def named_cost(name: str, of: Any) -> AbstractCost:
    """A cost by its name, or `module:attribute`: a cost, or a function C(theta, s, y), of a module that is loaded.

    Args:
        name: quadratic, matching, cross-entropy, huber or margin; or such as `my_costs:mine`.
        of: the network, or its activation, which the matching loss takes; the hard sigmoid where it has none.

    Raises:
        ValueError: for a name that is not known, and for what is no cost.
    """
    if name in _NAMED:
        return _NAMED[name](of if isinstance(of, Activation) else getattr(of, "activation", hard_sigmoid))
    module, _, attribute = name.partition(":")
    if not attribute:
        raise ValueError(f"unknown cost {name!r}: choose one of {', '.join(_NAMED)}, or name yours as module:attribute")
    found: Any = getattr(sys.modules.get(module), attribute, None)
    if found is None:
        raise ValueError(f"no {attribute!r} in a module {module!r} that is loaded: import its file first (--import)")
    if isinstance(found, AbstractCost):
        return found
    if not isinstance(found, types.FunctionType):
        raise ValueError(f"{name} is no cost: give an AbstractCost, or a function C(theta, s, y) of one sample")
    return cost(found)
