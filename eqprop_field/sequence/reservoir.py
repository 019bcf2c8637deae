"""Echo state networks: random recurrent networks that are not trained, with a linear readout that is."""

import abc
from typing import ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, Key

from .._arrays import as_scalar, checked_key, is_concrete
from ..activations import ACTIVATIONS, Activation
from ..activations import activation as named_activation
from ..signals import TIME_FIRST, Recording, Signal
from .driven import integrated
from .readout import Readout

_GATHER_COST = 6  # of a gathered entry, in entries of a dense product


class EllpackMatrix(eqx.Module):
    """A sparse matrix in ELLPACK format, with the same number of entries in every row, multiplied by a gather.

    Attributes:
        sources: the columns of each row's entries (neurons, synapses).
        strengths: the entries; 0 where a row has fewer.
    """

    sources: Int[Array, "n synapses"]
    strengths: Float[Array, "n synapses"]

    @classmethod
    def of(cls, weights: "Float[Array, 'n n'] | EllpackMatrix") -> "EllpackMatrix | Array":
        """The matrix in this format if it is sparse enough for a gather to be faster, else as it is."""
        if isinstance(weights, EllpackMatrix) or not is_concrete(weights):
            return weights
        dense = np.asarray(weights)
        rows, columns = np.nonzero(dense)
        counts = np.bincount(rows, minlength=len(dense))
        most = max(1, int(counts.max()))
        if most * _GATHER_COST > len(dense):
            return weights
        column = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        sources, strengths = np.zeros((len(dense), most), np.int32), np.zeros((len(dense), most), dense.dtype)
        sources[rows, column], strengths[rows, column] = columns, dense[rows, columns]
        return cls(jnp.asarray(sources), jnp.asarray(strengths))

    def __matmul__(self, state: Float[Array, " n"]) -> Float[Array, " n"]:
        return jnp.sum(self.strengths * state.at[self.sources].get(mode="promise_in_bounds"), axis=1)


class Reservoir(eqx.Module):
    r"""The random weights of an echo state network, and the rate of its summed input.

    $$r = \rho(W x + W_{in} u + W_{fb}\, y + b)$$

    Attributes:
        weights: W (neurons, neurons); a sparse one is an `EllpackMatrix` during a run.
        input_weights: W_in (neurons, inputs).
        biases: b (neurons,).
        feedback_weights: W_fb (neurons, outputs); no columns without feedback.
        activation: rho.
    """

    weights: Float[Array, "n n"] | EllpackMatrix
    input_weights: Float[Array, "n inputs"]
    biases: Float[Array, " n"]
    feedback_weights: Float[Array, "n outputs"]
    activation: Activation = eqx.field(static=True, default=ACTIVATIONS["tanh"])

    @classmethod
    def create(
        cls,
        key: Key[Array, ""],
        *,
        neurons: int,
        inputs: int,
        feedback: int = 0,
        radius: float = 0.9,
        density: float = 0.1,
        input_scale: float = 1.0,
        feedback_scale: float = 1.0,
        bias_scale: float = 0.0,
        activation: str | Activation = "tanh",
    ) -> "Reservoir":
        """Draws a sparse reservoir and scales it to a spectral radius. Source: Jaeger 2001; Lukosevicius 2012.

        Args:
            key: a JAX random key.
            neurons: N; inputs: M.
            feedback: how many outputs are fed back; 0 for none.
            radius: the spectral radius of W. Below 1 is neither necessary nor sufficient for the echo state property,
                and a good start.
            density: the share of the neurons that each neuron reads, in (0, 1].
            input_scale: input weights are uniform between minus and plus this.
            feedback_scale: the same for feedback weights; bias_scale: and for biases.
            activation: rho, or its name.

        Raises:
            ValueError: for sizes that make no reservoir, a density outside (0, 1], or negative scales.
        """
        if neurons < 1 or inputs < 1 or feedback < 0:
            raise ValueError(f"neurons={neurons}, inputs={inputs}, feedback={feedback}: at least 1, 1 and 0")
        if not 0 < density <= 1:
            raise ValueError(f"density={density}: give the share of synapses, above 0 and at most 1")
        for name, scale in (
            ("radius", radius),
            ("input_scale", input_scale),
            ("feedback_scale", feedback_scale),
            ("bias_scale", bias_scale),
        ):
            if not 0 <= scale < np.inf:
                raise ValueError(f"{name}={scale}: give zero or a positive number")
        keys = jax.random.split(checked_key(key), 5)
        wide = jnp.result_type(float)

        def uniform(key: Key[Array, ""], shape: tuple[int, ...]) -> Array:
            return jax.random.uniform(key, shape, wide, -1.0, 1.0)

        # Every row has as many synapses: the first so many of a random order.
        order = jnp.argsort(jax.random.uniform(keys[0], (neurons, neurons)), axis=1)
        synapses = order < max(1, round(density * neurons))
        drawn = jnp.where(synapses, jax.random.normal(keys[1], (neurons, neurons), wide), 0)
        size = spectral_radius(drawn)
        return cls(
            weights=drawn * (radius / size),
            input_weights=input_scale * uniform(keys[2], (neurons, inputs)),
            biases=bias_scale * uniform(keys[3], (neurons,)),
            feedback_weights=feedback_scale * uniform(keys[4], (neurons, feedback)),
            activation=named_activation(activation),
        )

    @property
    def feedback(self) -> int:
        """How many outputs are fed back."""
        return self.feedback_weights.shape[1]

    def rates(self, state: Array, rates: Array, output: Array) -> Array:
        """rho of the summed input, for one sequence."""
        return self.activation(
            self.weights @ state + self.input_weights @ rates + self.feedback_weights @ output + self.biases
        )


