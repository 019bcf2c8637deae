"""Graphs of neurons: one array of neurons, and dense weights with a mask."""

from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Inexact

from .._tensor_file import TensorFileError
from .base import State
from .connectivity import masked
from .file_checks import checked_count, checked_tensors, neuron_options, registered_activation, tensors_with_taus
from .leaky import AbstractNeuralNetwork

Field = TypeVar("Field", bound="AbstractGraph")


class AbstractGraph(AbstractNeuralNetwork):
    """Neurons of a graph, the first `n_outputs` of which are read.

    Attributes:
        weights: of the synapses, (N, N); what they are outside the mask has no effect.
        input_weights: W_in (N, M); biases: b (N,).
        mask: which synapses exist (N, N); input_mask: which input synapses do (N, M), None where all do.
        tau: time constants (N,).
        gain: the initial weights' scale (1 is Glorot's).
    """

    described: ClassVar[str] = "a graph of neurons with one matrix of weights"
    weights: eqx.AbstractVar[Float[Array, "n n"]]
    input_weights: eqx.AbstractVar[Float[Array, "n inputs"]]
    biases: eqx.AbstractVar[Float[Array, " n"]]
    mask: eqx.AbstractVar[Bool[Array, "n n"]]
    input_mask: eqx.AbstractVar[Bool[Array, "n inputs"] | None]
    tau: eqx.AbstractVar[Float[Array, " n"]]
    gain: eqx.AbstractVar[float]

    @property
    def n_inputs(self) -> int:
        return self.input_weights.shape[1]

    @property
    def n_neurons(self) -> int:
        return self.weights.shape[0]

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

    @property
    def dtype(self) -> jnp.dtype:
        return self.weights.dtype

    def recurrent_weights(self) -> list[Any]:
        return [self.weights]

    def config(self) -> dict[str, Any]:
        return {
            "neurons": self.n_neurons,
            "inputs": self.n_inputs,
            "outputs": self.n_outputs,
            "activation": registered_activation(self.activation),
            "projected": self.projected,
            "gain": self.gain,
        }

    def file_tensors(self) -> dict[str, np.ndarray]:
        tensors = tensors_with_taus(self.tensors(), {"tau": self.tau})
        mask = np.asarray(self.mask)
        tensors["W"] = np.where(self._stored(mask), tensors["W"], 0)
        if not np.array_equal(mask, _all_pairs(len(mask))):
            tensors["mask"] = mask
        if self.input_mask is not None:
            tensors["mask_in"] = np.asarray(self.input_mask)
            tensors["W_in"] = np.where(tensors["mask_in"], tensors["W_in"], 0)
        return tensors

    @classmethod
    def from_file(cls: type[Field], config: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> Field:
        n, inputs, outputs = (checked_count(name, config.get(name)) for name in ("neurons", "inputs", "outputs"))
        if outputs > n:
            raise TensorFileError(f"has {outputs} output neurons among {n} neurons")
        tensors = dict(tensors)
        mask, input_mask = tensors.pop("mask", None), tensors.pop("mask_in", None)
        arrays = checked_tensors(tensors, {"W": (n, n), "W_in": (n, inputs), "b": (n,)}, {"tau": (n,)})
        if mask is None:
            mask = _all_pairs(n)
        elif mask.dtype != bool or mask.shape != (n, n):
            raise TensorFileError(f"has a mask that is not ({n}, {n}) booleans")
        if input_mask is not None and (input_mask.dtype != bool or input_mask.shape != (n, inputs)):
            raise TensorFileError(f"has a mask_in that is not ({n}, {inputs}) booleans")
        cls._check_file(np.asarray(arrays["W"]), mask)
        return cls(
            weights=arrays["W"],
            input_weights=arrays["W_in"],
            biases=arrays["b"],
            mask=jnp.asarray(mask),
            tau=arrays["tau"],
            n_outputs=outputs,  # pyright: ignore[reportCallIssue]  an attribute of every subclass
            input_mask=None if input_mask is None else jnp.asarray(input_mask),
            **neuron_options(config),
        )

    @staticmethod
    def _stored(mask: np.ndarray) -> np.ndarray:
        """Which entries of W hold a strength, of all that the mask joins."""
        return mask

    @classmethod
    def _check_file(cls, weights: np.ndarray, mask: np.ndarray) -> None:
        """Refuses strengths in a file where there is no synapse.

        Raises:
            TensorFileError: where there are any.
        """
        if ((weights != 0) & ~cls._stored(mask)).any():
            raise TensorFileError(
                "has strengths in W where there is no synapse (a zero diagonal, unless a mask has it)"
            )


def _all_pairs(n: int) -> np.ndarray:
    return ~np.eye(n, dtype=bool)
