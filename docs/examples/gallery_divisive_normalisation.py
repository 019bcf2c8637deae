"""Divisive normalisation: every neuron's drive is divided by that of all, as in the visual cortex.

    r_i' = d_i^2 / (sigma^2 + sum_j P_ij d_j^2) - r_i,    d = max(W r + U x, 0)

Source: Heeger 1992; Carandini & Heeger 2012. The pool P is learnt too.
"""

import jax
import jax.numpy as jnp

import eqprop_field as epf


def mu(theta, x, r):
    squared = jax.nn.relu(theta["W"] @ r + theta["U"] @ x) ** 2
    return squared / (0.25 + jax.nn.softplus(theta["P"]) @ squared) - r


def example():
    recurrent, inputs = jax.random.split(jax.random.key(2))
    theta = {
        "W": 0.3 * jax.random.normal(recurrent, (6, 6)),
        "U": jax.random.normal(inputs, (6, 2)),
        "P": jnp.full((6, 6), -1.0),
    }
    field = epf.field(mu, theta, state=6, inputs=2, outputs=2)
    return field, jnp.array([[0.8, 0.3]]), jnp.array([[0.4, 0.2]])


if __name__ == "__main__":
    field, x, y = example()
    agreement = epf.circuits.verify(field, x, y, 0.1)
    print(f"ngspice and the ODE: {agreement.verdict.name}, states apart {agreement.max_abs_free:.1e}")