def spectral_radius(weights: ArrayLike) -> float:
    """The largest modulus of a matrix's eigenvalues (dense, on the host)."""
    return float(np.abs(np.linalg.eigvals(np.asarray(weights, np.float64))).max())


class AbstractEchoStateNetwork(eqx.Module):
    """An echo state network: a reservoir, with a linear readout once it is fitted.

    Attributes:
        reservoir: the random weights.
        readout: of the states; None before `fit`.
    """

    delayed: ClassVar[bool]  # whether the output that is fed back is the one before
    reservoir: eqx.AbstractVar[Reservoir]
    readout: eqx.AbstractVar[Readout | None]

    @abc.abstractmethod
    def _states(self, inputs: Signal, start: Array, teacher: Signal | None, before: Array) -> Array:
        """The states of one sequence at its samples (time, neurons); the outputs are fed back without a teacher."""

    def run(
        self,
        inputs: Signal,
        *,
        start: ArrayLike | None = None,
        teacher: Signal | None = None,
        before: ArrayLike | None = None,
        throw: bool = True,
    ) -> Recording:
        """Simulates the reservoir.

        Args:
            inputs: u.
            start: the state before the first sample (neurons,) or (batch, neurons); 0 by default.
            teacher: targets fed back in place of the outputs; needed for feedback before there is a readout.
            before: the target before the first sample (outputs,) or (batch, outputs), which a teacher feeds back to it
                in discrete time; 0 by default, and needed for a run that goes on from a start.
            throw: whether to refuse a run that holds NaN or infinity. Nothing is raised while JAX traces.

        Returns:
            The states, and the readout's outputs (no channels before there is a readout).

        Raises:
            ValueError: for a signal, a start or a teacher that does not fit, feedback without teacher or readout, or a
                run that exploded.
        """
        self._check(inputs, teacher, continued=start is not None and before is None)
        batch, n = inputs.values.shape[1], len(self.reservoir.biases)
        first = jnp.zeros((batch, n)) if start is None else jnp.broadcast_to(jnp.asarray(start), (batch, n))
        compact = eqx.tree_at(lambda esn: esn.reservoir.weights, self, EllpackMatrix.of(self.reservoir.weights))
        fed = jnp.broadcast_to(jnp.asarray(0.0 if before is None else before), (batch, self.reservoir.feedback))
        dtype = self.reservoir.biases.dtype
        recording = _run(compact, inputs, first.astype(dtype), teacher, fed.astype(dtype))
        if throw and is_concrete(recording) and bool(jnp.any(recording.exploded)):
            raise ValueError(
                "the reservoir exploded: lower its radius, raise the ridge of a readout that is fed back, or use tanh"
            )
        return recording

    def fit(
        self,
        inputs: Signal,
        targets: ArrayLike,
        *,
        washout: int = 100,
        ridge: float = 1e-6,
        noise: float = 0.0,
        key: Key[Array, ""] | None = None,
    ) -> "AbstractEchoStateNetwork":
        """Fits the readout; with feedback, the targets are fed back meanwhile (teacher forcing).

        Args:
            inputs: u.
            targets: (time, outputs) or (time, batch, outputs); samples with NaN are left out, and fed back as 0.
            washout: samples at the beginning that the readout is not fitted to.
            ridge: as for `Readout.fit`.
            noise: standard deviation of Gaussian noise on the feedback, which stabilises a free-running network; needs
                a key.

        Returns:
            The same network with the fitted readout.

        Raises:
            ValueError: as `run` and `Readout.fit`, and for noise without a key.
        """
        target = Signal.sampled(targets, inputs.step, inputs.interpolation, missing=True, axes=TIME_FIRST)
        teacher = None
        if self.reservoir.feedback:
            fed = jnp.nan_to_num(target.values)
            if noise > 0:
                if key is None:
                    raise ValueError("noise on the teacher is drawn: give a key")
                fed = fed + noise * jax.random.normal(key, fed.shape, fed.dtype)
            teacher = Signal(fed, inputs.step, inputs.interpolation)
        states = self.run(inputs, teacher=teacher, throw=False).states  # the fit checks them itself
        readout = Readout.fit(states, target.values, washout=washout, ridge=ridge)
        return eqx.tree_at(lambda esn: esn.readout, self, readout, is_leaf=lambda leaf: leaf is None)

    def _check(self, inputs: Signal, teacher: Signal | None, *, continued: bool) -> None:
        reservoir = self.reservoir
        inputs.check_channels(reservoir.input_weights.shape[1], "reservoir")
        if teacher is not None and teacher.values.shape != (*inputs.values.shape[:2], reservoir.feedback):
            raise ValueError(
                f"the teacher has shape {teacher.values.shape}, but these inputs and this reservoir need "
                f"{(*inputs.values.shape[:2], reservoir.feedback)}"
            )
        if teacher is not None and continued and self.delayed:
            raise ValueError(
                "a run that goes on from a start needs the target before its first sample: give before=..., zeros for "
                "a network that was at rest"
            )
        if reservoir.feedback and teacher is None:
            if self.readout is None:
                raise ValueError("nothing to feed back yet: give a teacher, or fit a readout first")
            if len(self.readout.weights) != reservoir.feedback:
                raise ValueError(
                    f"the readout has {len(self.readout.weights)} outputs, {reservoir.feedback} are fed back"
                )


