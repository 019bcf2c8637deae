"""Neurons with adaptation, two states each: what fires long is inhibited, slowly.

    s' = W tanh(s) + U x - g a - s,    tau_a a' = tanh(s) - a

The strength g of the adaptation is learnt, one for every neuron.
"""

import jax
import jax.numpy as jnp

import eqprop_field as epf


def mu(theta, x, s):
    rate = jnp.tanh(s["s"])
    drive = theta["W"] @ rate + theta["U"] @ x - jax.nn.softplus(theta["g"]) * s["a"]
    return {"a": rate - s["a"], "s": drive - s["s"]}


def example():
    recurrent, inputs = jax.random.split(jax.random.key(1))
    theta = {"W": 0.3 * jax.random.normal(recurrent, (6, 6)), "U": jax.random.normal(inputs, (6, 2)), "g": jnp.zeros(6)}
    field = epf.field(
        mu,
        theta,
        state={"s": 6, "a": 6},
        inputs=2,
        outputs=lambda theta, s: s["s"][:2],
        time_constants={"s": 1.0, "a": 2.0},
    )
    return field, jnp.array([[0.8, 0.3]]), jnp.array([[0.4, -0.2]])


if __name__ == "__main__":
    field, x, y = example()
    agreement = epf.circuits.verify(field, x, y, 0.1)
    print(f"ngspice and the ODE: {agreement.verdict.name}, states apart {agreement.max_abs_free:.1e}")
