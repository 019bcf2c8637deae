"""Liquid state machines: random spiking networks that are not trained, with a linear readout of filtered spikes."""

import functools
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Key

from .._arrays import as_scalar, checked_key, is_concrete
from ..signals import TIME_FIRST, Recording, Signal
from .readout import Readout

# Maass, Natschlaeger & Markram 2002: probability and mean strength (mV a spike) of a synapse, by [post][pre], E then I.
_PROBABILITY = ((0.3, 0.4), (0.2, 0.1))
_STRENGTH = ((1.2, -2.4), (2.4, -2.4))
_REFRACTORY = (3.0, 2.0)  # ms, E and I


class _NeuronState(NamedTuple):
    voltage: Array
    refractory: Array
    current: Array
    trace: Array


class Liquid(eqx.Module):
    r"""A liquid state machine: leaky integrate-and-fire neurons with exponential synapses.

    $$\tau_m \dot v = -v + I(t) + W_{in} u(t) + b, \qquad \tau_s \dot I = -I, \qquad
      I \leftarrow I + W s \ \text{at spikes}$$

    in mV above rest: at v >= threshold a neuron spikes, goes to `reset`, and stays there for its refractory time.
    Voltages and currents are exact for an input that is held over a step, with the current decaying within it; spikes
    fall on the grid. Sample 0 is rest, sample k is at the time k dt: it has read the inputs before. The
    `states` of a recording are the spikes filtered by exp(-t/30 ms), the input of the readout. Not differentiable:
    only the readout is trained. Source: Maass, Natschlaeger & Markram 2002.

    Make one with `Liquid.create`.

    Attributes:
        weights: W (neurons, neurons), mV a spike; columns of inhibitory neurons are negative.
        input_weights: W_in (neurons, inputs), mV for an input of 1.
        biases: b (neurons,), mV: a constant current.
        refractory: the refractory time (neurons,), ms.
        excitatory: which neurons excite (neurons,).
        positions: where the neurons are (neurons, 3), in units of the grid.
        membrane: tau_m, ms; synapse: tau_s, ms; filter: of the spikes, ms.
        threshold: mV; reset: mV.
        readout: of the filtered spikes; None before `fit`.
    """

    weights: Float[Array, "n n"]
    input_weights: Float[Array, "n inputs"]
    biases: Float[Array, " n"]
    refractory: Float[Array, " n"]
    excitatory: Bool[Array, " n"]
    positions: Float[Array, "n 3"]
    membrane: Float[Array, ""] = eqx.field(converter=as_scalar, default=30.0)
    synapse: Float[Array, ""] = eqx.field(converter=as_scalar, default=3.0)
    filter: Float[Array, ""] = eqx.field(converter=as_scalar, default=30.0)
    threshold: Float[Array, ""] = eqx.field(converter=as_scalar, default=15.0)
    reset: Float[Array, ""] = eqx.field(converter=as_scalar, default=13.5)
    readout: Readout | None = None

    def __check_init__(self) -> None:
        times = (self.membrane, self.synapse, self.filter)
        if is_concrete(*times) and not min(float(t) for t in times) > 0:
            raise ValueError("give time constants above 0, in ms")
        if is_concrete(self.threshold, self.reset) and not float(self.reset) < float(self.threshold):
            raise ValueError(f"reset={float(self.reset):g}: the reset must be below the threshold")

    @classmethod
    def create(
        cls,
        key: Key[Array, ""],
        *,
        neurons: int = 135,
        inputs: int = 1,
        reach: float = 2.0,
        scale: float = 1.0,
        input_scale: float = 20.0,
        input_density: float = 0.3,
        bias: float = 13.5,
    ) -> "Liquid":
        r"""Draws a liquid on a grid three neurons wide and three deep: 80 % excite, 20 % inhibit.

        Two neurons at the distance D are connected with probability $C e^{-(D/\lambda)^2}$, C = 0.3, 0.2, 0.4, 0.1 from
        E to E, from E to I, from I to E, from I to I.

        Args:
            key: a JAX random key.
            neurons: N.
            inputs: M.
            reach: lambda, in units of the grid.
            scale: of all synapses within the liquid.
            input_scale: input weights are uniform in [0, this], mV.
            input_density: share of the neurons that an input reaches.
            bias: biases are uniform between this and 1.1 times it, mV.

        Raises:
            ValueError: for sizes that make no liquid, or a reach or density that cannot be.
        """
        if neurons < 2 or inputs < 1:
            raise ValueError(f"neurons={neurons}, inputs={inputs}: give at least 2 and 1")
        if not reach > 0 or not 0 < input_density <= 1:
            raise ValueError(f"reach={reach}, input_density={input_density}: above 0, the density at most 1")
        drawn = _draw(
            key,
            neurons=neurons,
            inputs=inputs,
            reach=reach,
            scale=scale,
            input_scale=input_scale,
            input_density=input_density,
            bias=bias,
        )
        return cls(**drawn)

    def run(self, inputs: Signal) -> Recording:
        """Simulates the liquid from rest; the signal's step is the step of the integration, in ms.

        Returns:
            The filtered spikes at every sample, the first one at rest, and the readout's outputs (no channels before
            there is a readout).

        Raises:
            ValueError: for a signal that does not fit.
        """
        inputs.check_channels(self.input_weights.shape[1], "liquid")
        states, _, _ = _run(self, inputs)
        outputs = states[..., :0] if self.readout is None else self.readout(states)
        return Recording(inputs.times, states, outputs)

    def spikes(self, inputs: Signal) -> Bool[Array, "time batch n"]:
        """Which neuron spikes at which sample. Arguments and errors as for `run`."""
        inputs.check_channels(self.input_weights.shape[1], "liquid")
        return _run(self, inputs)[1]

    def advance(self, inputs: Signal, start: Any = None) -> tuple[Float[Array, "time batch n"], Any]:
        """The filtered spikes, going on from where another run has ended; and where this one ends.

        Args:
            inputs: u; its first sample drives the step to the second.
            start: what an earlier call has returned; rest by default.
        """
        states, _, last = _run(self, inputs, start)
        return states, last

    def fit(self, inputs: Signal, targets: ArrayLike, *, washout: int = 100, ridge: float = 1e-3) -> "Liquid":
        """The same liquid with a fitted readout. Arguments and errors as for `Readout.fit` and `run`."""
        target = Signal.sampled(targets, inputs.step, missing=True, axes=TIME_FIRST).values
        readout = Readout.fit(self.run(inputs).states, target, washout=washout, ridge=ridge)
        return eqx.tree_at(lambda liquid: liquid.readout, self, readout, is_leaf=lambda leaf: leaf is None)


