"""What training can do about asymmetric weights, which keep local rules from the gradient."""

import dataclasses
import functools
import math
from typing import Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Key, PyTree

from ..vector_fields import AbstractLayered, AbstractNeuralNetwork
from ..vector_fields.base import AbstractVectorField, State, active_set, flatten_state, mask_samples
from ..vector_fields.inheritance import upholds
from ..vector_fields.leaky import is_a, require

Feedback = Literal["learned", "kolen_pollack", "fixed", "tied"]
FEEDBACK: tuple[Feedback, ...] = get_args(Feedback)
_PROBES = 1  # random vectors a sample and step: a batch averages over its samples, and training over its steps


@dataclasses.dataclass(frozen=True)
class SymmetryRepair:
    r"""How feedback weights change beside what the rule says, and what pulls the Jacobian towards symmetry.

    - `learned`: every synapse by the rule. Nothing is repaired.
    - `kolen_pollack`: both synapses of a pair change by the mean of their two updates, and both lose a share `decay` of
      their strength a step, less where the schedule lowers the learning rate. Their difference falls as
      (1 - decay)^steps at the full rate, so the weights become symmetric, wherever they started. The decay acts on the
      sum too. Source: Kolen & Pollack 1994; Akrout et al. 2019, arXiv 1904.05391.
    - `fixed`: feedback weights stay as they were drawn: feedback alignment. The forward weights may come to align with
      them; nothing makes them. For layers only. Source: Lillicrap et al. 2016.
    - `tied`: one weight a pair, W_back = W_fwd^T: training begins from the mean of both directions, and both change by
      the mean of their two updates.

    Homeostasis adds its strength times the gradient of $\frac12\lVert J - J^\top\rVert_F^2$, J = dmu/ds among the
    neurons that can move, averaged over the settled samples of a batch, by random vectors
    (`jacobian_asymmetry_penalty`). It makes the JACOBIAN symmetric, which is what theorem 1 is about, where the others
    repair the weights. The settled states are taken as they are: what the penalty would do by way of them is left out.
    Source: Laborieux & Zenke 2024, arXiv 2309.02214.

    Attributes:
        feedback: how feedback weights change.
        decay: the share of its strength that a recurrent synapse loses a step; for `kolen_pollack`, and only there.
        homeostasis: the strength of the penalty on the Jacobian; None for none. Not with `tied`.

    Raises:
        ValueError: for a combination that has no meaning.
    """

    feedback: Feedback = "learned"
    decay: float | None = None
    homeostasis: float | None = None

    def __post_init__(self) -> None:
        if self.feedback not in FEEDBACK:
            raise ValueError(f"unknown feedback {self.feedback!r}: choose one of {', '.join(FEEDBACK)}")
        if (self.decay is not None) != (self.feedback == "kolen_pollack"):
            raise ValueError(
                f"decay={self.decay} with feedback={self.feedback!r}: the decay belongs to kolen_pollack, which needs "
                "one, such as 0.001"
            )
        if self.decay is not None and not 0 < self.decay < 1:
            raise ValueError(f"decay={self.decay}: give the share lost in a step, between 0 and 1")
        if self.homeostasis is not None and not 0 < self.homeostasis < math.inf:
            raise ValueError(f"homeostasis={self.homeostasis}: give a strength above 0, or None for none")
        if self.homeostasis is not None and self.feedback == "tied":
            raise ValueError(
                "homeostasis repairs the asymmetry of untied weights, and tied weights have none to repair: "
                "choose one of the two"
            )

    def check(self, field: AbstractVectorField) -> None:
        """Refuses fields that this cannot serve.

        Raises:
            ValueError: for a field whose weights are tied already, whose pairs lack a direction, or, for `fixed`, that
                has no feedback weights.
        """
        if self == SymmetryRepair():
            return
        name = type(field).__name__
        if field.symmetric_jacobian and upholds(type(field), "symmetric_jacobian", "velocity", "rates"):
            raise ValueError(f"the Jacobian of a {name} is symmetric by its energy: it needs no symmetry repair")
        if self.feedback == "fixed" and not is_a(field, AbstractLayered):
            raise ValueError(
                f"fixed feedback needs layers, to tell feedback from forward weights, which a {name} does not have: "
                "use a LayeredField"
            )
        if self.homeostasis is not None and is_a(field, AbstractLayered) and field.feedback_gain != 1:
            raise ValueError(
                f"homeostasis pulls both directions to one strength, and this network's feedback_gain="
                f"{field.feedback_gain:g} keeps them apart: choose one of the two"
            )
        if self.feedback in ("kolen_pollack", "tied"):
            if (reason := _network(field).why_unpaired) is not None:
                raise ValueError(reason)
            if not upholds(type(field), "transposed", "velocity", "recurrent_matrix"):
                raise ValueError(
                    f"{name} changes its parent's synapses and not `transposed`, which says what their pairs are: "
                    f"define `transposed` and `recurrent_weights` in {name} as well"
                )

    def kept(self, field: AbstractVectorField) -> AbstractVectorField:
        """The network as it has to be at the start and after every step: tied, if that was asked for.

        Equal updates alone would not do: fused multiply-adds may round the two directions of a pair apart.
        """
        if self.feedback != "tied":
            return field
        field = _mean_of_both(field)
        return field.with_feedback_gain(field.feedback_gain) if is_a(field, AbstractLayered) else field

    def penalised(
        self,
        field: AbstractVectorField,
        x: Float[Array, "batch inputs"],
        free: State,
        settled: Bool[Array, " batch"],
        *,
        key: Key[Array, ""],
        gradient: AbstractVectorField,
    ) -> AbstractVectorField:
        """The gradient plus that of the homeostasis penalty."""
        if self.homeostasis is None:
            return gradient
        slope = jax.grad(
            lambda parameters: jacobian_asymmetry_penalty(
                eqx.combine(parameters, field), x, free, key, settled=settled, probes=_PROBES
            )
        )(field.parameters())
        return jax.tree.map(lambda g, p: g + self.homeostasis * p, gradient, slope)

    def applied(self, field: AbstractVectorField, updates: PyTree, share: ArrayLike = 1.0) -> PyTree:
        """What is added to the parameters, from what the optimiser would add.

        Args:
            field: the network; updates: what the optimiser would add.
            share: of the full learning rate that this step has.
        """
        if self.feedback == "fixed" and is_a(field, AbstractLayered):
            return (
                eqx.tree_at(lambda u: u.feedback, updates, jax.tree.map(jnp.zeros_like, updates.feedback))
                if field.feedback
                else updates
            )
        if self.feedback in ("kolen_pollack", "tied"):
            updates = _mean_of_both(updates)
        decay = self.decay
        if decay is not None:
            pairs = zip(updates.recurrent_weights(), _network(field).recurrent_weights(), strict=True)
            lost = [change - jnp.asarray(decay * share, w.dtype) * w for change, w in pairs]
            updates = eqx.tree_at(lambda u: u.recurrent_weights(), updates, lost)
        return updates


