"""What moves: the interface of every vector field, and the projected dynamics that clipped states need."""

import abc
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Inexact, Key, PyTree

from .._arrays import is_concrete
from ..activations import Activation

_UNBOUNDED = (-math.inf, math.inf)

# States carry a leading batch axis; a layered field has one leaf per layer, a graph has one leaf.
State = PyTree[Inexact[Array, "batch ..."]]


class AbstractVectorField(eqx.Module):
    r"""A vector field mu(theta, x, s); the network's dynamics are tau ds/dt = mu.

    A field is a pytree whose floating-point leaves are the parameters theta (and the time constants tau, which are
    not trained: see `parameters`). It never mentions an energy and never assumes that weights are symmetric.

    Attributes:
        activation: the firing rate rho.
        projected: whether states are confined to the range of rho: the projected dynamical system whose derivative
            is 0 for a neuron at the boundary that is pushed outwards. It is the continuous-time meaning of the
            clipping in equation 77 of Scellier et al. 2018, and needs an activation that is a projection.
        free_outputs: whether the output neurons are linear instead, neither clipped nor rectified. A clipped output
            that is driven far beyond its bound does not answer a small nudge and never learns again; a free one always
            answers, and with symmetric weights the Jacobian is symmetric all the same.
        n_outputs: how many neurons are read.
        leaky_integrators: whether mu = W rho(s) + W_in x + b - s with the matrices below, as circuits build it.
    """

    leaky_integrators: eqx.AbstractClassVar[bool]
    activation: eqx.AbstractVar[Activation]
    projected: eqx.AbstractVar[bool]
    free_outputs: eqx.AbstractVar[bool]
    n_outputs: eqx.AbstractVar[int]

    @property
    @abc.abstractmethod
    def n_inputs(self) -> int:
        """How many firing rates the input has."""

    @property
    @abc.abstractmethod
    def n_neurons(self) -> int:
        """How many neurons have a state."""

    @abc.abstractmethod
    def drive(self, x: Float[Array, "batch inputs"]) -> State:
        """W_in x + b: what the clamped input does, constant during a phase. x holds FIRING RATES."""

    @abc.abstractmethod
    def velocity(self, drive: State) -> Callable[[State], State]:
        """mu(theta, x, s) as a function of the state alone, with the input already turned into `drive`.

        What does not depend on the state is prepared here, once a phase. mu has the structure of the state.
        """

    def __call__(self, state: State, drive: State) -> State:
        """mu(theta, x, s) at one state."""
        return self.velocity(drive)(state)

    @property
    @abc.abstractmethod
    def colours(self) -> tuple[int, ...]:
        """0 or 1 for every leaf of the state: leaves of colour 1 feel, but for their leak, leaves of colour 0 alone.

        So those of colour 1 are solved exactly while those of colour 0 rest. Output neurons have the colour 0; a field
        without such a structure is all 0.
        """

    @abc.abstractmethod
    def initial_state(self, batch: int) -> State:
        """The state at rest, s = 0, from which a free phase starts."""

    @abc.abstractmethod
    def output(self, state: State) -> Inexact[Array, "batch outputs"]:
        """The states of the output neurons, s_0."""

    @abc.abstractmethod
    def embed(self, output: Inexact[Array, "batch outputs"]) -> State:
        """The transpose of `output`: a state that is `output` at the output neurons and 0 elsewhere."""

    @abc.abstractmethod
    def time_constants(self) -> PyTree[Float[Array, " neurons"]]:
        """tau of every neuron (dimensionless, 1 by default), with the state's structure less the batch axis."""

    @abc.abstractmethod
    def parameters(self) -> "AbstractVectorField":
        """The trainable part: this field with None at every leaf that learning must not touch."""

    @abc.abstractmethod
    def tensors(self) -> dict[str, Array]:
        """Named tensors as network files hold them. On a gradient (same structure) it names the gradient's."""

    @abc.abstractmethod
    def layers(self) -> dict[str, list[Array]]:
        """The tensors, or rows of them, that act on each group of neurons (layer 0 is the output)."""

    @abc.abstractmethod
    def recurrent_matrix(self) -> Float[Array, "neurons neurons"]:
        """W over the flattened state (`flatten_state` gives the order), as in mu = W rho(s) + drive - s."""

    @abc.abstractmethod
    def input_matrix(self) -> tuple[Float[Array, "neurons inputs"], Float[Array, " neurons"]]:
        """W_in and b of drive = W_in x + b over the flattened state."""

    @abc.abstractmethod
    def reinitialise(self, key: Key[Array, ""], symmetry: ArrayLike) -> "AbstractVectorField":
        """The same architecture, gain and biases with new weights of the given symmetry c in [-1, 1]."""

    @abc.abstractmethod
    def config(self) -> dict[str, Any]:
        """What a network file must say beside the tensors: a JSON object with the key `field`."""

    @property
    def dtype(self) -> jnp.dtype:
        """The floating-point type of the parameters, and so of the states."""
        return jax.tree.leaves(self.parameters())[0].dtype

    def rates(self, state: State) -> State:
        """The firing rates rho(s); of free output neurons, the first leaf, the states themselves."""
        leaves, structure = jax.tree.flatten(state)
        linear = int(self.free_outputs)
        return jax.tree.unflatten(structure, leaves[:linear] + [self.activation(leaf) for leaf in leaves[linear:]])

    @property
    def bounds(self) -> tuple[float, float]:
        """The interval that states are confined to; infinite unless `projected`."""
        return self.activation.range if self.projected else _UNBOUNDED

    @property
    def leaf_bounds(self) -> tuple[tuple[float, float], ...]:
        """The bounds of every leaf of the state; those of free output neurons, the first leaf, are infinite."""
        return tuple(_UNBOUNDED if self.free_outputs and i == 0 else self.bounds for i in range(len(self.colours)))


