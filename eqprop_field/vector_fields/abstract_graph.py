"""What every field on a graph has in common: one array of neurons, and dense weights with a mask."""

from typing import Any, ClassVar, TypeVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Inexact

from .base import AbstractVectorField, State
from .connectivity import masked

Field = TypeVar("Field", bound="AbstractGraph")


class AbstractGraph(AbstractVectorField):
    """Neurons of a graph, the first `n_outputs` of which are read.

    Attributes:
        kind: the field's name in files.
        weights: of the synapses, (N, N); what they are outside the mask has no effect.
        input_weights: W_in (N, M); biases: b (N,).
        mask: which synapses exist (N, N); input_mask: which input synapses do (N, M), None where all do.
        tau: time constants (N,).
        gain: the initial weights' scale (1 is Glorot's).
    """

    kind: eqx.AbstractClassVar[str]
    weights: eqx.AbstractVar[Float[Array, "n n"]]
    input_weights: eqx.AbstractVar[Float[Array, "n inputs"]]
    biases: eqx.AbstractVar[Float[Array, " n"]]
    mask: eqx.AbstractVar[Bool[Array, "n n"]]
    input_mask: eqx.AbstractVar[Bool[Array, "n inputs"] | None]
    tau: eqx.AbstractVar[Float[Array, " n"]]
    gain: eqx.AbstractVar[float]
    free_outputs: ClassVar[bool] = False

    @property
    def n_inputs(self) -> int:
        return self.input_weights.shape[1]

    @property
    def n_neurons(self) -> int:
        return self.weights.shape[0]

    @property
    def colours(self) -> tuple[int, ...]:
        return (0,)

    def drive(self, x: Float[Array, "batch inputs"]) -> State:
        return x @ masked(self.input_mask, self.input_weights).T + self.biases

    def initial_state(self, batch: int) -> State:
        return jnp.zeros((batch, self.n_neurons), self.dtype)

    def output(self, state: State) -> Inexact[Array, "batch outputs"]:
        return state[:, : self.n_outputs]

    def embed(self, output: Inexact[Array, "batch outputs"]) -> State:
        return jnp.pad(output, ((0, 0), (0, self.n_neurons - self.n_outputs)))

    def time_constants(self) -> Float[Array, " n"]:
        return self.tau

    def parameters(self: Field) -> Field:
        none = lambda leaf: leaf is None  # noqa: E731
        return eqx.tree_at(lambda f: (f.mask, f.tau, f.input_mask), self, (None, None, None), is_leaf=none)

    def tensors(self) -> dict[str, Array]:
        return {"W": self.weights, "W_in": self.input_weights, "b": self.biases}

    def layers(self) -> dict[str, list[Array]]:
        """Output and hidden rows: what reaches the neurons that are read, and the others."""
        rows = list(self.tensors().values())
        k = self.n_outputs
        groups = {"output": [t[:k] for t in rows], "hidden": [t[k:] for t in rows]}
        return groups if k < self.n_neurons else {"output": groups["output"]}

    def input_matrix(self) -> tuple[Float[Array, "neurons inputs"], Float[Array, " neurons"]]:
        return masked(self.input_mask, self.input_weights), self.biases

    def config(self) -> dict[str, Any]:
        return {
            "field": self.kind,
            "neurons": self.n_neurons,
            "inputs": self.n_inputs,
            "outputs": self.n_outputs,
            "activation": self.activation.name,
            "projected": self.projected,
            "gain": self.gain,
        }
