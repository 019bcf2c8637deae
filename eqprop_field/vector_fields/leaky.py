"""Networks of neurons: activation, weight matrices and bounds; leaky integrators, which those describe wholly."""

import abc
import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, TypeGuard, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Key, PyTree

from .._arrays import as_real, is_concrete
from .._compilation import uniform
from ..activations import Activation
from .base import UNBOUNDED, AbstractVectorField, State, flatten_state, unflatten_state
from .inheritance import is_builtin, upholds

Capability = TypeVar("Capability", bound="AbstractNeuralNetwork")


Field = TypeVar("Field", bound="AbstractNeuralNetwork")


class AbstractNeuralNetwork(AbstractVectorField):
    r"""Neurons with firing rates rho(s), joined by recurrent weights W and driven by W_in x + b.

    The input x holds FIRING RATES. How the synaptic current moves a neuron is the subclass's own: see
    `AbstractLeakyIntegrator` for the most common way, and `HopfieldField` for another.

    Attributes:
        activation: the firing rate rho.
        projected: whether states are confined to the range of rho: the projected dynamical system whose derivative
            is 0 for a neuron at the boundary that is pushed outwards. It is the continuous-time meaning of the
            clipping in equation 77 of Scellier et al. 2018, and needs an activation that is a projection.
        free_outputs: whether the output neurons, the first leaf of the state, are linear instead, neither clipped nor
            rectified. A clipped output that is driven far beyond its bound does not answer a small nudge and never
            learns again; a free one always answers, and with symmetric weights the Jacobian is symmetric all the same.
    """

    described: ClassVar[str] = "a network of neurons with an activation and weight matrices"
    # What the class says by one member, and which others a subclass must not change without saying it anew (`is_a`).
    statements: ClassVar[dict[str, tuple[str, ...]]] = {}
    restate: ClassVar[str] = ""
    if TYPE_CHECKING:

        @property
        def activation(self) -> Activation: ...
    else:
        activation: eqx.AbstractVar[Activation]

    @abc.abstractmethod
    def recurrent_matrix(self) -> Float[Array, "neurons neurons"]:
        """W over the flattened state (`flatten_state` gives the order); W[i, j] is the strength from j to i."""

    @abc.abstractmethod
    def input_matrix(self) -> tuple[Float[Array, "neurons inputs"], Float[Array, " neurons"]]:
        """W_in and b of the drive W_in x + b over the flattened state."""

    @property
    def free_outputs(self) -> bool:
        return False

    def rates(self, state: State) -> State:
        """The firing rates rho(s); of free output neurons, the first leaf, the states themselves."""
        leaves, structure = jax.tree.flatten(state)
        linear = int(self.free_outputs)
        return jax.tree.unflatten(structure, leaves[:linear] + [self.activation(leaf) for leaf in leaves[linear:]])

    @property
    def bounds(self) -> tuple[float, float]:
        """The interval that states are confined to; infinite unless `projected`."""
        return self.activation.range if self.projected else UNBOUNDED

    @property
    def leaf_bounds(self) -> tuple[tuple[float, float], ...]:
        """The bounds of every leaf of the state; those of free output neurons, the first leaf, are infinite."""
        return tuple(UNBOUNDED if self.free_outputs and i == 0 else self.bounds for i in range(len(self.colours)))

    def reinitialise(self: Field, key: Key[Array, ""], symmetry: ArrayLike) -> Field:
        """The same architecture, gain and biases with new weights of the given symmetry c in [-1, 1].

        Raises:
            ValueError: for a symmetry that this network cannot have, and for one that draws no weights.
        """
        raise ValueError(f"the weights of a {type(self).__name__} cannot be drawn anew: it defines no `reinitialise`")

    def check_symmetry(self, symmetry: ArrayLike) -> None:
        """Refuses weight symmetries c, one or several, that `reinitialise` cannot draw.

        Raises:
            ValueError: for a symmetry outside [-1, 1].
        """
        if is_concrete(symmetry) and not bool(np.all(np.abs(np.asarray(symmetry)) <= 1)):
            raise ValueError(f"symmetry={np.asarray(symmetry).tolist()}: the weight symmetry c lies between -1 and 1")

    def transposed(self: Field) -> Field:
        """The same with every recurrent synapse turned round: W becomes W^T. Serves gradients and updates too.

        Raises:
            ValueError: for a network whose synapses have no second direction (`why_unpaired` says why).
        """
        raise ValueError(self.why_unpaired)

    def recurrent_weights(self) -> list[Any]:
        """The leaves that hold recurrent weights, of a network or of a gradient or update of it.

        Raises:
            ValueError: for a network that does not lay them open.
        """
        raise ValueError(self.why_unpaired)

    @property
    def why_unpaired(self) -> str | None:
        """Why the two directions of a synapse cannot be compared or averaged; None where they can be."""
        return f"the synapses of a {type(self).__name__} are not in pairs: use layers or a graph of leaky integrators"


