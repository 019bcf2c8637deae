"""Models that go on from where they were: outputs of the next samples, for every model that `fit` takes."""

import functools
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..kernel_networks import KernelNetwork, dynamics
from ..kernel_networks.nodes import structure_of
from ..signals import Signal
from ..vector_fields import AbstractVectorField
from .driven import EulerSteps, initial_state, outputs_of
from .liquid import Liquid
from .readout import Readout
from .reservoir import AbstractEchoStateNetwork, EchoStateNetwork

Samples = Float[Array, "_ batch _"]  # (time, batch, channels)


class Past(NamedTuple):
    """Where a model has stopped.

    Attributes:
        state: of its neurons.
        inputs: its last inputs, which later samples read (samples, batch, channels).
    """

    state: Any
    inputs: Samples


@functools.singledispatch
def advance(model: Any, inputs: Samples, step: Float[Array, ""], past: Past | None) -> tuple[Samples, Past]:
    """The outputs at these samples, and where the model has stopped.

    Args:
        model: a field (Euler steps), a kernel network, an echo state network or a liquid.
        inputs: u (time, batch, inputs), at least one sample.
        step: the time between samples.
        past: where it goes on from; rest at the first sample by default.

    Raises:
        ValueError: for another model, or one without a readout that needs it.
    """
    raise ValueError(
        f"a {type(model).__name__} is no model for signals: give a vector field, a KernelNetwork, an echo state "
        "network or a Liquid"
    )


@advance.register
@eqx.filter_jit
def _field(
    model: AbstractVectorField, inputs: Samples, step: Float[Array, ""], past: Past | None
) -> tuple[Samples, Past]:
    values = inputs if past is None else jnp.concatenate([past.inputs, inputs])
    start = initial_state(model, inputs.shape[1], None if past is None else past.state)
    states = EulerSteps().states(model, Signal(values, step).astype(model.dtype), start, None)
    outputs = outputs_of(model, states, None)
    return (outputs if past is None else outputs[1:]), Past(states[-1], inputs[-1:])


@advance.register
@eqx.filter_jit
def _kernels(model: KernelNetwork, inputs: Samples, step: Float[Array, ""], past: Past | None) -> tuple[Samples, Past]:
    del step  # its delays are samples
    unit, longest = model.unit, structure_of(model.unit).max_input_lag
    inputs = inputs.astype(model.low.dtype)
    before = jnp.zeros((longest, *inputs.shape[1:]), inputs.dtype) if past is None else past.inputs
    state = dynamics.initial_past(unit, inputs) if past is None else past.state
    read = jnp.concatenate([before, inputs])
    rest = int(past is None)  # at the first sample of all nothing is computed
    windows = jnp.stack([read[longest - lag + rest : len(read) - lag] for lag in range(longest + 1)], axis=1)
    state, outputs = dynamics.forward(unit, model.weights, state, windows, outputs_only=True)
    resting = jnp.zeros((rest, *outputs.shape[1:]), outputs.dtype)
    return jnp.concatenate([resting, outputs]), Past(state, read[len(read) - longest :])


@advance.register
def _echo_state(
    model: AbstractEchoStateNetwork, inputs: Samples, step: Float[Array, ""], past: Past | None
) -> tuple[Samples, Past]:
    reads_now = isinstance(model, EchoStateNetwork)  # sample k is read by state k, and not on the way to it
    joined = past is not None and not reads_now
    values = inputs if past is None or reads_now else jnp.concatenate([past.inputs, inputs])
    start = None if past is None else past.state
    states = model.run(Signal(values, step), start=start, throw=False).states
    outputs = _read(model.readout, states)
    return (outputs[1:] if joined else outputs), Past(states[-1], inputs[-1:])


@advance.register
def _liquid(model: Liquid, inputs: Samples, step: Float[Array, ""], past: Past | None) -> tuple[Samples, Past]:
    values = inputs if past is None else jnp.concatenate([past.inputs, inputs])
    states, last = model.advance(Signal(values, step), None if past is None else past.state)
    outputs = _read(model.readout, states)
    return (outputs if past is None else outputs[1:]), Past(last, inputs[-1:])


def _read(readout: Readout | None, states: Array) -> Array:
    if readout is None:
        raise ValueError("this reservoir has no readout yet: fit it first")
    return readout(states)
