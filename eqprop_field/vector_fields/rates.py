r"""Leaky integrators read as rate neurons: the model in which the older contrastive rules are defined.

A rate neuron has the activation on its summed input, $V_i = \rho(h_i)$ with $h = W V + W_{in} x + b$. At a fixed point
of a leaky integrator, $s = W \rho(s) + W_{in} x + b$, so the firing rates $V = \rho(s)$ are a fixed point of the rate
neurons, with the summed inputs h = s. (At a bound of the projected dynamics s stops at the bound; h goes on.)
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..activations import ACTIVATIONS, Activation
from .base import AbstractVectorField, State, flatten_state, unflatten_state
from .inheritance import is_builtin
from .leaky import AbstractLeakyIntegrator, require


def require_rate_neurons(field: AbstractVectorField, rule: str) -> AbstractLeakyIntegrator:
    """The field, where its fixed points are those of rate neurons.

    Raises:
        ValueError: for any field but leaky integrators, and for one with linear outputs, naming the rule.
    """
    network = require(field, AbstractLeakyIntegrator, rule)
    if network.free_outputs:
        raise ValueError(
            f"{rule} is defined for neurons that all have the activation, and free_outputs=True makes the outputs "
            "linear: use free_outputs=False"
        )
    return network


def summed_input(field: AbstractVectorField, state: State, drive: State) -> State:
    """h = W rho(s) + drive, by neuron."""
    return jax.tree.map(jnp.add, field(state, drive), state)


class _RateNeurons(AbstractLeakyIntegrator):
    """The leaky integrators that another network's matrices describe, with a linear activation."""

    network: AbstractLeakyIntegrator
    activation: ClassVar[Activation] = ACTIVATIONS["linear"]

    @property
    def n_inputs(self) -> int:
        return self.network.n_inputs

    @property
    def n_outputs(self) -> int:
        return self.network.n_outputs

    def initial_state(self, batch: int) -> State:
        return self.network.initial_state(batch)

    def recurrent_matrix(self) -> Float[Array, "neurons neurons"]:
        return self.network.recurrent_matrix()

    def input_matrix(self) -> tuple[Float[Array, "neurons inputs"], Float[Array, " neurons"]]:
        return self.network.input_matrix()

    def parameters(self) -> "_RateNeurons":
        return _RateNeurons(self.network.parameters())


def rates_as_states(field: AbstractLeakyIntegrator) -> AbstractLeakyIntegrator:
    """The same parameters with a linear activation: its states ARE firing rates, and so are what `pull_back` takes."""
    if is_builtin(type(field)):
        dynamics = {"activation": ACTIVATIONS["linear"], "projected": False}
        return dataclasses.replace(field, **dynamics)
    # A class of the user's may write its activation out in its velocity: its matrices alone are sure.
    return _RateNeurons(field)


def as_parameters_of(field: AbstractVectorField, gradient: AbstractVectorField) -> AbstractVectorField:
    """A gradient for `rates_as_states(field)` as one for `field`, whose activation is another."""
    return jax.tree.unflatten(jax.tree.structure(field.parameters()), jax.tree.leaves(gradient))


def firing_rates(field: AbstractLeakyIntegrator, state: State, output: Array | None = None) -> State:
    """rho(s) of every neuron, with the output neurons' rates replaced by `output` if it is given."""
    rates = field.rates(state)
    if output is None:
        return rates
    read = field.embed(jnp.ones_like(output))
    return jax.tree.map(lambda r, new, is_read: jnp.where(is_read != 0, new, r), rates, field.embed(output), read)


def recurrent_input(field: AbstractLeakyIntegrator, rates: State) -> State:
    """W V of every neuron."""
    return unflatten_state(rates, flatten_state(rates) @ field.recurrent_matrix().T)


def backward_input(field: AbstractLeakyIntegrator, signals: State) -> State:
    """W^T y of every neuron: what comes back along its outgoing synapses."""
    return unflatten_state(signals, flatten_state(signals) @ field.recurrent_matrix())