class AbstractLeakyIntegrator(AbstractNeuralNetwork):
    r"""Leaky integrators: a network that its matrices describe wholly.

    $$\mu = W\rho(s) + W_{in}\,x + b - s$$

    A subclass gives the matrices, and may give a `velocity` and a `drive` of its own that compute the same faster. This
    is what circuits are built of. A subclass that changes the velocity and not the matrices is no leaky integrator any
    more (`is_leaky_integrator`): nothing takes it for its parent.
    """

    described: ClassVar[str] = "leaky integrators, mu = W rho(s) + W_in x + b - s"
    statements: ClassVar[dict[str, tuple[str, ...]]] = {
        "recurrent_matrix": ("velocity",),
        "input_matrix": ("drive",),
        "velocity": ("rates", "__call__"),
    }
    restate: ClassVar[str] = "`recurrent_matrix` and `input_matrix`"

    def drive(self, x: Float[Array, "batch inputs"]) -> State:
        weights, biases = self.input_matrix()
        return unflatten_state(self._state_shapes, x @ weights.T + biases)

    def velocity(self, drive: State) -> Callable[[State], State]:
        synapses = self.recurrent_matrix().T

        def mu(state: State) -> State:
            current = unflatten_state(state, flatten_state(self.rates(state)) @ synapses)
            return jax.tree.map(lambda c, d, s: c + d - s, current, drive, state)

        return mu

    def with_matrices(
        self, recurrent: Array, input_weights: Array, biases: Array, tau: Array
    ) -> "AbstractLeakyIntegrator":
        """Leaky integrators with the same neurons, states and outputs, and with these parameters.

        Of the same class where that can hold any matrix of this network's synapses, else of a class that can.

        Args:
            recurrent: W (N, N); input_weights: W_in (N, M); biases: b (N,); tau: (N,), over the flattened state.
        """
        shapes = self._state_shapes
        leaves, structure = jax.tree.flatten(shapes)
        return MatrixField(
            recurrent, input_weights, biases, tau, flatten_state(self.initial_state(1))[0], self.n_outputs,
            tuple(leaf.shape[1:] for leaf in leaves), structure,
            self.activation, self.projected, self.free_outputs,
        )  # fmt: skip

    def feedback_gain_error(self, gain: Array) -> Float[Array, ""]:
        """How far W is from gain W^T, relative to the largest weight: 0 where feedback mirrors the forward weights.

        Without layers there is no forward direction: only gain 1, symmetric weights, can hold.
        """
        w = self.recurrent_matrix()
        apart, largest = jnp.max(jnp.abs(w - w.T)), jnp.max(jnp.abs(w))
        return jnp.where(gain == 1, apart / jnp.maximum(largest, jnp.finfo(self.dtype).tiny), jnp.inf)


class MatrixField(AbstractLeakyIntegrator):
    """Leaky integrators given by their matrices, with a state of any structure.

    Attributes:
        recurrent: W (N, N); input_weights: W_in (N, M); biases: b (N,); tau: time constants (N,).
        start: the state that a free phase starts from (N,).
        n_outputs: how many neurons are read, the first of the first leaf.
        shapes: of the state's leaves, without the batch axis; structure: of the state.
    """

    recurrent: Float[Array, "neurons neurons"]
    input_weights: Float[Array, "neurons inputs"]
    biases: Float[Array, " neurons"]
    tau: Float[Array, " neurons"]
    start: Float[Array, " neurons"]
    n_outputs: int = eqx.field(static=True)
    shapes: tuple[tuple[int, ...], ...] = eqx.field(static=True)
    structure: Any = eqx.field(static=True)
    activation: Activation = eqx.field(static=True)
    projected: bool = eqx.field(static=True, default=False)
    free_outputs: bool = eqx.field(static=True, default=False)

    @property
    def n_inputs(self) -> int:
        return self.input_weights.shape[1]

    def initial_state(self, batch: int) -> State:
        shapes = [jax.ShapeDtypeStruct((1, *shape), self.start.dtype) for shape in self.shapes]
        return unflatten_state(
            jax.tree.unflatten(self.structure, shapes), jnp.broadcast_to(self.start, (batch, len(self.start)))
        )

    def recurrent_matrix(self) -> Float[Array, "neurons neurons"]:
        return self.recurrent

    def input_matrix(self) -> tuple[Float[Array, "neurons inputs"], Float[Array, " neurons"]]:
        return self.input_weights, self.biases

    def time_constants(self) -> PyTree[Float[Array, "..."]]:
        taus = unflatten_state(self._state_shapes, self.tau[None])
        return jax.tree.map(lambda leaf: leaf[0], taus)

    def parameters(self: Field) -> Field:
        return eqx.tree_at(lambda f: (f.tau, f.start), self, (None, None))


