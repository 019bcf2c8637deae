"""Models for signals by name, drawn at a given size."""

from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array, Key

from ..kernel_networks import AIF, LNL, LSTM, KernelNetwork, Linear
from .driven import fully_recurrent
from .liquid import Liquid
from .reservoir import EchoStateNetwork, Reservoir

Draw = Callable[[Key[Array, ""], int, int, int], Any]


def _of_units(unit: Any) -> Draw:
    return lambda key, units, inputs, outputs: KernelNetwork.create(
        unit(units=units, inputs=inputs, outputs=outputs), key
    )


# Of a key, units, inputs and outputs.
SIGNAL_MODELS: dict[str, Draw] = {
    "esn": lambda key, units, inputs, outputs: EchoStateNetwork(
        Reservoir.create(key, neurons=units, inputs=inputs, density=min(1.0, 10 / units), input_scale=0.5)
    ),
    "graph": lambda key, units, inputs, outputs: fully_recurrent(key, neurons=units, inputs=inputs, outputs=outputs),
    "linear": _of_units(Linear),
    "lnl": _of_units(LNL),
    "lstm": _of_units(LSTM),
    "aif": _of_units(AIF),
    "liquid": lambda key, units, inputs, outputs: Liquid.create(key, neurons=units, inputs=inputs),
}


def signal_model(name: str, *, inputs: int, outputs: int, units: int = 20, seed: int = 0) -> Any:
    """A model that `fit` takes, with random weights.

    Args:
        name: `esn`, an echo state network; `graph`, a fully recurrent field; `linear`, `lnl`, `lstm` or `aif`, kernel
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