def check_projected(activation: Activation, projected: bool | None) -> bool:
    """Whether to confine states: as asked, by default only for the hard sigmoid (as in the paper).

    Raises:
        ValueError: if it is asked for an activation that is not a projection on its range.
    """
    if projected is None:
        return activation.name == "hard_sigmoid"
    if projected and not activation.is_projection:
        raise ValueError(
            f"projected dynamics is defined for activations that clip, such as hard_sigmoid and relu, "
            f"not for {activation.name}; use projected=False"
        )
    return projected


def check_draw(symmetry: ArrayLike, gain: float) -> None:
    """Refuses weights that cannot be drawn (a traced symmetry is taken as it is).

    Raises:
        ValueError: for a symmetry outside [-1, 1], or a gain that is negative or not finite.
    """
    if is_concrete(symmetry) and not bool(jnp.abs(symmetry) <= 1):
        raise ValueError(f"symmetry={symmetry}: the weight symmetry c lies between -1 and 1")
    if not 0 <= gain < math.inf:
        raise ValueError(f"gain={gain}: give the weights' scale relative to Glorot's, zero or a positive number")


def project(field: AbstractVectorField, state: State) -> State:
    """The state clipped to the field's bounds (as it is, where there are none)."""
    return _by_leaf(field, lambda s, bounds: s if bounds == _UNBOUNDED else jnp.clip(s, *bounds), state)


def active_set(field: AbstractVectorField, state: State, mu: State) -> State:
    """1 where a neuron follows mu, 0 where it rests at a bound and mu pushes it outwards."""

    def mask(s: Array, bounds: tuple[float, float], m: Array) -> Array:
        if jnp.iscomplexobj(s) or bounds == _UNBOUNDED:
            return jnp.ones(s.shape, m.real.dtype)
        return (~(((s <= bounds[0]) & (m < 0)) | ((s >= bounds[1]) & (m > 0)))).astype(m.dtype)

    return _by_leaf(field, mask, state, mu)


