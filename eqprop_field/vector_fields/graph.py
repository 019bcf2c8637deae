"""The graph field: leaky integrators joined by any directed graph."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Inexact, Key

from ..activations import Activation, hard_sigmoid
from .base import AbstractVectorField, State, check_draw, check_projected, glorot, mix


class GraphField(AbstractVectorField):
    r"""Leaky integrators on a directed graph, dense with a mask.

    $$\mu_i = \sum_j W_{ij}\,\rho(s_j) + (W_{in} x)_i + b_i - s_i$$

    `W_ij` is the strength from neuron j to neuron i; `W_ij` and `W_ji` are independent parameters. The first
    `n_outputs` neurons are the output. Source: Scellier et al. 2018, equations 1 and 3.

    Make one with `GraphField.create`; the constructor takes the tensors themselves.

    Attributes:
        weights: W (N, N); entries outside the mask have no effect and no gradient.
        input_weights: W_in (N, M).
        biases: b (N,).
        mask: which synapses exist (N, N); never the diagonal.
        tau: time constants (N,).
        n_outputs: K, how many neurons are read.
        gain: the initial weights' scale (1 is Glorot's), kept so that the weights can be drawn again.
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
        activation: Activation = hard_sigmoid,
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
            activation: rho.
            gain: the scale of the weights relative to Glorot's, whose fan is the expected number of synapses.
            projected: whether states are clipped; by default for the hard sigmoid only.
            tau: time constants, a number or (N,).

        Raises:
            ValueError: for sizes that make no network, a density outside (0, 1], a symmetry outside [-1, 1], a gain
                that is no scale, or tau not positive.
        """
        if neurons < 1 or inputs < 1 or not 1 <= outputs <= neurons:
            raise ValueError(
                f"neurons={neurons}, inputs={inputs}, outputs={outputs}: "
                "all must be at least 1, outputs at most neurons"
            )
        if not 0.0 < density <= 1.0:
            raise ValueError(f"density={density}: give the share of joined pairs, above 0 and at most 1")
        check_draw(symmetry, gain)
        dtype = jnp.result_type(float)
        taus = jnp.broadcast_to(jnp.asarray(tau, dtype), (neurons,))
        if not bool(jnp.all(taus > 0)):
            raise ValueError("tau must be positive for every neuron")
        mask_key, weight_key = jax.random.split(key)
        upper = jnp.triu(jax.random.bernoulli(mask_key, density, (neurons, neurons)), 1)
        blank = cls(
            weights=jnp.zeros((neurons, neurons), dtype),
            input_weights=jnp.zeros((neurons, inputs), dtype),
            biases=jnp.zeros(neurons, dtype),
            mask=upper | upper.T,
            tau=taus,
            n_outputs=outputs,
            activation=activation,
            projected=check_projected(activation, projected),
            gain=float(gain),
        )
        return blank.redraw(weight_key, symmetry)

    @property
    def n_inputs(self) -> int:
        return self.input_weights.shape[1]

    @property
    def n_neurons(self) -> int:
        return self.weights.shape[0]

    def drive(self, x: Float[Array, "batch inputs"]) -> State:
        return x @ self.input_weights.T + self.biases

    def __call__(self, state: State, drive: State) -> State:
        return self.activation(state) @ self.recurrent_matrix().T + drive - state

    def initial_state(self, batch: int) -> State:
        return jnp.zeros((batch, self.n_neurons), self.dtype)

    def output(self, state: State) -> Inexact[Array, "batch outputs"]:
        return state[:, : self.n_outputs]

    def embed(self, output: Inexact[Array, "batch outputs"]) -> State:
        return jnp.pad(output, ((0, 0), (0, self.n_neurons - self.n_outputs)))

    def time_constants(self) -> Float[Array, " n"]:
        return self.tau

    def parameters(self) -> "GraphField":
        return eqx.tree_at(lambda f: (f.mask, f.tau), self, (None, None))

    def tensors(self) -> dict[str, Array]:
        return {"W": self.weights, "W_in": self.input_weights, "b": self.biases}

    def layers(self) -> dict[str, list[Array]]:
        rows = list(self.tensors().values())
        k = self.n_outputs
        groups = {"output": [t[:k] for t in rows], "hidden": [t[k:] for t in rows]}
        return groups if k < self.n_neurons else {"output": groups["output"]}

    def recurrent_matrix(self) -> Float[Array, "neurons neurons"]:
        return jnp.where(self.mask, self.weights, 0)

    def input_matrix(self) -> tuple[Float[Array, "neurons inputs"], Float[Array, " neurons"]]:
        return self.input_weights, self.biases

    def redraw(self, key: Key[Array, ""], symmetry: ArrayLike) -> "GraphField":
        n, inputs = self.input_weights.shape
        recurrent_key, independent_key, input_key = jax.random.split(key, 3)
        pairs = jnp.maximum(jnp.sum(self.mask), n) / n  # synapses per neuron, at least one
        upper = jnp.triu(glorot(recurrent_key, (n, n), 2 * pairs, self.gain, self.dtype), 1)
        other = jnp.triu(glorot(independent_key, (n, n), 2 * pairs, self.gain, self.dtype), 1)
        weights = jnp.where(self.mask, upper + mix(upper, other, symmetry).T, 0)
        input_weights = glorot(input_key, (n, inputs), n + inputs, self.gain, self.dtype)
        return eqx.tree_at(lambda f: (f.weights, f.input_weights), self, (weights, input_weights))

    def config(self) -> dict[str, Any]:
        return {
            "field": "graph",
            "neurons": self.n_neurons,
            "inputs": self.n_inputs,
            "outputs": self.n_outputs,
            "activation": self.activation.name,
            "projected": self.projected,
            "gain": self.gain,
        }
