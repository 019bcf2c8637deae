r"""Leaky integrators read as rate neurons: the model in which the older contrastive rules are defined.

A rate neuron has the activation on its summed input, $V_i = \rho(h_i)$ with $h = W V + W_{in} x + b$. At a fixed point
of a leaky integrator, $s = W \rho(s) + W_{in} x + b$, so the firing rates $V = \rho(s)$ are a fixed point of the rate
neurons, with the summed inputs h = s. (At a bound of the projected dynamics s stops at the bound; h goes on.)
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..activations import ACTIVATIONS
from .base import AbstractVectorField, State, flatten_state, unflatten_state
from .graph import GraphField
from .layered import LayeredField


def check_rate_field(rule: str, field: AbstractVectorField) -> None:
    """Refuses fields whose fixed points are not those of rate neurons.

    Raises:
        ValueError: for any field but leaky integrators, and for one with linear outputs, naming the rule.
    """
    if field.free_outputs:
        raise ValueError(
            f"{rule} is defined for neurons that all have the activation, and free_outputs=True makes the outputs "
            "linear: use free_outputs=False"
        )
    if not field.leaky_integrators:
        raise ValueError(
            f"{rule} is defined for neurons with the activation on their summed input, which the fixed points of a "
            f"{type(field).__name__} are not: use a LayeredField or a GraphField"
        )


def summed_input(field: AbstractVectorField, state: State, drive: State) -> State:
    """h = W rho(s) + drive, by neuron."""
    return jax.tree.map(jnp.add, field(state, drive), state)


def rates_as_states(field: AbstractVectorField) -> AbstractVectorField:
    """The same parameters with a linear activation: its states ARE firing rates, and so are what `pull_back` takes."""
    dynamics = {"activation": ACTIVATIONS["linear"], "projected": False}
    return dataclasses.replace(field, **dynamics)


def as_parameters_of(field: AbstractVectorField, gradient: AbstractVectorField) -> AbstractVectorField:
    """A gradient for `rates_as_states(field)` as one for `field`, whose activation is another."""
    return jax.tree.unflatten(jax.tree.structure(field.parameters()), jax.tree.leaves(gradient))


def firing_rates(field: AbstractVectorField, state: State, output: Array | None = None) -> State:
    """rho(s) of every neuron, with the output neurons' rates replaced by `output` if it is given."""
    rates = field.rates(state)
    if output is None:
        return rates
    flat = flatten_state(rates)
    return unflatten_state(rates, jnp.concatenate([output, flat[:, field.n_outputs :]], axis=1))


def recurrent_input(field: AbstractVectorField, rates: State) -> State:
    """W V of every neuron."""
    return unflatten_state(rates, flatten_state(rates) @ field.recurrent_matrix().T)


def backward_input(field: AbstractVectorField, signals: State) -> State:
    """W^T y of every neuron: what comes back along its outgoing synapses."""
    return unflatten_state(signals, flatten_state(signals) @ field.recurrent_matrix())


def feedback_gain_error(field: AbstractVectorField, gain: Array) -> Float[Array, ""]:
    """How far the weights are from W_back = gain W_fwd^T, relative to the largest: 0 where that holds.

    A graph has no direction that is forward: there the question is whether W = W^T, which is gain 1.
    """
    if isinstance(field, GraphField):
        w = field.recurrent_matrix()
        apart, largest = jnp.max(jnp.abs(w - w.T)), jnp.max(jnp.abs(w))
        return jnp.where(gain == 1, apart / jnp.maximum(largest, jnp.finfo(field.dtype).tiny), jnp.inf)
    if not isinstance(field, LayeredField):
        return jnp.full((), jnp.inf, field.dtype)
    pairs = list(zip(field.forward[:-1], field.feedback, strict=True))
    if not pairs:
        return jnp.zeros((), field.dtype)
    apart = jnp.stack([jnp.max(jnp.abs(back - gain * ahead.T)) for ahead, back in pairs])
    largest = jnp.stack([jnp.max(jnp.abs(gain * ahead)) for ahead, _ in pairs])
    return jnp.max(apart / jnp.maximum(largest, jnp.finfo(field.dtype).tiny))