def _network(field: AbstractVectorField) -> AbstractNeuralNetwork:
    return require(field, AbstractNeuralNetwork, "symmetry repair")


def _mean_of_both(field: PyTree) -> PyTree:
    """Every recurrent weight replaced by the mean of its pair; all others as they are. For updates too."""

    def halves(one: PyTree, other: PyTree) -> PyTree:
        if one is None or not eqx.is_inexact_array(one):
            return one
        return 0.5 * (one + other)

    return jax.tree.map(halves, field, field.transposed(), is_leaf=lambda leaf: leaf is None)


def jacobian_asymmetry_penalty(
    field: AbstractVectorField,
    x: Float[Array, "batch inputs"],
    state: State,
    key: Key[Array, ""],
    *,
    settled: Bool[Array, " batch"] | None = None,
    probes: int = _PROBES,
) -> Float[Array, ""]:
    r"""$\frac12\lVert J - J^\top\rVert_F^2$ averaged over samples, estimated as $\frac12\lVert (J - J^\top) v\rVert^2$.

    J = dmu/ds among the neurons free to move; the entries of v are +-1 at random, for which the mean is exact. J v is a
    Jacobian-vector product and J^T v a vector-Jacobian product, so no matrix is made: 2 evaluations a vector, and as
    many again for the gradient.

    Args:
        field: the network; differentiate by it for the homeostasis of Laborieux & Zenke 2024.
        x: inputs.
        state: where J is taken, as a rule the free equilibrium.
        key: of the random vectors.
        settled: which samples count; all by default.
        probes: how many random vectors a sample.
    """
    settled = jnp.ones(x.shape[0], bool) if settled is None else settled

    keep = functools.partial(mask_samples, settled)
    state = keep(state)
    drive = field.drive(keep(x))
    moving = jax.lax.stop_gradient(active_set(field, state, field(state, drive)))
    only = lambda tree: jax.tree.map(jnp.multiply, moving, tree)  # noqa: E731
    leaves, structure = jax.tree.flatten(state)

    def along(key: Array) -> Array:
        keys = jax.random.split(key, len(leaves))
        v = only(
            jax.tree.unflatten(
                structure, [jax.random.rademacher(k, s.shape, s.dtype) for k, s in zip(keys, leaves, strict=True)]
            )
        )
        forwards = only(jax.jvp(lambda s: field(s, drive), (state,), (v,))[1])
        _, transpose = jax.vjp(lambda s: field(s, drive), state)
        apart = keep(jax.tree.map(jnp.subtract, forwards, only(transpose(v)[0])))
        return 0.5 * jnp.sum(flatten_state(apart) ** 2)

    total = jnp.mean(jax.vmap(along)(jax.random.split(key, probes)))
    return total / jnp.maximum(jnp.sum(settled), 1)