def _by_leaf(field: AbstractVectorField, act: Callable[..., Array], state: State, *others: State) -> State:
    """`act` of every leaf of the state, its bounds, and the same leaf of the others."""
    leaves, structure = jax.tree.flatten(state)
    rest = [jax.tree.leaves(other) for other in others]
    return jax.tree.unflatten(structure, [act(*parts) for parts in zip(leaves, field.leaf_bounds, *rest, strict=True)])


def projected_velocity(field: AbstractVectorField, state: State, mu: State) -> State:
    """tau ds/dt: mu where a neuron is free to move, 0 where it is held at a bound."""
    return jax.tree.map(jnp.multiply, active_set(field, state, mu), mu)


def flatten_state(state: State) -> Inexact[Array, "batch neurons"]:
    """All neurons of a state side by side, the output neurons first."""
    return jnp.concatenate([leaf.reshape(leaf.shape[0], -1) for leaf in jax.tree.leaves(state)], axis=1)


def unflatten_state(like: PyTree[Inexact[Array, "_ ..."]], flat: Inexact[Array, "batch neurons"]) -> State:
    """The inverse of `flatten_state`, with the structure and layer sizes of `like`."""
    leaves, structure = jax.tree.flatten(like)
    parts, start = [], 0
    for leaf in leaves:
        size = math.prod(leaf.shape[1:])
        parts.append(flat[:, start : start + size].reshape(flat.shape[0], *leaf.shape[1:]))
        start += size
    return jax.tree.unflatten(structure, parts)


def glorot(key: Key[Array, ""], shape: tuple[int, int], fan: ArrayLike, gain: float, dtype: Any) -> Array:
    """Uniform on +-gain sqrt(6 / fan), fan = inputs + outputs of a neuron (Glorot & Bengio 2010)."""
    return gain * jnp.sqrt(6.0 / jnp.asarray(fan, dtype)) * jax.random.uniform(key, shape, dtype, -1.0, 1.0)


def mix(symmetric: Array, independent: Array, symmetry: ArrayLike) -> Array:
    """c A + sqrt(1 - c^2) R: as spread as A and R, and correlated with A by c."""
    c = jnp.asarray(symmetry)
    return c * symmetric + jnp.sqrt(jnp.maximum(0.0, 1.0 - jnp.square(c))) * independent


def jacobian(velocity: Callable[[State], State], state: State) -> Inexact[Array, "batch neurons neurons"]:
    """The dense Jacobian d velocity_i / d s_j of every sample over the flattened state.

    Args:
        velocity: maps a batch of states to their velocities, each sample on its own.
        state: where to differentiate.
    """
    flat = flatten_state(state)

    def column(direction: Array) -> Array:
        tangent = unflatten_state(state, jnp.broadcast_to(direction, flat.shape))
        return flatten_state(jax.jvp(velocity, (state,), (tangent,))[1])

    return jax.vmap(column, out_axes=2)(jnp.eye(flat.shape[1], dtype=flat.dtype))


def jacobian_products(
    field: AbstractVectorField, drive: State, state: State
) -> tuple[Callable[[State], State], Callable[[State], State]]:
    r"""Products with J = dmu/ds at `state` and with its transpose, without the matrix, for every sample.

    Among the neurons that can move: with P their projection these are P J P v and P J^T P v, so that a neuron held at
    a bound of the projected dynamics neither gives nor takes. v may be complex (then the transpose is NOT conjugated).
    """
    moving = active_set(field, state, field(state, drive))

    def at(vector: State) -> State:
        """The state in the vector's type."""
        return jax.tree.map(lambda s, v: s.astype(v.dtype), state, vector)

    def among_moving(vector: State) -> State:
        return jax.tree.map(jnp.multiply, moving, vector)

    def forward(vector: State) -> State:
        tangent = among_moving(vector)
        return among_moving(jax.jvp(lambda s: field(s, drive), (at(vector),), (tangent,))[1])

    def backward(vector: State) -> State:
        _, transpose = jax.vjp(lambda s: field(s, drive), at(vector))
        return among_moving(transpose(among_moving(vector))[0])

    return forward, backward
