"""The layered field of the paper: any depth, feedback weights independent of the forward ones."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Key

from .._arrays import as_real, checked_key
from .._compilation import compiled
from .._tensor_file import TensorFileError
from ..activations import Activation, hard_sigmoid
from .abstract_layered import AbstractLayered
from .base import State
from .file_checks import checked_count, layered_parts, tensors_with_taus
from .inheritance import upholds
from .leaky import glorot, mix
from .requests import checked_feedback_gain, checked_neurons, checked_sizes

Weights = tuple[Float[Array, "_ _"], ...]
Vectors = tuple[Float[Array, " _"], ...]


Field = TypeVar("Field", bound="LayeredField")


class LayeredField(AbstractLayered):
    r"""Leaky integrators in layers, from the output (layer 0) back to the input (layer L), which is clamped.

    $$\mu_i = W_{i,i+1}\,\rho(s_{i+1}) + g\,W_{i,i-1}\,\rho(s_{i-1}) + b_i - s_i, \qquad \rho(s_L) \equiv x$$

    `W_{i,j}` leads from layer j to layer i; `W_{i,j}` and `W_{j,i}` are independent parameters. The feedback term is
    absent for the output layer. Source: Scellier et al. 2018, equations 6-8, where g = 1.

    Weak feedback, g well below 1, settles in few sweeps at any depth: the states are nearly those of a feed-forward
    network. What is fed back is as much weaker, g^i in layer i, which `EqProp` makes up for. Source: feedback-regulated
    networks, arXiv 2508.11659.

    Make one with `LayeredField.create`; the constructor takes the tensors themselves.

    Attributes:
        forward: W_{i,i+1} for i = 0..L-1, shapes (n_i, n_{i+1}).
        feedback: W_{i+1,i} for i = 0..L-2, shapes (n_{i+1}, n_i).
        biases: b_i for i = 0..L-1.
        tau: the time constants, one array (n_i,) a layer.
        gain: the initial weights' scale (1 is Glorot's), kept so that the weights can be drawn again.
        free_outputs: whether the output neurons are linear, neither clipped nor rectified.
        feedback_gain: g, the strength of the feedback.
    """

    forward: Weights
    feedback: Weights
    biases: Vectors
    tau: Vectors
    activation: Activation = eqx.field(static=True, default=hard_sigmoid)
    projected: bool = eqx.field(static=True, default=True)
    gain: float = eqx.field(static=True, default=1.0)
    free_outputs: bool = eqx.field(static=True, default=False)
    feedback_gain: float = eqx.field(static=True, default=1.0)

    @classmethod
    def create(
        cls,
        key: Key[Array, ""],
        sizes: Sequence[int],
        *,
        symmetry: ArrayLike = 0.0,
        activation: str | Activation = hard_sigmoid,
        gain: float = 0.5,
        projected: bool | None = None,
        free_outputs: bool = False,
        feedback_gain: float = 1.0,
        tau: Sequence[ArrayLike] | None = None,
    ) -> "LayeredField":
        """Draws a network.

        Args:
            key: a JAX random key.
            sizes: neurons per layer, INPUT FIRST, as people say it: (64, 32, 10).
            symmetry: c of W_back = c W_fwd^T + sqrt(1 - c^2) R, in [-1, 1].
            activation: rho, or its name.
            gain: the scale of the weights relative to Glorot's.
            projected: whether states are clipped; by default for the hard sigmoid only.
            free_outputs: whether the output neurons are linear, neither clipped nor rectified.
            feedback_gain: g, the strength of the feedback.
            tau: time constants from the output layer back, each a number or (n_i,); 1 by default.

        Raises:
            ValueError: for fewer than two layers, a size below 1, a symmetry outside [-1, 1], a gain or
                feedback gain that is no scale, or a time constant that is not positive.
        """
        sizes = checked_sizes("sizes", sizes)
        if len(sizes) < 2:
            raise ValueError(f"sizes={sizes}: give at least an input and an output layer")
        n = sizes[::-1]
        depth = len(n) - 1
        dtype = jnp.result_type(float)
        taus = [jnp.broadcast_to(as_real("tau", t, dtype), (n[i],)) for i, t in enumerate(tau or [1.0] * depth)]
        if len(taus) != depth or not all((np.asarray(t) > 0).all() for t in taus):
            raise ValueError(f"tau needs one positive entry for each of the {depth} layers behind the input")
        blank = cls(  # pyright: ignore[reportCallIssue]  # n_outputs is a property here
            forward=tuple(jnp.zeros((n[i], n[i + 1]), dtype) for i in range(depth)),
            feedback=tuple(jnp.zeros((n[i + 1], n[i]), dtype) for i in range(depth - 1)),
            biases=tuple(jnp.zeros(n[i], dtype) for i in range(depth)),
            tau=tuple(taus),
            **checked_neurons(activation, gain, projected),
            free_outputs=free_outputs,
            feedback_gain=checked_feedback_gain(feedback_gain),
        )
        blank.check_symmetry(symmetry)
        return blank.reinitialise(checked_key(key), symmetry)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Neurons per layer, input first."""
        return (self.n_inputs, *(w.shape[0] for w in reversed(self.forward)))

    @property
    def layer_shapes(self) -> tuple[tuple[int, ...], ...]:
        return tuple(w.shape[:1] for w in self.forward)

    @property
    def n_inputs(self) -> int:
        return self.forward[-1].shape[1]

    @property
    def n_outputs(self) -> int:
        return self.forward[0].shape[0]

    def drive(self, x: Float[Array, "batch inputs"]) -> State:
        if not upholds(type(self), "drive", "input_matrix"):
            return super().drive(x)
        *inner, last = self.biases
        return (*(jnp.broadcast_to(b, (x.shape[0], *b.shape)) for b in inner), x @ self.forward[-1].T + last)

    def velocity(self, drive: State) -> Callable[[State], State]:
        if not upholds(type(self), "velocity", "recurrent_matrix"):
            return super().velocity(drive)
        # Transposed here, once: a product with a transposed matrix costs a third more at small batches.
        both = zip(self.forward[:-1], self.feedback, strict=True)
        pairs = [(ahead.T, self.feedback_gain * back.T) for ahead, back in both]

        def mu(state: State) -> State:
            rates = self.rates(state)
            change = [d - s for d, s in zip(drive, state, strict=True)]
            for i, (ahead, back) in enumerate(pairs):
                change[i] = change[i] + rates[i + 1] @ ahead
                change[i + 1] = change[i + 1] + rates[i] @ back
            return tuple(change)

        return mu

    def recurrent_matrix(self) -> Float[Array, "neurons neurons"]:
        n = self.sizes[:0:-1]
        blocks = [[jnp.zeros((rows, columns), self.dtype) for columns in n] for rows in n]
        for i, (ahead, back) in enumerate(zip(self.forward[:-1], self.feedback, strict=True)):
            blocks[i][i + 1], blocks[i + 1][i] = ahead, self.feedback_gain * back
        return jnp.block(blocks)

    def input_matrix(self) -> tuple[Float[Array, "neurons inputs"], Float[Array, " neurons"]]:
        untouched = jnp.zeros((self.n_neurons - self.forward[-1].shape[0], self.n_inputs), self.dtype)
        return jnp.concatenate([untouched, self.forward[-1]]), jnp.concatenate(self.biases)

    def with_matrices(self: Field, recurrent: Array, input_weights: Array, biases: Array, tau: Array) -> Field:
        ends = np.cumsum([len(b) for b in self.biases]).tolist()
        layers = [slice(start, end) for start, end in itertools.pairwise([0, *ends])]  # the output first
        pairs = list(itertools.pairwise(layers))
        parts = (
            (*(recurrent[here, there] for here, there in pairs), input_weights[layers[-1]]),
            tuple(recurrent[there, here] / self.feedback_gain for here, there in pairs),
            tuple(biases[here] for here in layers),
            tuple(tau[here] for here in layers),
        )
        return eqx.tree_at(lambda f: (f.forward, f.feedback, f.biases, f.tau), self, parts)

    @compiled
    def reinitialise(self: Field, key: Key[Array, ""], symmetry: ArrayLike) -> Field:
        keys = jax.random.split(key, 2 * len(self.forward))
        draw = lambda k, w: glorot(k, w.shape, sum(w.shape), self.gain, w.dtype)  # noqa: E731
        forward = tuple(draw(k, w) for k, w in zip(keys[::2], self.forward, strict=True))
        feedback = tuple(
            mix(ahead.T, draw(k, back), symmetry)
            for k, ahead, back in zip(keys[1:-1:2], forward[:-1], self.feedback, strict=True)
        )
        return eqx.tree_at(lambda f: (f.forward, f.feedback), self, (forward, feedback))

    def transposed(self: Field) -> Field:
        forward = (*(back.T for back in self.feedback), self.forward[-1])
        return eqx.tree_at(
            lambda f: (f.forward, f.feedback), self, (forward, tuple(ahead.T for ahead in self.forward[:-1]))
        )

    def with_feedback_gain(self: Field, gain: ArrayLike) -> Field:
        share = gain / self.feedback_gain
        feedback = tuple(jnp.asarray(share, ahead.dtype) * ahead.T for ahead in self.forward[:-1])
        return eqx.tree_at(lambda f: f.feedback, self, feedback) if feedback else self

    def file_tensors(self) -> dict[str, np.ndarray]:
        return tensors_with_taus(self.tensors(), {f"tau_{i}": tau for i, tau in enumerate(self.tau)})

    @classmethod
    def from_file(cls: type[Field], config: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> Field:
        sizes = config.get("sizes")
        if not isinstance(sizes, list) or len(sizes) < 2:
            raise TensorFileError(f"has sizes={sizes!r:.40}, not a list of at least two layers")
        n = [checked_count("sizes", size) for size in sizes[::-1]]
        pairs = list(itertools.pairwise(n))
        vectors = [(size,) for size in n[:-1]]
        mirrored = [(j, i) for i, j in pairs[:-1]]
        return cls(**layered_parts(config, tensors, forward=pairs, feedback=mirrored, biases=vectors, tau=vectors))

    def _architecture(self) -> dict[str, Any]:
        return {"sizes": list(self.sizes)}
