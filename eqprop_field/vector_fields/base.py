"""Vector fields: mu(theta, x, s), what moves; and the projected dynamics that bounded states need."""

import abc
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Inexact, PyTree

from .._arrays import per_sample
from ..activations import clipping
from .generic_file import field_from_file, generic_config

UNBOUNDED = (-math.inf, math.inf)

# States carry a leading batch axis; a layered field has one leaf per layer, a graph has one leaf.
State = PyTree[Inexact[Array, "batch ..."]]


Field = TypeVar("Field", bound="AbstractVectorField")


class AbstractVectorField(eqx.Module):
    r"""A vector field mu(theta, x, s); the network's dynamics are tau ds/dt = mu.

    A field is a pytree whose floating-point leaves are the parameters theta. It need not have an energy, nor weights,
    let alone symmetric ones. A subclass says four things: `n_inputs`, `n_outputs`, `initial_state` and `velocity`;
    everything else has a default that is right for any field, and a field that has more structure says so by its class
    (`AbstractLeakyIntegrator`, `AbstractLayered`).

    Attributes:
        n_inputs: how many numbers the input of a sample has; for networks of neurons they are firing rates.
        n_outputs: how many numbers are read.
    """

    if TYPE_CHECKING:  # type checkers would count annotations among the constructor's parameters

        @property
        def n_inputs(self) -> int: ...

        @property
        def n_outputs(self) -> int: ...
    else:
        n_inputs: eqx.AbstractVar[int]
        n_outputs: eqx.AbstractVar[int]

    @abc.abstractmethod
    def initial_state(self, batch: int) -> State:
        """The state from which a free phase starts: any pytree of floating-point arrays, (batch, ...) each."""

    @abc.abstractmethod
    def velocity(self, drive: PyTree) -> Callable[[State], State]:
        """mu(theta, x, s) as a function of the state alone, with the input already turned into `drive`.

        What does not depend on the state is prepared here, once a phase. mu has the structure of the state, and no
        sample of a batch depends on another.
        """

    def __call__(self, state: State, drive: PyTree) -> State:
        """mu(theta, x, s) at one state."""
        return self.velocity(drive)(state)

    def drive(self, x: Float[Array, "batch inputs"]) -> PyTree:
        """What the clamped input does, constant during a phase and computed once: x itself by default."""
        return x

    def output(self, state: State) -> Inexact[Array, "batch outputs"]:
        """What is read from a state: by default the first `n_outputs` entries of its first leaf."""
        first = jax.tree.leaves(state)[0]
        return first.reshape(first.shape[0], -1)[:, : self.n_outputs]

    def embed(self, output: Inexact[Array, "batch outputs"]) -> State:
        """The transpose of `output`: a state that is `output` where it is read from and 0 elsewhere."""
        start = jax.eval_shape(lambda: self.initial_state(output.shape[0]))
        like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, output.dtype), start)
        return jax.linear_transpose(self.output, like)(output)[0]

    def time_constants(self) -> PyTree[Float[Array, "..."]]:
        """tau of every state variable (dimensionless), with the state's structure less the batch axis; 1 by default."""
        return jax.tree.map(lambda leaf: jnp.ones(leaf.shape[1:], leaf.dtype), self._state_shapes)

    @property
    def parameter_tree(self) -> PyTree:
        """What a cost of one's own knows as theta: the field itself, with its attributes, by default."""
        return self

    def parameters(self: Field) -> Field:
        """The trainable part: this field with None at every leaf that learning must not touch.

        By default every floating-point leaf is trainable.
        """
        return eqx.filter(self, eqx.is_inexact_array)

    def tensors(self) -> dict[str, Array]:
        """The trainable tensors by name. On a gradient (same structure) it names the gradient's.

        By default a tensor's name is its place in the pytree: `W`, `readout.b`, `layers.0`.
        """
        paths, _ = jax.tree_util.tree_flatten_with_path(self)
        return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in paths if _trains(leaf)}

    def layers(self) -> dict[str, list[Array]]:
        """Groups of tensors, or of rows of them, whose gradients are compared group by group; by default one each."""
        return {name: [tensor] for name, tensor in self.tensors().items()}

    @property
    def n_neurons(self) -> int:
        """How many numbers the state of a sample has."""
        return sum(math.prod(leaf.shape[1:]) for leaf in jax.tree.leaves(self._state_shapes))

    @property
    def dtype(self) -> jnp.dtype:
        """The floating-point type of the states."""
        return jax.tree.leaves(self._state_shapes)[0].dtype

    @property
    def colours(self) -> tuple[int, ...]:
        """0 or 1 for every leaf of the state: leaves of colour 1 feel, but for their leak, leaves of colour 0 alone.

        So those of colour 1 are solved exactly while those of colour 0 rest. Leaves that are read have the colour 0; a
        field without such a structure is all 0.
        """
        return (0,) * len(jax.tree.leaves(self._state_shapes))

    @property
    def symmetric_jacobian(self) -> bool:
        """Whether dmu/ds is symmetric whatever the parameters, as where mu descends an energy; False by default."""
        return False

    @property
    def projected(self) -> bool:
        """Whether any state is confined to an interval, by the projected dynamics (see `bounds`)."""
        return False

    @property
    def leaf_bounds(self) -> tuple[tuple[float, float], ...]:
        """The interval that the states of every leaf are confined to; infinite by default."""
        return (UNBOUNDED,) * len(self.colours)

    def __repr__(self) -> str:
        """One line of sizes, without any array; as equinox has it where only the structure is a field's."""
        try:
            sizes = f"inputs={self.n_inputs}, neurons={self.n_neurons}, outputs={self.n_outputs}, dtype={self.dtype}"
            parameters = sum(leaf.size for leaf in jax.tree.leaves(self) if _trains(leaf))
        except Exception:  # noqa: BLE001  # of any kind, for its leaves may be anything
            return eqx.tree_pformat(self)
        activation = getattr(self, "activation", None)
        rho = "" if activation is None else f", activation={getattr(activation, 'name', type(activation).__name__)}"
        return f"{type(self).__name__}({sizes}, parameters={parameters}{rho})"

    @property
    def _state_shapes(self) -> PyTree:
        return jax.eval_shape(lambda: self.initial_state(1))

    def config(self) -> dict[str, Any]:
        """What a network file must say beside the tensors: a JSON object, without the field's registered name.

        By default the values of all attributes, with the arrays' names in place of arrays.

        Raises:
            ValueError: for an attribute that JSON has no form for.
        """
        return generic_config(self)

    def file_tensors(self) -> dict[str, np.ndarray]:
        """Every array that a network file must hold, by name; by default all arrays of the pytree."""
        paths, _ = jax.tree_util.tree_flatten_with_path(self)
        named = ((jax.tree_util.keystr(path, simple=True, separator="."), leaf) for path, leaf in paths)
        return {name: np.asarray(leaf) for name, leaf in named if eqx.is_array_like(leaf) and hasattr(leaf, "dtype")}

    @classmethod
    def from_file(cls: type[Field], config: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> Field:
        """The field that a network file describes.

        Raises:
            TensorFileError: if it describes no such field.
        """
        return field_from_file(cls, config, tensors)


def _trains(leaf: Any) -> bool:
    return eqx.is_inexact_array(leaf)


def project(field: AbstractVectorField, state: State) -> State:
    """The state clipped to the field's bounds (as it is, where there are none)."""
    return _by_leaf(field, lambda s, bounds: s if bounds == UNBOUNDED else jnp.clip(s, *bounds), state)


def smooth_project(field: AbstractVectorField, state: State) -> State:
    """`project`, with the derivative 1 at the bounds themselves, where states of the projected dynamics may rest."""
    return _by_leaf(field, lambda s, bounds: s if bounds == UNBOUNDED else clipping(*bounds)[0](s), state)


def active_set(field: AbstractVectorField, state: State, mu: State) -> State:
    """1 where a neuron follows mu, 0 where it rests at a bound and mu pushes it outwards."""

    def mask(s: Array, bounds: tuple[float, float], m: Array) -> Array:
        if jnp.iscomplexobj(s) or bounds == UNBOUNDED:
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


def mask_samples(keep: Bool[Array, " batch"], tree: PyTree) -> PyTree:
    """The samples that are to be kept, and 0 for all others, whatever those hold (NaN included).

    Args:
        keep: which samples, by the leading axis.
        tree: arrays with that axis.
    """
    return jax.tree.map(lambda leaf: jnp.where(per_sample(keep, leaf), leaf, 0), tree)


def flatten_state(state: State) -> Inexact[Array, "batch neurons"]:
    """All neurons of a state side by side, the output neurons first."""
    return jnp.concatenate([leaf.reshape(leaf.shape[0], -1) for leaf in jax.tree.leaves(state)], axis=1)


def unflatten_state(like: PyTree, flat: Inexact[Array, "batch neurons"]) -> State:
    """The inverse of `flatten_state`, with the structure and layer sizes of `like`."""
    leaves, structure = jax.tree.flatten(like)
    parts, start = [], 0
    for leaf in leaves:
        size = math.prod(leaf.shape[1:])
        parts.append(flat[:, start : start + size].reshape(flat.shape[0], *leaf.shape[1:]))
        start += size
    return jax.tree.unflatten(structure, parts)


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
