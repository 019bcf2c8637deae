"""FitzHugh-Nagumo neurons, coupled by gap junctions, in their quiet regime: a fast voltage and a slow recovery each.

    tau_v v' = v - v^3 / 3 - w + U x + sum_j G_ij (v_j - v_i),    tau_w w' = v + a - b w

Source: FitzHugh 1961. A larger current makes them oscillate: then nothing rests, and every verdict says so.
"""

import jax
import jax.numpy as jnp

import eqprop_field as epf


def mu(theta, x, s):
    g, v, w = jax.nn.softplus(theta["G"]), s["v"], s["w"]
    junctions = g @ v - jnp.sum(g, axis=1) * v
    return {"v": v - v**3 / 3 - w + theta["U"] @ x + junctions, "w": v + 0.7 - 0.8 * w}


def example():
    gaps, inputs = jax.random.split(jax.random.key(0))
    theta = {"G": jax.random.normal(gaps, (5, 5)) - 2, "U": 0.2 * jax.random.normal(inputs, (5, 2))}
    tau = {"v": 1.0, "w": 3.0}
    start = {"v": -1.2, "w": -0.6}
    start = {name: jnp.full(5, value) for name, value in start.items()}
    field = epf.field(mu, theta, state={"v": 5, "w": 5}, inputs=2, outputs=2, time_constants=tau, start=start)
    return field, jnp.array([[0.4, -0.3]]), jnp.array([[-1.0, -1.1]])


if __name__ == "__main__":
    field, x, y = example()
    agreement = epf.circuits.verify(field, x, y, 0.1)
    print(f"ngspice and the ODE: {agreement.verdict.name}, states apart {agreement.max_abs_free:.1e}")
