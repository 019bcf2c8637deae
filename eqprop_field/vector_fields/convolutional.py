"""The convolutional field: the layered field with shared, local synapses in its first layers."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Key

from .._arrays import checked_key
from .._compilation import compiled, uniform
from .._tensor_file import TensorFileError
from ..activations import Activation, hard_sigmoid
from .abstract_layered import AbstractLayered, Tensors
from .base import State
from .file_checks import checked_count, layered_parts, tensors_with_taus
from .inheritance import upholds
from .leaky import mix
from .patches import Patches, fold, unfold
from .requests import checked_feedback_gain, checked_neurons, checked_sizes

Shape = tuple[int, ...]
_MOST_NEURONS = 2**25  # that a file may describe


Field = TypeVar("Field", bound="ConvField")


class ConvField(AbstractLayered):
    r"""Leaky integrators in layers of feature maps and of plain neurons, from the output (layer 0) back to the image.

    $$\mu_i = A_{i,i+1}\,\rho(s_{i+1}) + g\,B_{i,i-1}\,\rho(s_{i-1}) + b_i - s_i, \qquad \rho(s_L) \equiv x$$

    Between images, A is a convolution without padding and an average over pool x pool windows, both linear, and B the
    transpose of such an operator with a kernel of its own; between plain layers they are matrices. Where the two
    kernels are equal, B is exactly the transpose of A: tied weights. Each channel has one bias.

    Feature maps stand as (batch, height, width, channels), for that is how the products run fastest; an image enters as
    a flat row in the same order. Pooling is folded into the kernel: a convolution and an average over p x p windows are
    one convolution with the kernel spread over its p x p shifts, taken at every p-th place, which costs
    p^2 / (1 + (p - 1) / k)^2 times less. Source: Scellier et al. 2018, section 5 (convolutional network); pooling there
    is not specified.

    Make one with `ConvField.create`; the constructor takes the tensors themselves.

    Attributes:
        forward: the kernels (k, k, channels of layer i+1, channels of layer i), or matrices (n_i, n_{i+1}), of A.
        feedback: those of B, of the same shapes as the forward ones: they are applied transposed.
        biases: b_i, one for each channel or neuron.
        tau: the time constants, of the shapes of the layers.
        shapes: of all layers from the output to the image, (n,) or (height, width, channels).
        pools: the width of the pooling windows between layers i+1 and i; 1 between plain layers.
        feedback_gain: g, the strength of the feedback, as for `LayeredField`.
    """

    forward: Tensors
    feedback: Tensors
    biases: Tensors
    tau: Tensors
    shapes: tuple[Shape, ...] = eqx.field(static=True)
    pools: tuple[int, ...] = eqx.field(static=True)
    activation: Activation = eqx.field(static=True, default=hard_sigmoid)
    projected: bool = eqx.field(static=True, default=True)
    gain: float = eqx.field(static=True, default=1.0)
    free_outputs: bool = eqx.field(static=True, default=False)
    feedback_gain: float = eqx.field(static=True, default=1.0)

    @classmethod
    def create(
        cls,
        key: Key[Array, ""],
        image: tuple[int, int, int],
        convolutions: Sequence[tuple[int, int, int]],
        sizes: Sequence[int],
        *,
        symmetry: ArrayLike = 0.0,
        activation: str | Activation = hard_sigmoid,
        gain: float = 0.5,
        projected: bool | None = None,
        free_outputs: bool = False,
        feedback_gain: float = 1.0,
    ) -> "ConvField":
        """Draws a network.

        Args:
            key: a JAX random key.
            image: height, width and channels of the input.
            convolutions: (channels, kernel width, pooling width) of every layer of feature maps, the image's side
                first.
            sizes: neurons of the plain layers behind them, the output last: (10,) or (128, 10).
            symmetry: c of feedback = c forward + sqrt(1 - c^2) R, in [-1, 1].
            activation: rho, or its name.
            gain: the scale of the weights relative to Glorot's.
            projected: whether states are clipped; by default for the hard sigmoid only.
            free_outputs: whether the output neurons are linear, neither clipped nor rectified.
            feedback_gain: g, the strength of the feedback.

        Raises:
            ValueError: for layers that do not fit the image or have no neurons, a symmetry outside [-1, 1], or a gain
                or feedback gain that is no scale.
        """
        shapes, pools, tensors = architecture(image, convolutions, sizes)
        dtype = jnp.result_type(float)
        zeros = tuple(jnp.zeros(shape, dtype) for shape in tensors)
        blank = cls(  # pyright: ignore[reportCallIssue]  # n_outputs is a property here
            forward=zeros,
            feedback=zeros[:-1],
            biases=tuple(jnp.zeros(shape[-1], dtype) for shape in shapes[:-1]),
            tau=tuple(jnp.ones(shape, dtype) for shape in shapes[:-1]),
            shapes=shapes,
            pools=pools,
            **checked_neurons(activation, gain, projected),
            free_outputs=free_outputs,
            feedback_gain=checked_feedback_gain(feedback_gain),
        )
        blank.check_symmetry(symmetry)
        return blank.reinitialise(checked_key(key), symmetry)

    @property
    def convolutions(self) -> tuple[tuple[int, int, int], ...]:
        """(channels, kernel width, pooling width) of every layer of feature maps, the image's side first."""
        maps = [
            (w.shape[-1], w.shape[0], pool) for w, pool in zip(self.forward, self.pools, strict=True) if w.ndim == 4
        ]
        return tuple(maps[::-1])

    @property
    def layer_shapes(self) -> tuple[Shape, ...]:
        return self.shapes[:-1]

    @property
    def n_inputs(self) -> int:
        return math.prod(self.shapes[-1])

    @property
    def n_outputs(self) -> int:
        return self.shapes[0][0]

    def drive(self, x: Float[Array, "batch inputs"]) -> State:
        if not upholds(type(self), "drive", "input_matrix"):
            return super().drive(x)
        *inner, last = (
            jnp.broadcast_to(b, (x.shape[0], *shape)) for b, shape in zip(self.biases, self.shapes[:-1], strict=True)
        )
        image = x.reshape(-1, *self.shapes[-1])
        return (*inner, last + self._synapses(len(self.forward) - 1).ahead(self.forward[-1], image))

    def velocity(self, drive: State) -> Callable[[State], State]:
        if not upholds(type(self), "velocity", "recurrent_matrix"):
            return super().velocity(drive)
        synapses = [self._synapses(i) for i in range(len(self.feedback))]
        pairs = [
            (synapse.spread(ahead), self.feedback_gain * synapse.spread(back))
            for synapse, ahead, back in zip(synapses, self.forward[:-1], self.feedback, strict=True)
        ]

        def mu(state: State) -> State:
            rates = self.rates(state)
            change = [d - s for d, s in zip(drive, state, strict=True)]
            for i, (synapse, (ahead, back)) in enumerate(zip(synapses, pairs, strict=True)):
                change[i] = change[i] + synapse.along(ahead, rates[i + 1])
                change[i + 1] = change[i + 1] + synapse.against(back, rates[i])
            return tuple(change)

        return mu

    def _synapses(self, i: int) -> "_Synapses":
        """Those between layers i + 1 and i."""
        return _Synapses(self.shapes[i + 1], self.shapes[i], self.pools[i], self.forward[i].shape)

    def recurrent_matrix(self) -> Float[Array, "neurons neurons"]:
        """W over the flattened state. Dense, where shared weights stand many times: meant for small networks."""
        n = [math.prod(shape) for shape in self.shapes[:-1]]
        blocks = [[jnp.zeros((rows, columns), self.dtype) for columns in n] for rows in n]
        for i, (ahead, back) in enumerate(zip(self.forward[:-1], self.feedback, strict=True)):
            blocks[i][i + 1] = self._synapses(i).matrix(ahead)
            blocks[i + 1][i] = self.feedback_gain * self._synapses(i).matrix(back).T
        return jnp.block(blocks)

    def input_matrix(self) -> tuple[Float[Array, "neurons inputs"], Float[Array, " neurons"]]:
        last = self._synapses(len(self.forward) - 1).matrix(self.forward[-1])
        untouched = jnp.zeros((self.n_neurons - len(last), self.n_inputs), self.dtype)
        biases = [jnp.broadcast_to(b, shape).ravel() for b, shape in zip(self.biases, self.shapes[:-1], strict=True)]
        return jnp.concatenate([untouched, last]), jnp.concatenate(biases)

    @compiled
    def reinitialise(self: Field, key: Key[Array, ""], symmetry: ArrayLike) -> Field:
        keys = jax.random.split(key, 2 * len(self.forward))

        def draw(key: Array, like: Array, fan: int) -> Array:
            """Uniform on +-gain sqrt(6 / fan)."""
            return self.gain * math.sqrt(6 / fan) * uniform(key, like.shape, like.dtype, -1.0, 1.0)

        # Inputs and outputs of a neuron, a kernel's places counted with its channels; no loop runs through the image's
        # synapses, so that they may be as strong as their inputs alone allow.
        fans = [math.prod(like.shape[:-2]) * sum(like.shape[-2:]) for like in self.forward[:-1]]
        fans.append(2 * math.prod(self.forward[-1].shape[:-1]))
        forward = tuple(draw(*each) for each in zip(keys[::2], self.forward, fans, strict=True))
        feedback = tuple(
            mix(ahead, draw(k, back, fan), symmetry)
            for k, ahead, back, fan in zip(keys[1:-1:2], forward[:-1], self.feedback, fans[:-1], strict=True)
        )
        return eqx.tree_at(lambda f: (f.forward, f.feedback), self, (forward, feedback))

    def transposed(self: Field) -> Field:
        return eqx.tree_at(
            lambda f: (f.forward, f.feedback), self, ((*self.feedback, self.forward[-1]), self.forward[:-1])
        )

    def with_feedback_gain(self: Field, gain: ArrayLike) -> Field:
        share = gain / self.feedback_gain
        feedback = tuple(jnp.asarray(share, ahead.dtype) * ahead for ahead in self.forward[:-1])
        return eqx.tree_at(lambda f: f.feedback, self, feedback)

    def file_tensors(self) -> dict[str, np.ndarray]:
        return tensors_with_taus(self.tensors(), {f"tau_{i}": tau for i, tau in enumerate(self.tau)})

    @classmethod
    def from_file(cls: type[Field], config: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> Field:
        image, sizes, convolutions = (config.get(name) for name in ("image", "sizes", "convolutions"))
        triples = [image, *convolutions] if isinstance(convolutions, list) else []
        if not isinstance(sizes, list) or not triples or any(not isinstance(t, list) or len(t) != 3 for t in triples):
            raise TensorFileError("does not say its image, convolutions and sizes as lists")
        for part in [sizes, *triples]:
            for value in part:
                checked_count("image, convolutions or sizes", value)
        try:
            shapes, pools, kernels = architecture(tuple(triples[0]), [tuple(layer) for layer in triples[1:]], sizes)
        except ValueError as error:
            raise TensorFileError(f"describes no usable network ({error})") from error
        if sum(map(math.prod, shapes)) > _MOST_NEURONS:  # of which a small kernel can make any number
            raise TensorFileError(f"describes a network of more than {_MOST_NEURONS} neurons")
        parts = layered_parts(
            config,
            tensors,
            forward=list(kernels),
            feedback=list(kernels[:-1]),
            biases=[shape[-1:] for shape in shapes[:-1]],
            tau=list(shapes[:-1]),
        )
        return cls(**parts, shapes=shapes, pools=pools)

    def _architecture(self) -> dict[str, Any]:
        return {
            "image": list(self.shapes[-1]),
            "convolutions": [list(layer) for layer in self.convolutions],
            "sizes": [n for (n,) in self.shapes[len(self.forward) - len(self.convolutions) - 1 :: -1]],
        }


class _Synapses:
    """A, as a function of a tensor, between one layer and the next towards the output."""

    def __init__(self, source: Shape, target: Shape, pool: int, tensor: Shape) -> None:
        self.source, self.target, self.pool = source, target, pool
        self.patches = Patches.of(source, target, tensor[0], pool) if len(tensor) == 4 else None

    def spread(self, tensor: Array) -> Array:
        """The tensor as the matrix of the products: (taps * channels, channels), or (n_{i+1}, n_i)."""
        if self.patches is None:
            return tensor.T
        return self.patches.matrix(tensor)

    def along(self, matrix: Array, rates: Array) -> Array:
        """A rates, with the matrix of `spread`."""
        if self.patches is None:
            return rates.reshape(len(rates), -1) @ matrix
        return unfold(self.patches, rates) @ matrix

    def against(self, matrix: Array, rates: Array) -> Array:
        """A^T rates."""
        back = rates @ matrix.T
        return back.reshape(len(rates), *self.source) if self.patches is None else fold(self.patches, back)

    def ahead(self, tensor: Array, rates: Array) -> Array:
        """A rates."""
        return self.along(self.spread(tensor), rates)

    def matrix(self, tensor: Array) -> Array:
        """A as a dense matrix over flattened layers."""
        width = math.prod(self.source)
        columns = self.ahead(tensor, jnp.eye(width, dtype=tensor.dtype).reshape(width, *self.source))
        return columns.reshape(width, -1).T


def square_image(pixels: int) -> tuple[int, int, int]:
    """The square image of so many inputs, of one channel or of three colours.

    Raises:
        ValueError: where there is none.
    """
    for channels in (1, 3):
        side = math.isqrt(max(pixels, 0) // channels)
        if channels * side * side == pixels > 0:
            return side, side, channels
    raise ValueError(f"{pixels} inputs are no square image: give a square number, such as 784, or three times one")


def architecture(
    image: tuple[int, int, int], convolutions: Sequence[tuple[int, int, int]], sizes: Sequence[int]
) -> tuple[tuple[Shape, ...], tuple[int, ...], tuple[Shape, ...]]:
    """Shapes of the layers, pooling windows and shapes of the tensors, from the output back to the image.

    Raises:
        ValueError: for layers that do not fit the image, or have no neurons.
    """
    sizes = checked_sizes("sizes", sizes)
    if len(image) != 3:
        raise ValueError(f"image={tuple(image)}: give height, width and channels, such as (28, 28, 1)")
    if not convolutions or not sizes:
        raise ValueError("a convolutional network needs at least one layer of feature maps and one of plain neurons")
    shapes: list[Shape] = [tuple(checked_sizes("image", image))]
    pools, tensors = [], []
    for layer in convolutions:
        height, width, before = shapes[-1]
        channels, kernel, pool = checked_sizes("a layer's (channels, kernel, pool)", layer)
        if min(height, width) - kernel + 1 < pool:
            raise ValueError(
                f"a kernel of {kernel} and a window of {pool} do not fit on feature maps of {height} x {width}: "
                "take smaller ones, or fewer layers"
            )
        shapes.append(((height - kernel + 1) // pool, (width - kernel + 1) // pool, channels))
        tensors.append((kernel, kernel, before, channels))
        pools.append(pool)
    for size in sizes:
        tensors.append((size, math.prod(shapes[-1])))
        shapes.append((size,))
        pools.append(1)
    return tuple(shapes[::-1]), tuple(pools[::-1]), tuple(tensors[::-1])
