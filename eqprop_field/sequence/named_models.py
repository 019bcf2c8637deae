"""Models for signals by name, drawn at a given size."""

import itertools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, Key

from ..kernel_networks import AIF, LNL, LSTM, KernelNetwork, Linear
from .driven import fully_recurrent
from .liquid import Liquid
from .reservoir import EchoStateNetwork, Reservoir

Draw = Callable[[Key[Array, ""], int, int, int], Any]


_RADII, _INPUT_SCALES, _LEAKS = (0.95, 0.99), (0.03, 0.3), (0.3, 1.0)  # of the echo state networks to choose from
_BIAS_SCALE = 0.5


def _echo_state_networks(key: Key[Array, ""], units: int, inputs: int, outputs: int) -> list[EchoStateNetwork]:
    del outputs
    drawn = Reservoir.create(
        key, neurons=units, inputs=inputs, density=min(1.0, 10 / units), radius=1.0, bias_scale=_BIAS_SCALE
    )
    scaled = lambda radius, scale: eqx.tree_at(  # noqa: E731
        lambda r: (r.weights, r.input_weights), drawn, (radius * drawn.weights, scale * drawn.input_weights)
    )
    grid = itertools.product(_RADII, _INPUT_SCALES, _LEAKS)
    return [EchoStateNetwork(scaled(radius, scale), leak=leak) for radius, scale, leak in grid]


def _of_units(unit: Any) -> Draw:
    return lambda key, units, inputs, outputs: KernelNetwork.create(
        unit(units=units, inputs=inputs, outputs=outputs), key
    )


# Of a key, units, inputs and outputs.
SIGNAL_MODELS: dict[str, Draw] = {
    "esn": _echo_state_networks,
    "graph": lambda key, units, inputs, outputs: fully_recurrent(key, neurons=units, inputs=inputs, outputs=outputs),
    "linear": _of_units(Linear),
    "lnl": _of_units(LNL),
    "lstm": _of_units(LSTM),
    "aif": _of_units(AIF),
    "liquid": lambda key, units, inputs, outputs: Liquid.create(key, neurons=units, inputs=inputs),
}


def signal_model(name: str, *, inputs: int, outputs: int, units: int = 20, seed: int = 0) -> Any:
    """A model that `fit` takes, with random weights; for `esn` the list of which it takes the best.

    Args:
        name: `esn`, eight echo state networks (spectral radius 0.95 or 0.99, input scale 0.03 or 0.3, leak 0.3 or 1);
            `graph`, a fully recurrent field; `linear`, `lnl`, `lstm` or `aif`, kernel
            networks of these units; `liquid`.
        inputs: channels of the input; outputs: of the target.
        units: how many neurons or units.
        seed: of the draw.

    Raises:
        ValueError: for a name that is not there, or sizes that make no model.
    """
    if name not in SIGNAL_MODELS:
        raise ValueError(f"model {name!r}: choose one of {', '.join(SIGNAL_MODELS)}")
    return SIGNAL_MODELS[name](jax.random.key(seed), units, inputs, outputs)
