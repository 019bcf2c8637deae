"""Transposed synapses: the nudge under which asymmetric equilibrium propagation is exact."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Inexact

from ..vector_fields.base import AbstractVectorField, State, jacobian_products
from .capabilities import Capability
from .nudging import AbstractNudge, Pull


class TransposingNudge(AbstractNudge):
    r"""A nudge, and $-(J_0 - J_0^\top)(s - s^0)$, which turns the Jacobian at the free state into its transpose.

    Attributes:
        nudge: what pulls the outputs.
        free: s^0, the free equilibrium; None until the free phase has ended (`anchored`).
        drive: what the clamped input does, `field.drive(x)`.
    """

    nudge: AbstractNudge
    free: State | None = None
    drive: State | None = None

    @property
    def needs(self) -> frozenset[Capability]:
        return self.nudge.needs | {Capability.transposed_synapses}

    @property
    def pull(self) -> Pull | None:
        return self.nudge.pull

    def anchored(self, field: AbstractVectorField, x: Array, free: State) -> "TransposingNudge":
        return TransposingNudge(self.nudge.anchored(field, x, free), free, field.drive(x))

    def force(self, field: AbstractVectorField, state: State) -> State:
        forward, backward = jacobian_products(field, self.drive, self.free)
        deviation = jax.tree.map(jnp.subtract, state, self.free)
        return jax.tree.map(
            lambda pull, jv, jtv: pull - jv + jtv,
            self.nudge.force(field, state),
            forward(deviation),
            backward(deviation),
        )

    def stiffness(self, field: AbstractVectorField, state: State) -> Inexact[Array, "batch outputs"] | float:
        return self.nudge.stiffness(field, state)  # J_0 and its transpose have the same diagonal
