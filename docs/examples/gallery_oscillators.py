"""Coupled oscillators (XY model): phases that pull one another, the physics of oscillator Ising machines.

    phi_i' = sum_j J_ij sin(phi_j - phi_i) - h sin(phi_i - (U x)_i)

J is symmetric, so mu descends an energy and plain EqProp follows the gradient. Source: arXiv 2505.02103.
"""

import jax
import jax.numpy as jnp

import eqprop_field as epf


def mu(theta, x, phi):
    j = theta["J"] + theta["J"].T
    pulls = jnp.sum(j * jnp.sin(phi[None, :] - phi[:, None]), axis=1)
    return pulls - jnp.sin(phi - theta["U"] @ x)


def example():
    couplings, inputs = jax.random.split(jax.random.key(3))
    theta = {"J": 0.2 * jax.random.normal(couplings, (5, 5)), "U": jax.random.normal(inputs, (5, 2))}
    field = epf.field(mu, theta, state=5, inputs=2, outputs=2)
    return field, jnp.array([[0.8, 0.3]]), jnp.array([[0.4, -0.2]])


if __name__ == "__main__":
    field, x, y = example()
    agreement = epf.circuits.verify(field, x, y, 0.1)
    print(f"ngspice and the ODE: {agreement.verdict.name}, states apart {agreement.max_abs_free:.1e}")
