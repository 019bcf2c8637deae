"""A user's field: four members, no weights that this package knows of."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

import eqprop_field as epf


class Competition(epf.AbstractVectorField):
    """Two populations that saturate, inhibit one another by a product, and leak by a cubic: no leaky integrators."""

    W: Array
    U: Array
    couple: dict[str, Array]
    n_inputs: int = eqx.field(static=True, default=3)
    n_outputs: int = eqx.field(static=True, default=2)

    def initial_state(self, batch):
        return {"first": jnp.zeros((batch, 4), self.W.dtype), "second": jnp.zeros((batch, 4), self.W.dtype)}

    def velocity(self, drive):
        def mu(s):
            a, b = s["first"], s["second"]
            product = self.couple["k"] * a * b
            return {"first": jnp.tanh(b @ self.W.T + drive @ self.U.T) - a - product, "second": a - b - 0.2 * b**3}

        return mu
