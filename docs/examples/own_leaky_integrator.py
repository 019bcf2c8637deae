"""Leaky integrators of your own: a subclass that gives its matrices is built as a circuit like any other.

A ring of N neurons, where ONE profile k of the distance between two of them is what they learn, and one input each:

    mu_i = sum_j k(|i - j| around the ring) rho(s_j) + u x_i - s_i

States are confined to [0, 1]. W is symmetric whatever k is learnt, so EqProp gives the gradient. Netlists, chips, and
the rules that ask for matrices (GeneRec, contrastive Hebbian learning) take the class as it stands.
"""

import shutil
import sys

import equinox as eqx
import jax.numpy as jnp
from jax import Array

import eqprop_field as epf


@epf.register
class Ring(epf.AbstractLeakyIntegrator):
    profile: Array  # k, from distance 1 on: (neurons // 2,)
    u: Array  # the strength of an input: ()
    n_inputs: int = eqx.field(static=True)  # as many as there are neurons
    n_outputs: int = eqx.field(static=True)
    activation: epf.Activation = eqx.field(static=True, default=epf.activation("hard_sigmoid"))
    projected: bool = eqx.field(static=True, default=True)

    def initial_state(self, batch):
        return jnp.zeros((batch, self.n_inputs), self.u.dtype)

    def recurrent_matrix(self):
        place = jnp.arange(self.n_inputs)
        apart = jnp.abs(place[:, None] - place[None, :])
        distance = jnp.minimum(apart, self.n_inputs - apart)
        return jnp.concatenate([jnp.zeros_like(self.profile[:1]), self.profile])[distance]

    def input_matrix(self):
        return self.u * jnp.eye(self.n_inputs, dtype=self.u.dtype), jnp.zeros(self.n_inputs, self.u.dtype)


def example():
    """Neighbours excite, neurons further off inhibit: a bump forms where the input is."""
    return Ring(jnp.array([0.3, 0.1, -0.1, -0.2]), jnp.array(0.5), n_inputs=8, n_outputs=8)


if __name__ == "__main__":
    field, x, y = example(), jnp.eye(8)[2:3], jnp.eye(8)[3:4]
    settled = epf.Equilibrium().settle(field, x).state
    print("ODE     ", *(f"{s:6.3f}" for s in settled[0]))
    if shutil.which("ngspice"):
        measured = epf.circuits.NgspiceSubstrate().settle(field, x).state
        print("ngspice ", *(f"{s:6.3f}" for s in measured[0]))
    for rule in (epf.ImplicitGradient(), epf.EqProp(nudging=epf.Nudging.symmetric(0.02))):
        gradient = rule.estimate(field, x, y).gradient.tensors()["profile"]
        print(f"{type(rule).__name__:16} dJ/dk", *(f"{g:7.3f}" for g in gradient))
    if sys.argv[1:]:
        epf.save_network(sys.argv[1], field)