class EchoStateNetwork(AbstractEchoStateNetwork):
    r"""An echo state network in discrete time.

    $$x(k) = (1-a)\,x(k-1) + a\,\rho(W x(k-1) + W_{in} u(k) + W_{fb}\,y(k-1) + b)$$

    The state at sample k depends on the input of sample k, and on the output of sample k - 1.

    Attributes:
        reservoir: the random weights.
        leak: a, in (0, 1].
        readout: of the states; None before `fit`.
    """

    delayed: ClassVar[bool] = True
    reservoir: Reservoir
    leak: Float[Array, ""] = eqx.field(converter=as_scalar, default=1.0)
    readout: Readout | None = None

    def __check_init__(self) -> None:
        if is_concrete(self.leak) and not 0 < float(self.leak) <= 1:
            raise ValueError(f"leak={float(self.leak):g}: give a share above 0 and at most 1")

    def _states(self, inputs: Signal, start: Array, teacher: Signal | None, before: Array) -> Array:
        forced = None if teacher is None else jnp.concatenate([before[None], teacher.values[:-1, 0]])

        def step(state: Array, sample: tuple[Array, Array | None]) -> tuple[Array, Array]:
            rates, taught = sample
            moved = self.reservoir.rates(state, rates, _fed_back(self, state, taught))
            state = (1 - self.leak) * state + self.leak * moved
            return state, state

        return jax.lax.scan(step, start, (inputs.values[:, 0], forced))[1]


