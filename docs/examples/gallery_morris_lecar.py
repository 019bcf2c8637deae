"""Morris-Lecar neurons, conductance-based: a calcium current, a potassium current with its gate n, and a leak.

    C v' = U x + W m(v) - g_L (v - E_L) - g_Ca m(v) (v - E_Ca) - g_K n (v - E_K),    tau_n n' = n(v) - n

in units of 100 mV, quiet; synapses W carry the calcium gate m as their rate. Source: Morris & Lecar 1981.
"""

import jax
import jax.numpy as jnp

import eqprop_field as epf


def mu(theta, x, s):
    v, n = s["v"], s["n"]
    m = 0.5 * (1 + jnp.tanh((v + 0.012) / 0.18))
    rest = 0.5 * (1 + jnp.tanh((v - 0.02) / 0.3))
    ions = 2.0 * (v + 0.6) + 4.4 * m * (v - 1.2) + 8.0 * n * (v + 0.84)
    return {"v": theta["U"] @ x + theta["W"] @ m - ions, "n": rest - n}


def example():
    synapses, inputs = jax.random.split(jax.random.key(5))
    theta = {"W": 0.3 * jax.random.normal(synapses, (4, 4)), "U": 0.1 * jax.random.normal(inputs, (4, 2))}
    start = {"v": jnp.full(4, -0.6), "n": jnp.zeros(4)}
    field = epf.field(
        mu, theta, state=start, inputs=2, outputs=lambda theta, s: s["v"][:2], time_constants={"v": 2.0, "n": 1.0}
    )
    return field, jnp.array([[0.8, 0.3]]), jnp.array([[-0.4, -0.5]])


if __name__ == "__main__":
    field, x, y = example()
    agreement = epf.circuits.verify(field, x, y, 0.1)
    print(f"ngspice and the ODE: {agreement.verdict.name}, states apart {agreement.max_abs_free:.1e}")
