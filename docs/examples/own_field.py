"""A vector field of your own: four members, and every substrate, rule, experiment and file knows it.

Wilson & Cowan's populations (1972, equations 11 and 12, tau = 1): excitatory E and inhibitory I, which are refractory,

    mu_E = -E + (1 - r E) S(W_EE E - W_EI I + U x),    mu_I = -I + (1 - r I) S(W_IE E - W_II I)

with every weight positive (Dale's law: softplus of the parameter). No leaky integrators and no energy: inhibition makes
the Jacobian asymmetric, so plain EqProp errs, and the rules for asymmetric fields do not. An argument, such as
net.safetensors, is a file that the network is saved to.
"""

import sys

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

import eqprop_field as epf


@epf.register  # gives the class its name in network files and for commands
class WilsonCowan(epf.AbstractVectorField):
    W: dict[str, jax.Array]  # EE, EI, IE, II: (neurons, neurons) each, before softplus
    U: jax.Array  # (neurons, inputs)
    n_inputs: int = eqx.field(static=True)
    n_outputs: int = eqx.field(static=True)
    refractory: float = eqx.field(static=True, default=0.5)

    def initial_state(self, batch):
        at_rest = jnp.zeros((batch, self.U.shape[0]), self.U.dtype)
        return {"E": at_rest, "I": at_rest}  # the first `n_outputs` of the first leaf, E, are the output neurons

    def velocity(self, drive):
        w = jax.tree.map(lambda raw: jax.nn.softplus(raw).T, self.W)
        current = drive @ self.U.T

        def mu(state):
            e, i = state["E"], state["I"]
            to_e, to_i = jax.nn.sigmoid(e @ w["EE"] - i @ w["EI"] + current), jax.nn.sigmoid(e @ w["IE"] - i @ w["II"])
            return {"E": (1 - self.refractory * e) * to_e - e, "I": (1 - self.refractory * i) * to_i - i}

        return mu


def example():
    *keys, last = jax.random.split(jax.random.key(0), 5)
    raw = {name: 2 * jax.random.normal(k, (6, 6)) for name, k in zip(("EE", "EI", "IE", "II"), keys, strict=True)}
    return WilsonCowan(raw, jax.random.normal(last, (6, 4)), n_inputs=4, n_outputs=2)


if __name__ == "__main__":
    field, x, y = example(), jnp.array([[0.1, 0.9, 0.4, 0.7]]), jnp.array([[0.2, 0.6]])
    rules = {"implicit": epf.ImplicitGradient(), "eqprop": epf.EqProp(), "aep": epf.AEP(), "dyadic": epf.DyadicEqProp()}
    gradients = {name: ravel_pytree(rule.estimate(field, x, y).gradient)[0] for name, rule in rules.items()}
    for name, gradient in gradients.items():
        lengths = jnp.linalg.norm(gradient) * jnp.linalg.norm(gradients["implicit"])
        print(f"{name:8} cosine to the gradient {gradient @ gradients['implicit'] / lengths:.3f}")
    if sys.argv[1:]:
        epf.save_network(sys.argv[1], field)