def require(field: AbstractVectorField, capability: type[Capability], purpose: str) -> Capability:
    """The field, where it has what is needed.

    Args:
        field: any field.
        capability: the class that says what is needed: `AbstractNeuralNetwork`, `AbstractLeakyIntegrator`,
            `AbstractLayered`, `AbstractGraph`.
        purpose: what needs it, the subject of the refusal.

    Raises:
        ValueError: for a field that does not have it (`is_a`).
    """
    if is_a(field, capability):
        return field
    name = type(field).__name__
    if isinstance(field, capability):
        raise ValueError(
            f"{purpose} needs {capability.described}, and {name} changes what its parent says of that: define "
            f"{capability.restate} in {name} as well"
        )
    raise ValueError(
        f"{purpose} needs {capability.described}, which a {name} is not: use a field that derives from "
        f"{capability.__name__}, such as a LayeredField or a GraphField"
    )


def is_a(field: AbstractVectorField, capability: type[Capability]) -> TypeGuard[Capability]:
    """Whether a field is what the class says, and no subclass that changed it and kept its parent's statements."""
    return isinstance(field, capability) and all(
        upholds(type(field), statement, *foundations)
        for base in capability.__mro__
        for statement, foundations in vars(base).get("statements", {}).items()
    )


def is_leaky_integrator(field: AbstractVectorField) -> bool:
    """Whether mu = W rho(s) + W_in x + b - s with the matrices that the field gives.

    False for other fields, and for a subclass that has a velocity, drive or rates of its own and the matrices of its
    parent: those describe the parent.
    """
    return is_a(field, AbstractLeakyIntegrator)


def reads_first(field: AbstractVectorField) -> bool:
    """Whether a field's outputs are the first entries of its flattened state, as they are by default."""
    if is_builtin(type(field), "output") and is_builtin(type(field), "embed"):
        return True
    with jax.ensure_compile_time_eval():
        identity = jnp.eye(field.n_outputs, field.n_neurons, dtype=field.dtype)
        try:
            read = np.asarray(field.output(unflatten_state(field._state_shapes, identity)))
            written = np.asarray(flatten_state(field.embed(identity[:, : field.n_outputs])))
        except jax.errors.JAXTypeError:  # they depend on parameters that JAX traces
            return False
    return np.array_equal(read, identity[:, : field.n_outputs]) and np.array_equal(written, identity)


def with_matrices(
    field: AbstractLeakyIntegrator, recurrent: Array, input_weights: Array, biases: Array, tau: Array
) -> AbstractLeakyIntegrator:
    """`field.with_matrices`, or a `MatrixField` where that would read the matrices as something else.

    So for a subclass that computes its matrices or time constants from what its parent takes for these.
    """
    makes = upholds(type(field), "with_matrices", "recurrent_matrix", "input_matrix", "time_constants", "velocity")
    make = field.with_matrices if makes else functools.partial(AbstractLeakyIntegrator.with_matrices, field)
    return make(recurrent, input_weights, biases, tau)


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


def check_gain(gain: float) -> None:
    """Refuses a scale of weights that cannot be drawn.

    Raises:
        ValueError: for a gain that is negative, not finite, or out of the range of JAX's default precision.
    """
    if not 0 <= gain < math.inf:
        raise ValueError(f"gain={gain}: give the weights' scale relative to Glorot's, zero or a positive number")
    as_real("gain", gain, jnp.result_type(float))


def glorot(key: Key[Array, ""], shape: tuple[int, int], fan: ArrayLike, gain: float, dtype: Any) -> Array:
    """Uniform on +-gain sqrt(6 / fan), fan = inputs + outputs of a neuron (Glorot & Bengio 2010)."""
    return gain * jnp.sqrt(6.0 / jnp.asarray(fan, dtype)) * uniform(key, shape, dtype, -1.0, 1.0)


def mix(symmetric: Array, independent: Array, symmetry: ArrayLike) -> Array:
    """c A + sqrt(1 - c^2) R: as spread as A and R, and correlated with A by c."""
    c = jnp.asarray(symmetry)
    return c * symmetric + jnp.sqrt(jnp.maximum(0.0, 1.0 - jnp.square(c))) * independent