class ContinuousEchoStateNetwork(AbstractEchoStateNetwork):
    r"""An echo state network in continuous time, by diffrax: $c\dot x = -a x + \rho(W x + W_{in} u + W_{fb} y + b)$.

    Its Euler steps are `EchoStateNetwork` with the leak a dt/c, for a = 1.

    Attributes:
        reservoir: the random weights.
        time_constant: c, in the unit of the signal's time.
        decay: a.
        accuracy: relative and absolute error allowed a step; 1e-6 in float32 and 1e-9 in float64 by default.
        readout: of the states; None before `fit`.
    """

    delayed: ClassVar[bool] = False
    reservoir: Reservoir
    time_constant: Float[Array, ""] = eqx.field(converter=as_scalar, default=1.0)
    decay: Float[Array, ""] = eqx.field(converter=as_scalar, default=1.0)
    accuracy: Float[Array, ""] | None = eqx.field(converter=as_scalar, default=None)
    readout: Readout | None = None

    def __check_init__(self) -> None:
        if is_concrete(self.time_constant, self.decay) and not (
            float(self.time_constant) > 0 and float(self.decay) > 0
        ):
            raise ValueError("give a time constant and a decay above 0")

    def _states(self, inputs: Signal, start: Array, teacher: Signal | None, before: Array) -> Array:

        def velocity(t: ArrayLike, state: Array, _: None) -> Array:
            now = jnp.asarray(t)
            taught = None if teacher is None else teacher.at(now)[0]
            moved = self.reservoir.rates(state, inputs.at(now)[0], _fed_back(self, state, taught))
            return (moved - self.decay * state) / self.time_constant

        return integrated(velocity, start, inputs, diffrax.Tsit5(), self.accuracy)


def echo_distance(network: AbstractEchoStateNetwork, inputs: Signal, starts: ArrayLike) -> Float[Array, " time"]:
    """The distance of two states under the same input, which tends to 0 for a network with the echo state property.

    Args:
        network: a reservoir without feedback.
        inputs: one sequence.
        starts: the two states before its first sample (2, neurons).

    Returns:
        The Euclidean distance at every sample.

    Raises:
        ValueError: for a network with feedback, or more than one sequence.
    """
    if network.reservoir.feedback or inputs.values.shape[1] != 1:
        raise ValueError("the echo state property is of one input sequence, and of a reservoir without feedback")
    twice = Signal(jnp.tile(inputs.values, (1, 2, 1)), inputs.step, inputs.interpolation)
    states = network.run(twice, start=jnp.asarray(starts)).states
    return jnp.linalg.norm(states[:, 0] - states[:, 1], axis=1)


def _fed_back(network: AbstractEchoStateNetwork, state: Array, taught: Array | None) -> Array:
    if network.reservoir.feedback == 0:
        return state[:0]
    if taught is not None or network.readout is None:
        return jnp.zeros(network.reservoir.feedback) if taught is None else taught
    return network.readout(state)


@eqx.filter_jit
def _run(
    network: AbstractEchoStateNetwork, inputs: Signal, start: Array, teacher: Signal | None, before: Array
) -> Recording:
    def one(values: Array, start: Array, taught: Array | None, before: Array) -> Array:
        single = Signal(values[:, None], inputs.step, inputs.interpolation)
        forced = None if taught is None else Signal(taught[:, None], inputs.step, inputs.interpolation)
        return network._states(single, start, forced, before)

    taught = None if teacher is None else teacher.values
    axes = (1, 0, None if taught is None else 1, 0)
    states = jax.vmap(one, in_axes=axes, out_axes=1)(inputs.values, start, taught, before)
    outputs = states[..., :0] if network.readout is None else network.readout(states)
    return Recording(inputs.times, states, outputs)
