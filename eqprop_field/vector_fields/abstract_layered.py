"""Layers: what fields of leaky integrators in layers share, whatever joins one layer to the next."""

import abc
from typing import Any, ClassVar, TypeVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Inexact

from .base import State
from .file_checks import registered_activation
from .leaky import AbstractLeakyIntegrator

Tensors = tuple[Float[Array, "..."], ...]


Field = TypeVar("Field", bound="AbstractLayered")


class AbstractLayered(AbstractLeakyIntegrator):
    """Leaky integrators in layers, from the output (layer 0) back to the clamped input (layer L).

    The state is a tuple with one leaf a layer, the output first. Every layer has forward weights, which come from the
    layer behind it, and every layer but the last hidden one sends its rates back: feedback i goes from layer i to
    layer i + 1, and acts with `feedback_gain` times its weights.

    Attributes:
        forward: the weights from layer i + 1 to layer i, for i = 0..L-1.
        feedback: the weights from layer i to layer i + 1, for i = 0..L-2.
        biases: b_i, for i = 0..L-1.
        tau: the time constants, of the shapes of the layers.
        gain: the initial weights' scale (1 is Glorot's), kept so that the weights can be drawn again.
    """

    described: ClassVar[str] = "layers of leaky integrators"
    statements: ClassVar[dict[str, tuple[str, ...]]] = {"with_feedback_gain": ("velocity", "recurrent_matrix")}
    restate: ClassVar[str] = "`with_feedback_gain`"
    forward: eqx.AbstractVar[Tensors]
    feedback: eqx.AbstractVar[Tensors]
    biases: eqx.AbstractVar[Tensors]
    tau: eqx.AbstractVar[Tensors]
    gain: eqx.AbstractVar[float]

    @property
    def feedback_gain(self) -> float:
        """g, by which feedback weights act more weakly than forward ones; both are in the same units, drawn, repaired
        and decayed alike. 1 by default.
        """
        return 1.0

    @abc.abstractmethod
    def with_feedback_gain(self: Field, gain: ArrayLike) -> Field:
        """The same forward weights with feedback that acts as gain times their transpose. Serves gradients too.

        It changes the weights, not `feedback_gain`.
        """

    @property
    def colours(self) -> tuple[int, ...]:
        return tuple(i % 2 for i in range(len(self.forward)))

    @property
    @abc.abstractmethod
    def layer_shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shapes of the layers' states, the output first, without the batch axis. Serves gradients too."""

    def initial_state(self, batch: int) -> State:
        return tuple(jnp.zeros((batch, *shape), self.dtype) for shape in self.layer_shapes)

    def output(self, state: State) -> Inexact[Array, "batch outputs"]:
        return state[0]

    def embed(self, output: Inexact[Array, "batch outputs"]) -> State:
        hidden = (jnp.zeros((output.shape[0], *shape), output.dtype) for shape in self.layer_shapes[1:])
        return (output, *hidden)

    def time_constants(self) -> Tensors:
        return self.tau

    def parameters(self: Field) -> Field:
        return eqx.tree_at(lambda f: f.tau, self, (None,) * len(self.tau))

    def tensors(self) -> dict[str, Array]:
        named = {f"W_{i}_{i + 1}": w for i, w in enumerate(self.forward)}
        named |= {f"W_{i + 1}_{i}": w for i, w in enumerate(self.feedback)}
        named |= {f"b_{i}": b for i, b in enumerate(self.biases)}
        return named

    def layers(self) -> dict[str, list[Array]]:
        into = {str(i): [w, b] for i, (w, b) in enumerate(zip(self.forward, self.biases, strict=True))}
        for i, w in enumerate(self.feedback):
            into[str(i + 1)].append(w)
        return into

    @property
    def dtype(self) -> jnp.dtype:
        return self.forward[0].dtype

    def recurrent_weights(self) -> list[Any]:
        return [*self.forward[:-1], *self.feedback]

    @property
    def why_unpaired(self) -> str | None:
        return None

    def feedback_gain_error(self, gain: Array) -> Float[Array, ""]:
        """How far the feedback is from gain times the transposed forward weights, relative to the largest of these."""
        if not self.feedback:
            return jnp.zeros((), self.dtype)
        pairs = list(zip(self.feedback, self.with_feedback_gain(gain).feedback, strict=True))
        apart = jnp.stack([jnp.max(jnp.abs(back - mirrored)) for back, mirrored in pairs])
        largest = jnp.stack([jnp.max(jnp.abs(mirrored)) for _, mirrored in pairs])
        return jnp.max(apart / jnp.maximum(largest, jnp.finfo(self.dtype).tiny))

    def config(self) -> dict[str, Any]:
        return {
            **self._architecture(),
            "activation": registered_activation(self.activation),
            "projected": self.projected,
            "gain": self.gain,
            **({"free_outputs": True} if self.free_outputs else {}),
            **({"feedback_gain": self.feedback_gain} if self.feedback_gain != 1 else {}),
        }

    @abc.abstractmethod
    def _architecture(self) -> dict[str, Any]:
        """The layers' sizes as a network file says them."""