@functools.partial(jax.jit, static_argnames=("neurons", "inputs"))
def _draw(
    key: Key[Array, ""],
    *,
    neurons: int,
    inputs: int,
    reach: ArrayLike,
    scale: ArrayLike,
    input_scale: ArrayLike,
    input_density: ArrayLike,
    bias: ArrayLike,
) -> dict[str, Any]:
    """The random attributes of a liquid; arguments as for `Liquid.create`."""
    keys = jax.random.split(checked_key(key), 6)
    dtype = jnp.result_type(float)
    grid = jnp.arange(neurons)
    positions = jnp.stack([grid % 3, grid // 3 % 3, grid // 9], axis=1).astype(dtype)
    excitatory = jax.random.permutation(keys[0], neurons) >= round(0.2 * neurons)
    kind = (~excitatory).astype(int)
    distance = jnp.linalg.norm(positions[:, None] - positions[None], axis=2)
    probability = jnp.asarray(_PROBABILITY)[kind[:, None], kind[None]] * jnp.exp(-((distance / reach) ** 2))
    connected = jax.random.bernoulli(keys[1], probability) & ~jnp.eye(neurons, dtype=bool)
    mean = scale * jnp.asarray(_STRENGTH)[kind[:, None], kind[None]]
    spread = jax.random.exponential(keys[2], (neurons, neurons), dtype)  # the gamma distribution with a CV of 1
    reached = jax.random.bernoulli(keys[3], input_density, (neurons, inputs))
    return {
        "weights": jnp.where(connected, mean * spread, 0),
        "input_weights": jnp.where(reached, input_scale * jax.random.uniform(keys[4], reached.shape, dtype), 0),
        "biases": bias * (1 + 0.1 * jax.random.uniform(keys[5], (neurons,), dtype)),
        "refractory": jnp.asarray(_REFRACTORY, dtype)[kind],
        "excitatory": excitatory,
        "positions": positions,
    }


@eqx.filter_jit
def _run(liquid: Liquid, inputs: Signal, start: _NeuronState | None = None) -> tuple[Array, Array, _NeuronState]:
    dt = inputs.step
    leak, decay, forget = (jnp.exp(-dt / tau) for tau in (liquid.membrane, liquid.synapse, liquid.filter))
    # v = (I / tau_m) int_0^dt exp(-(dt - t) / tau_m - t / tau_s) dt, in a form that bears equal time constants.
    apart = dt * (1 / liquid.synapse - 1 / liquid.membrane)
    charge = (
        leak * dt / liquid.membrane * jnp.where(apart == 0, 1, -jnp.expm1(-apart) / jnp.where(apart == 0, 1, apart))
    )
    rows = (inputs.values.shape[1], len(liquid.biases))

    def step(now: _NeuronState, rates: Array) -> tuple[_NeuronState, tuple[Array, Array]]:
        drive = rates @ liquid.input_weights.T + liquid.biases
        active = now.refractory <= 0
        moved = leak * now.voltage + (1 - leak) * drive + charge * now.current
        voltage = jnp.where(active, moved, liquid.reset)
        spike = active & (voltage >= liquid.threshold)
        after = _NeuronState(
            voltage=jnp.where(spike, liquid.reset, voltage),
            # Half a step of slack: the times are multiples of dt up to rounding.
            refractory=jnp.where(spike, liquid.refractory - 0.5 * dt, jnp.maximum(now.refractory - dt, -dt)),
            current=decay * now.current + spike.astype(voltage.dtype) @ liquid.weights.T,
            trace=forget * now.trace + spike,
        )
        return after, (after.trace, spike)

    blank = jnp.zeros(rows, liquid.biases.dtype)
    first = _NeuronState(blank, blank, blank, blank) if start is None else start
    last, (traces, spikes) = jax.lax.scan(step, first, inputs.values[:-1])
    silent = jnp.zeros((1, *rows), bool)
    return jnp.concatenate([first.trace[None], traces]), jnp.concatenate([silent, spikes]), last
