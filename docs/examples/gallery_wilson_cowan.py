"""Excitatory and inhibitory populations, refractory and with Dale's law: weights are positive, inhibition subtracts.

    tau_e e' = (1 - e) S(W_ee e - W_ei i + U x) - e,    tau_i i' = (1 - i) S(W_ie e - W_ii i) - i

Source: Wilson & Cowan 1972. Inhibition makes the Jacobian asymmetric: plain EqProp errs, AEP does not.
"""

import jax
import jax.numpy as jnp

import eqprop_field as epf


def mu(theta, x, s):
    w, e, i = jax.tree.map(jax.nn.softplus, theta["W"]), s["e"], s["i"]
    to_e = jax.nn.sigmoid(w["ee"] @ e - w["ei"] @ i + theta["U"] @ x)
    to_i = jax.nn.sigmoid(w["ie"] @ e - w["ii"] @ i)
    return {"e": (1 - e) * to_e - e, "i": (1 - i) * to_i - i}


def example():
    *keys, last = jax.random.split(jax.random.key(0), 5)
    raw = {name: 2 * jax.random.normal(k, (4, 4)) for name, k in zip(("ee", "ei", "ie", "ii"), keys, strict=True)}
    theta = {"W": raw, "U": 2 * jax.random.normal(last, (4, 2))}
    tau = {"e": 1.0, "i": 2.0}
    field = epf.field(mu, theta, state={"e": 4, "i": 4}, inputs=2, outputs=2, time_constants=tau)
    return field, jnp.array([[0.8, 0.3]]), jnp.array([[0.4, 0.2]])


if __name__ == "__main__":
    field, x, y = example()
    agreement = epf.circuits.verify(field, x, y, 0.1)
    print(f"ngspice and the ODE: {agreement.verdict.name}, states apart {agreement.max_abs_free:.1e}")
