"""The Hopfield field: a network with an energy, the case in which equilibrium propagation is exact."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Inexact, Key

from .._arrays import checked_key, is_concrete
from .._tensor_file import TensorFileError
from ..activations import Activation, hard_sigmoid
from .abstract_graph import AbstractGraph
from .base import State
from .connectivity import blank_graph, draw_weights, joined_layers, masked, random_pairs

Field = TypeVar("Field", bound="HopfieldField")


class HopfieldField(AbstractGraph):
    r"""A continuous Hopfield network: gradient descent on an energy, so that its Jacobian is symmetric.

    $$E(s) = \tfrac12\lVert s\rVert^2 - \tfrac12\,\rho(s)^\top W \rho(s) - (W_{in} x + b)^\top \rho(s), \qquad
      \mu_i = -\frac{\partial E}{\partial s_i}
            = \rho'(s_i)\Big(\sum_j W_{ij}\,\rho(s_j) + (W_{in} x)_i + b_i\Big) - s_i$$

    W is symmetric: each joined pair of neurons has ONE weight, stored once, above the diagonal. The energy never rises
    along a trajectory, the equilibria are its stationary points, and the update of equilibrium propagation is the
    gradient whatever the activation. It is not the network of leaky integrators with a symmetric W, whose mu lacks
    rho'(s_i), unless rho' = 1: with the clipped hard sigmoid the two are the same. The synapse's factor rho'(s_i) is
    no current that the circuits build. Source: Hopfield 1984; Scellier & Bengio 2017, equations 1-3.

    Make one with `HopfieldField.create` or `HopfieldField.from_layers`; the constructor takes the tensors themselves.

    Attributes:
        weights: W above the diagonal, (N, N), a pair's weight in the row of the neuron with the lower number; other
            entries, and those outside the mask, have no effect, no gradient.
        input_weights: W_in (N, M).
        biases: b (N,).
        mask: which pairs are joined (N, N), symmetric, never the diagonal.
        tau: time constants (N,).
        n_outputs: K, how many neurons are read: the first K.
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
        activation: str | Activation = hard_sigmoid,
        gain: float = 0.5,
        projected: bool | None = None,
        tau: ArrayLike = 1.0,
    ) -> "HopfieldField":
        """Draws a network in which each pair of neurons is joined with probability `density`.

        Args as for `GraphField.create`; the same key gives the weights of its fully symmetric network.

        Raises:
            ValueError: for sizes that make no network, a density outside (0, 1], a gain that is no scale, or tau not
                positive.
        """
        mask_key, weight_key = jax.random.split(checked_key(key))
        mask = random_pairs(mask_key, neurons, density)
        blank = blank_graph(mask, inputs, outputs, None, activation=activation, gain=gain, projected=projected, tau=tau)
        return cls(**blank).reinitialise(weight_key, 1.0)

    @classmethod
    def from_layers(
        cls,
        key: Key[Array, ""],
        sizes: Sequence[int],
        *,
        skips: Sequence[tuple[int, int]] = (),
        lateral: Sequence[int] = (),
        activation: str | Activation = hard_sigmoid,
        gain: float = 0.5,
        projected: bool | None = None,
        tau: ArrayLike = 1.0,
    ) -> "HopfieldField":
        """Draws a network in layers, with skip and lateral connections where asked: the energy-based layered network.

        Args as for `GraphField.from_layers`.

        Raises:
            ValueError: for sizes, skips or lateral layers that make no network, and as `create`.
        """
        mask, input_mask = joined_layers(sizes, skips, lateral)
        blank = blank_graph(
            mask,
            int(sizes[0]),
            int(sizes[-1]),
            input_mask,
            activation=activation,
            gain=gain,
            projected=projected,
            tau=tau,
        )
        return cls(**blank).reinitialise(checked_key(key), 1.0)

    def velocity(self, drive: State) -> Callable[[State], State]:
        synapses = self.recurrent_matrix()

        def mu(state: State) -> State:
            return self.activation.derivative(state) * (self.activation(state) @ synapses + drive) - state

        return mu

    def energy(
        self, state: Inexact[Array, "batch neurons"], drive: Float[Array, "batch neurons"]
    ) -> Inexact[Array, " batch"]:
        """E of every sample, whose negative gradient is mu.

        Args:
            state: s.
            drive: W_in x + b, as `drive(x)` gives it.
        """
        rates = self.activation(state)
        synapses = 0.5 * jnp.sum(rates * (rates @ self.recurrent_matrix()), axis=-1)
        return 0.5 * jnp.sum(state**2, axis=-1) - synapses - jnp.sum(drive * rates, axis=-1)

    def recurrent_matrix(self) -> Float[Array, "neurons neurons"]:
        upper = jnp.triu(masked(self.mask, self.weights), 1)
        return upper + upper.T

    def reinitialise(self: Field, key: Key[Array, ""], symmetry: ArrayLike) -> Field:
        """New weights; symmetric, for one weight a pair cannot be anything else.

        Raises:
            ValueError: for a symmetry other than 1.
        """
        self.check_symmetry(symmetry)
        upper, _, input_weights = draw_weights(key, self.mask, self.n_inputs, self.input_mask, self.gain, self.dtype)
        return eqx.tree_at(lambda f: (f.weights, f.input_weights), self, (masked(self.mask, upper), input_weights))

    def check_symmetry(self, symmetry: ArrayLike) -> None:
        """Refuses weight symmetries other than 1, which one weight a pair cannot have.

        Raises:
            ValueError: for anything but 1.
        """
        if is_concrete(symmetry) and not bool(np.all(np.asarray(symmetry) == 1)):
            raise ValueError(
                f"symmetry={np.asarray(symmetry).tolist()}: a Hopfield network has one weight a pair, so the symmetry "
                "1; use GraphField for other symmetries"
            )

    @property
    def symmetric_jacobian(self) -> bool:
        return True

    @staticmethod
    def _stored(mask: np.ndarray) -> np.ndarray:
        return np.triu(mask)

    @classmethod
    def _check_file(cls, weights: np.ndarray, mask: np.ndarray) -> None:
        if not (mask == mask.T).all() or np.diagonal(mask).any():
            raise TensorFileError("has a mask that is not symmetric with an empty diagonal")
        if ((weights != 0) & ~cls._stored(mask)).any():
            raise TensorFileError(
                "has strengths in W below the diagonal or where there is no synapse (each pair has one)"
            )
