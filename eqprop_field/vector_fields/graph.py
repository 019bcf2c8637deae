"""The graph field: leaky integrators joined by any directed graph."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Key

from .._arrays import checked_key
from .._compilation import compiled
from ..activations import Activation, hard_sigmoid
from .abstract_graph import AbstractGraph
from .base import State
from .connectivity import blank_graph, draw_weights, joined_layers, masked, random_pairs
from .leaky import AbstractLeakyIntegrator, mix

Field = TypeVar("Field", bound="GraphField")


class GraphField(AbstractGraph, AbstractLeakyIntegrator):
    r"""Leaky integrators on a directed graph, dense with a mask.

    $$\mu_i = \sum_j W_{ij}\,\rho(s_j) + (W_{in} x)_i + b_i - s_i$$

    `W_ij` is the strength from neuron j to neuron i; `W_ij` and `W_ji` are independent parameters. The first
    `n_outputs` neurons are the output. Source: Scellier et al. 2018, equations 1 and 3.

    Make one with `GraphField.create` (random pairs), `GraphField.from_layers` (layers with skip and lateral
    connections) or `GraphField.from_mask` (any directed graph); the constructor takes the tensors themselves.

    Attributes:
        weights: W (N, N); entries outside the mask have no effect and no gradient.
        input_weights: W_in (N, M).
        biases: b (N,).
        mask: which synapses exist (N, N). The diagonal, synapses of neurons to themselves, is only there where the
            constructor is given it, as by `sequence.fully_recurrent`.
        tau: time constants (N,).
        n_outputs: K, how many neurons are read.
        gain: the initial weights' scale (1 is Glorot's), kept so that the weights can be drawn again.
        input_mask: which input synapses exist (N, M); None where all do.
    """

    weights: Float[Array, "n n"]
    input_weights: Float[Array, "n inputs"]
    biases: Float[Array, " n"]
    mask: Bool[Array, "n n"]
    tau: Float[Array, " n"]
    n_outputs: int = eqx.field(static=True)
    activation: Activation = eqx.field(static=True, default=hard_sigmoid)
    projected: bool = eqx.field(static=True, default=True)
    gain: float = eqx.field(static=True, default=1.0)
    input_mask: Bool[Array, "n inputs"] | None = None

    @classmethod
    def create(
        cls,
        key: Key[Array, ""],
        *,
        neurons: int,
        inputs: int,
        outputs: int,
        density: float = 1.0,
        symmetry: ArrayLike = 0.0,
        activation: str | Activation = hard_sigmoid,
        gain: float = 0.5,
        projected: bool | None = None,
        tau: ArrayLike = 1.0,
    ) -> "GraphField":
        """Draws a network in which each PAIR of neurons is joined, both ways, with probability `density`.

        Args:
            key: a JAX random key.
            neurons: N; inputs: M; outputs: K <= N.
            density: share of the pairs that are joined, in (0, 1].
            symmetry: c of W_ji = c W_ij + sqrt(1 - c^2) R_ij (lower triangle from the upper one), in [-1, 1].
            activation: rho, or its name.
            gain: the scale of the weights relative to Glorot's, whose fan is the expected number of synapses.
            projected: whether states are clipped; by default for the hard sigmoid only.
            tau: time constants, a number or (N,).

        Raises:
            ValueError: for sizes that make no network, a density outside (0, 1], a symmetry outside [-1, 1], a gain
                that is no scale, or tau not positive.
        """
        mask_key, weight_key = jax.random.split(checked_key(key))
        return cls.from_mask(
            weight_key,
            random_pairs(mask_key, neurons, density),
            inputs=inputs,
            outputs=outputs,
            symmetry=symmetry,
            activation=activation,
            gain=gain,
            projected=projected,
            tau=tau,
        )

    @classmethod
    def from_layers(
        cls,
        key: Key[Array, ""],
        sizes: Sequence[int],
        *,
        skips: Sequence[tuple[int, int]] = (),
        lateral: Sequence[int] = (),
        symmetry: ArrayLike = 0.0,
        activation: str | Activation = hard_sigmoid,
        gain: float = 0.5,
        projected: bool | None = None,
        tau: ArrayLike = 1.0,
    ) -> "GraphField":
        """Draws a network in layers with skip and lateral connections.

        Neighbouring layers are joined as in `LayeredField`. Layer 0 is the output, the highest number the clamped
        input, whose synapses go forward only; the neurons stand output layer first.

        Args:
            key: a JAX random key.
            sizes: neurons per layer, INPUT FIRST: (64, 32, 10).
            skips: further pairs of layers to join, both ways: (0, 2).
            lateral: layers whose neurons are joined among themselves.
            symmetry: c; activation: rho; gain; projected; tau: as for `create`.

        Raises:
            ValueError: for sizes, skips or lateral layers that make no network, and as `create`.
        """
        mask, input_mask = joined_layers(sizes, skips, lateral)
        return cls.from_mask(
            key,
            mask,
            inputs=int(sizes[0]),
            outputs=int(sizes[-1]),
            input_mask=input_mask,
            symmetry=symmetry,
            activation=activation,
            gain=gain,
            projected=projected,
            tau=tau,
        )

    @classmethod
    def from_mask(
        cls,
        key: Key[Array, ""],
        mask: ArrayLike,
        *,
        inputs: int,
        outputs: int,
        input_mask: ArrayLike | None = None,
        symmetry: ArrayLike = 0.0,
        activation: str | Activation = hard_sigmoid,
        gain: float = 0.5,
        projected: bool | None = None,
        tau: ArrayLike = 1.0,
    ) -> "GraphField":
        """Draws the weights of a given graph.

        Args:
            key: a JAX random key.
            mask: mask[i, j] is whether neuron j reaches neuron i, (N, N) with an empty diagonal; it need not be
                symmetric.
            inputs: M; outputs: K <= N, the first K neurons.
            input_mask: which input reaches which neuron, (N, M); all of them by default.
            symmetry: c, where a pair is joined both ways; activation: rho; gain; projected; tau: as for `create`.

        Raises:
            ValueError: for masks that do not fit, a symmetry outside [-1, 1], a gain that is no scale, or tau not
                positive.
        """
        mask = jnp.asarray(mask, bool)
        input_mask = None if input_mask is None else jnp.asarray(input_mask, bool)
        blank = cls(
            **blank_graph(
                mask, inputs, outputs, input_mask, activation=activation, gain=gain, projected=projected, tau=tau
            )
        )
        blank.check_symmetry(symmetry)
        return blank.reinitialise(checked_key(key), symmetry)

    def velocity(self, drive: State) -> Callable[[State], State]:
        synapses = self.recurrent_matrix().T
        return lambda state: self.activation(state) @ synapses + drive - state

    def recurrent_matrix(self) -> Float[Array, "neurons neurons"]:
        return masked(self.mask, self.weights)

    def with_matrices(self: Field, recurrent: Array, input_weights: Array, biases: Array, tau: Array) -> Field:
        parts = lambda f: (f.weights, f.input_weights, f.biases, f.tau)  # noqa: E731
        return eqx.tree_at(parts, self, (recurrent, input_weights, biases, tau), is_leaf=lambda leaf: leaf is None)

    @property
    def why_unpaired(self) -> str | None:
        if self.mask is None or bool(jnp.all(self.mask == self.mask.T)):  # a gradient has no mask
            return None
        return "this graph has synapses without one in the other direction, and so no pairs to repair"

    @compiled
    def reinitialise(self: Field, key: Key[Array, ""], symmetry: ArrayLike) -> Field:
        upper, other, input_weights = draw_weights(
            key, self.mask, self.n_inputs, self.input_mask, self.gain, self.dtype
        )
        weights = masked(self.mask, upper + mix(upper, other, symmetry).T)
        return eqx.tree_at(lambda f: (f.weights, f.input_weights), self, (weights, input_weights))

    def transposed(self: Field) -> Field:
        mask = None if self.mask is None else self.mask.T  # a gradient has none
        return eqx.tree_at(lambda f: (f.weights, f.mask), self, (self.weights.T, mask), is_leaf=lambda m: m is None)
