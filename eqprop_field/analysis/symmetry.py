"""How symmetric a network is: its weights, and its Jacobian, which is what theorem 1 is about."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._compilation import compiled
from ..vector_fields.base import AbstractVectorField, State, active_set, flatten_state, jacobian
from ..vector_fields.leaky import AbstractNeuralNetwork, require


@compiled
def weight_symmetry(field: AbstractVectorField) -> Float[Array, ""]:
    r"""$\langle W, W^\top\rangle / \lVert W\rVert^2$ of the recurrent weights: 1 symmetric, -1 antisymmetric."""
    w = require(field, AbstractNeuralNetwork, "weight symmetry").recurrent_matrix()
    return jnp.sum(w * w.T) / jnp.sum(w * w)


def jacobian_asymmetry(field: AbstractVectorField, drive: State, state: State) -> Float[Array, " batch"]:
    r"""$\lVert J - J^\top\rVert_F / \lVert J + J^\top\rVert_F$ of J = dmu/ds among the neurons that can move.

    0 where equilibrium propagation is exact (theorem 1 of Scellier et al. 2018). For J = W rho'(s) - I it is not 0
    for a symmetric W, unless rho' is the same for all neurons that move, as it is for the hard sigmoid. Dense: meant
    for up to about a thousand neurons.

    Args:
        field: the network.
        drive: `field.drive(x)`.
        state: where J is taken, as a rule the free equilibrium.
    """
    moving = flatten_state(active_set(field, state, field(state, drive)))
    j = moving[:, :, None] * jacobian(lambda s: field(s, drive), state) * moving[:, None, :]
    t = jnp.swapaxes(j, 1, 2)
    return jnp.linalg.norm(j - t, axis=(1, 2)) / jnp.linalg.norm(j + t, axis=(1, 2))
