"""A resistive network with diodes, whose conductances are learnt: Kirchhoff's current law at every node.

    C v_i' = sum_j G_ij (v_j - v_i) + sum_k A_ik (x_k - v_i) - I sinh(v_i / v_T)

Two antiparallel diodes a node make it nonlinear. G is symmetric, so plain EqProp follows the gradient. Source: Kendall
et al. 2020, arXiv 2006.01981.
"""

import jax
import jax.numpy as jnp

import eqprop_field as epf


def mu(theta, x, v):
    g, a = jax.nn.softplus(theta["G"] + theta["G"].T), jax.nn.softplus(theta["A"])
    return g @ v - jnp.sum(g, axis=1) * v + a @ x - jnp.sum(a, axis=1) * v - 0.1 * jnp.sinh(3 * v)


def example():
    between, inputs = jax.random.split(jax.random.key(4))
    theta = {"G": jax.random.normal(between, (6, 6)) - 1, "A": jax.random.normal(inputs, (6, 3))}
    field = epf.field(mu, theta, state=6, inputs=3, outputs=2)
    return field, jnp.array([[1.0, -0.5, 0.2]]), jnp.array([[0.4, -0.2]])


if __name__ == "__main__":
    field, x, y = example()
    agreement = epf.circuits.verify(field, x, y, 0.1)
    print(f"ngspice and the ODE: {agreement.verdict.name}, states apart {agreement.max_abs_free:.1e}")
