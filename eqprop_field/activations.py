"""Activations: the firing rate rho(s) of a neuron whose membrane voltage is s.

Each activation is one immutable `Activation` that knows everything the rest of the library asks of it: the
function, its derivative, its range, whether it can be continued to complex states, whether it is the projection
on its range (so that states may be clipped to it), and how a circuit writes it in SPICE.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Inexact


@dataclasses.dataclass(frozen=True)
class Activation:
    """The firing rate rho of a neuron as a function of its state s (membrane voltage, dimensionless).

    Attributes:
        name: the name used in network files and on the command line.
        function: rho, elementwise on arrays of any shape.
        derivative: rho', elementwise, in closed form.
        range: the infimum and supremum of rho on the real line.
        holomorphic: whether rho is complex-differentiable near the real line (holomorphic nudging needs it).
        is_projection: whether rho is the projection of s on `range`, so that the projected dynamics (states
            clipped to `range`, equation 77 of Scellier et al. 2018) is defined.
        spice: rho as a SPICE expression, with `{v}` where the voltage of the state node goes.
    """

    name: str
    function: Callable[[Array], Array] = dataclasses.field(repr=False)
    derivative: Callable[[Array], Array] = dataclasses.field(repr=False)
    range: tuple[float, float]
    holomorphic: bool
    is_projection: bool
    spice: str

    def __post_init__(self) -> None:
        try:
            self.spice.format(v="v(s)")
        except (KeyError, ValueError, IndexError) as error:
            raise ValueError(
                f"the SPICE expression {self.spice!r} of {self.name} cannot be filled in: write {{v}} for the voltage "
                "of the state node, and no other braces"
            ) from error

    def __call__(self, state: Inexact[Array, "*shape"]) -> Inexact[Array, "*shape"]:
        """rho(state), elementwise."""
        return self.function(state)

    def __reduce__(self) -> tuple[Any, ...]:
        # By name: functions written in place cannot be sent to another process.
        if ACTIVATIONS.get(self.name) is self:
            return activation, (self.name,)
        return object.__reduce__(self)  # pyright: ignore[reportReturnType]


@functools.cache
def clipping(low: float, high: float) -> tuple[Callable[[Array], Array], Callable[[Array], Array]]:
    """The projection on [low, high] and its derivative, 1 on the CLOSED interval.

    JAX would give one half at the ends; states of the projected dynamics rest exactly there.
    """

    def derivative(state: Array) -> Array:
        return ((state >= low) & (state <= high)).astype(state.dtype)

    @jax.custom_jvp
    def function(state: ArrayLike) -> Array:
        return jnp.clip(state, low, high)

    function.defjvps(lambda tangent, _, state: derivative(state) * tangent)
    return function, derivative


_clip_unit, _clip_unit_derivative = clipping(0.0, 1.0)
_clip_positive, _clip_positive_derivative = clipping(0.0, math.inf)


def _sigmoid(state: Array) -> Array:
    # Through tanh: no overflow on either side, and valid for complex states.
    return 0.5 * (1.0 + jnp.tanh(0.5 * state))


def _softplus(state: Array) -> Array:
    if jnp.iscomplexobj(state):
        return jnp.log1p(jnp.exp(state))
    return jax.nn.softplus(state)


hard_sigmoid = Activation(
    "hard_sigmoid", _clip_unit, _clip_unit_derivative, (0.0, 1.0), False, True, "min(max({v},0),1)"
)
sigmoid = Activation(
    "sigmoid",
    _sigmoid,
    lambda state: _sigmoid(state) * (1.0 - _sigmoid(state)),
    (0.0, 1.0),
    True,
    False,
    "0.5*(1+tanh(0.5*{v}))",
)
tanh = Activation("tanh", jnp.tanh, lambda state: 1.0 - jnp.tanh(state) ** 2, (-1.0, 1.0), True, False, "tanh({v})")
relu = Activation("relu", _clip_positive, _clip_positive_derivative, (0.0, math.inf), False, True, "max({v},0)")
softplus = Activation("softplus", _softplus, _sigmoid, (0.0, math.inf), True, False, "max({v},0)+ln(1+exp(-abs({v})))")
linear = Activation("linear", lambda state: state, jnp.ones_like, (-math.inf, math.inf), True, True, "{v}")


class _Activations(dict[str, Activation]):
    """Activations by their names, by which files find them: those of this package keep their meaning."""

    def __setitem__(self, name: str, rho: Activation) -> None:
        if not isinstance(rho, Activation) or rho.name != name:
            raise ValueError(f"{name!r} cannot name {rho!r:.60}: give an Activation, under its own name")
        if self.get(name, rho) is not rho and name in _OURS:
            raise ValueError(f"there is an activation {name!r} already: give yours another name, for files hold names")
        super().__setitem__(name, rho)


_OURS = {rho.name: rho for rho in (hard_sigmoid, sigmoid, tanh, relu, softplus, linear)}
ACTIVATIONS = _Activations(_OURS)


def activation(rho: str | Activation) -> Activation:
    """The activation of that name; an activation as it is.

    Raises:
        ValueError: for a name that is not one of `ACTIVATIONS`, and anything else.
    """
    if isinstance(rho, Activation):
        return rho
    if not isinstance(rho, str) or rho not in ACTIVATIONS:
        raise ValueError(
            f"unknown activation {rho!r:.40}: choose one of {', '.join(ACTIVATIONS)}, or give an Activation"
        )
    return ACTIVATIONS[rho]
