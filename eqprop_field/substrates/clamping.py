"""Clamped outputs: what a plus phase adds to the vector field."""

import math

import numpy as np
from jaxtyping import Array, Float

from .._arrays import is_concrete
from ..activations import Activation
from ..vector_fields.base import AbstractVectorField, State
from ..vector_fields.rates import firing_rates, recurrent_input, require_rate_neurons
from .capabilities import Capability
from .nudging import AbstractNudge


class RateClamp(AbstractNudge):
    """The output neurons fire at their target rates, whatever their own states are.

    All other neurons feel the clamped rates; the output neurons' own states keep following their summed input, which
    nothing reads. It is the plus phase of contrastive rules (Movellan 1990; O'Reilly 1996).

    Attributes:
        target: y, the rates, (batch, outputs).
    """

    target: Float[Array, "batch outputs"]

    @property
    def needs(self) -> frozenset[Capability]:
        return super().needs | {Capability.clamped_outputs}

    def force(self, field: AbstractVectorField, state: State) -> State:
        network = require_rate_neurons(field, "a clamped output")
        missing = self.target - field.output(firing_rates(network, state))
        return recurrent_input(network, field.embed(missing))


def check_rates(name: str, target: Float[Array, "batch outputs"], activation: Activation) -> None:
    """Refuses targets at which no neuron can fire.

    Raises:
        ValueError: naming the targets and the activation's range.
    """
    low, high = activation.range
    if not is_concrete(target) or (math.isinf(low) and math.isinf(high)):
        return
    rates = np.asarray(target)  # JAX would trace the comparison of a constant inside a compiled function
    if ((rates < low) | (rates > high)).any():
        raise ValueError(
            f"{name} holds rates outside [{low:g}, {high:g}], at which {activation.name} neurons cannot be clamped: "
            f"rescale the targets, or choose another activation"
        )
