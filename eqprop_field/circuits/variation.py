"""Chips: what fabrication makes of a network, drawn from a key; the same chip as an ODE and as a circuit."""

import abc
import contextlib
import dataclasses
import math
from collections.abc import Iterator, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Inexact, Int, Key

from .._arrays import is_concrete
from ..substrates.base import AbstractSubstrate
from ..substrates.capabilities import Capability
from ..substrates.nudging import AbstractNudge, Pull
from ..substrates.oscillation import Oscillation
from ..substrates.solution import Solution
from ..vector_fields import AbstractLeakyIntegrator, AbstractVectorField
from ..vector_fields.base import State
from ..vector_fields.leaky import is_a, reads_first, require, with_matrices
from .element_chip import ElementField, devices_of
from .ir import Circuit, Synapses
from .noise import Noise

_WIDEST = 10.0  # e^10 times as much, or as little
_CAPACITORS, _OFFSETS = 2**30, 2**30 + 1  # numbers of keys: no program has so many groups of devices


@dataclasses.dataclass(frozen=True)
class Variation:
    r"""How much the devices of a chip differ, and which weights it can hold.

    A device comes out as its nominal value times $e^{\sigma z}$ with a standard normal z: always positive, its median
    the nominal value, its relative spread sigma. Offsets are normal.

    Attributes:
        capacitance: spread of the membrane capacitances.
        leak: spread of the leaks.
        synapse: spread of the synapses' conductances, those from inputs too.
        bias: spread of the bias currents.
        gain: spread of the neurons' output gains: of all the synapses that a neuron drives together.
        nudge: spread of the nudges' strengths.
        offset: standard deviation of every neuron's offset, the voltage that it would rest at by itself, state units.
        nudge_offset: standard deviation of the nudges' offsets: how far from its target each pulls, state units.
        bits: weights are programmed to the nearest of 2^bits magnitudes of either sign, 0 and the largest included;
            0 leaves them as they are.
        largest: the largest weight that can be programmed, which cuts the others; None takes the largest of the
            network's own.

    Raises:
        ValueError: for a spread that is negative or above 10, which no devices have, and for bits or a largest weight
            without meaning.
    """

    capacitance: float = 0.0
    leak: float = 0.0
    synapse: float = 0.0
    bias: float = 0.0
    gain: float = 0.0
    nudge: float = 0.0
    offset: float = 0.0
    nudge_offset: float = 0.0
    bits: int = 0
    largest: float | None = None

    def __post_init__(self) -> None:
        for name in ("capacitance", "leak", "synapse", "bias", "gain", "nudge", "offset", "nudge_offset"):
            if not 0 <= getattr(self, name) <= _WIDEST:
                raise ValueError(
                    f"{name}={getattr(self, name)!r}: a spread is a number from 0 to {_WIDEST:g}, such as 0.05 for 5 %"
                )
        if not 0 <= self.bits <= 24:
            raise ValueError(f"bits={self.bits}: weights take 2^bits magnitudes, with bits from 1 to 24, or 0 for any")
        if self.largest is not None and not 0 < self.largest < math.inf:
            raise ValueError(f"largest={self.largest!r}: the largest weight is a positive, finite number, or None")

    @classmethod
    def everywhere(cls, mismatch: float, offset: float = 0.0, bits: int = 0) -> "Variation":
        """The same spread of every kind of device, and the same offset of neurons and nudges."""
        spreads = dict.fromkeys(("capacitance", "leak", "synapse", "bias", "gain", "nudge"), mismatch)
        return cls(**spreads, offset=offset, nudge_offset=offset, bits=bits)


class AbstractChip(eqx.Module):
    """One sample of a fabricated network, drawn by `Chip.draw`: the same devices as an ODE and as a circuit.

    Attributes:
        leaks: the leaks' conductances over the nominal ones, by which `field` is divided.
        nudge_gains: the nudges' strengths over the nominal ones.
        nudge_offsets: how far from its target each pulls, state units.
    """

    leaks: eqx.AbstractVar[Float[Array, " neurons"]]
    nudge_gains: eqx.AbstractVar[Float[Array, " outputs"]]
    nudge_offsets: eqx.AbstractVar[Float[Array, " outputs"]]

    @abc.abstractmethod
    def field(self, field: AbstractVectorField) -> AbstractVectorField:
        """The network that this chip is when it is programmed with the parameters of `field`; differentiable.

        Raises:
            ValueError: for a field that the chip was not drawn for.
        """

    def built(self, nudge: AbstractNudge, batch: int) -> AbstractNudge:
        """The nudge as a circuit's compiler is told: with the devices in it, unless `Chip.circuit` adds them."""
        return self.nudge(nudge, batch)

    def circuit(self, circuit: Circuit) -> Circuit:
        """A circuit that was compiled from `field` and `built`, with the devices that are not in it yet."""
        return circuit

    def nudge(self, nudge: AbstractNudge, batch: int) -> AbstractNudge:
        """The nudge as this chip's devices do it, to be used with `field`, for so many samples."""
        gains = self.nudge_gains / self.leaks[: len(self.nudge_gains)]
        rows = lambda values: jnp.broadcast_to(values, (batch, len(values)))  # noqa: E731
        return _ChipNudge(nudge, rows(gains), rows(self.nudge_offsets))


class ElementChip(AbstractChip):
    r"""A chip of any field: every weight, function, product and capacitor of its program differs.

    $$c_i\tau_i \dot s_i = \tilde\mu_i(\theta, x, s) + o_i$$

    where mu~ is the program of mu with a factor $e^{\sigma z}$ on every weight of a linear sum (`synapse`), on every
    function and every product of signals (`gain`), on every constant that is added (`bias`) and on what is subtracted
    (`leak`). Where weights are shared, as in a convolution, each has devices of its own. What a loop computes within
    counts as one function. Drawn by `Chip.draw`.

    Attributes:
        key: of the devices.
        spreads: of every kind of device.
    """

    key: Key[Array, ""]
    spreads: dict[str, Array]
    nudge_gains: Float[Array, " outputs"]
    nudge_offsets: Float[Array, " outputs"]
    leaks: Float[Array, " neurons"]

    def field(self, field: AbstractVectorField) -> ElementField:
        if (field.n_neurons, field.n_outputs) != (len(self.leaks), len(self.nudge_gains)):
            raise ValueError(
                f"this chip has {len(self.leaks)} states and {len(self.nudge_gains)} outputs, and the network "
                f"{field.n_neurons} and {field.n_outputs}: draw a chip for it"
            )
        with jax.ensure_compile_time_eval() if is_concrete(self) else contextlib.nullcontext():
            drawn = [self._factors(kind, k, shape) for k, (kind, shape) in enumerate(devices_of(field))]
            capacitors = self._factors("capacitance", _CAPACITORS, self.leaks.shape)
            offsets = self.spreads["offset"] * self._normal(_OFFSETS, self.leaks.shape)
        return ElementField(field, capacitors, offsets, tuple(drawn))

    def _factors(self, kind: str, number: int, shape: tuple[int, ...]) -> Array:
        return jnp.exp(self.spreads[kind] * self._normal(number, shape))

    def _normal(self, number: int, shape: tuple[int, ...]) -> Array:
        # In float32 whatever the session's precision: chip 7 is chip 7 there too.
        drawn = jax.random.normal(jax.random.fold_in(self.key, number), shape, jnp.float32)
        return drawn.astype(self.nudge_gains.dtype)


class Chip(AbstractChip):
    r"""One sample of a fabricated network: factors on what was drawn, and offsets.

    $$c_i \tau_i \dot s_i = \sum_j w_{ij} g_j\, q(W_{ij})\,\rho(s_j) + \sum_m u_{im}\, q(U_{im})\,x_m + p_i b_i
      - l_i (s_i - o_i) + \beta n_i (y_i + e_i - s_i)$$

    where q is what the chip can be programmed to. `field` has the same equation divided by l, which is an ordinary
    network; `circuit` has the devices. Indices are those of the netlist: `synapses[i, j]` belongs to the synapse from
    neuron j to neuron i. A chip can be trained: what learns are the programmed weights W (see `OnChip`).

    Attributes:
        capacitances: c (N,); leaks: l, as conductances (N,); synapses: w (N, N); inputs: u (N, M); biases: p (N,).
        gains: g (N,).
        offsets: o (N,), state units.
        nudge_gains: n (K,).
        nudge_offsets: e (K,), state units.
        bits: of the programmed weights' magnitudes; 0 for any value.
        largest: the largest weight that can be programmed; infinity takes the largest of the network's own.
    """

    capacitances: Float[Array, " neurons"]
    leaks: Float[Array, " neurons"]
    synapses: Float[Array, "neurons neurons"]
    inputs: Float[Array, "neurons inputs"]
    biases: Float[Array, " neurons"]
    gains: Float[Array, " neurons"]
    offsets: Float[Array, " neurons"]
    nudge_gains: Float[Array, " outputs"]
    nudge_offsets: Float[Array, " outputs"]
    bits: Int[Array, ""]
    largest: Float[Array, ""]

    @classmethod
    def draw(cls, key: Key[Array, ""], field: AbstractVectorField, variation: Variation) -> AbstractChip:
        """Chip number k of a network is `draw(jax.random.fold_in(key, k), ...)`, here and on any machine.

        Every kind of device has a key of its own, so that another spread of one kind leaves the others as they were.

        Args:
            key: a JAX random key.
            field: the network, whose sizes count; one that is no network of leaky integrators gets an `ElementChip`.
            variation: how much devices differ.

        Raises:
            ValueError: for weights of few bits in a field that is no network.
        """
        if not is_a(field, AbstractLeakyIntegrator):
            return _element_chip(key, field, variation)
        n, m, k = field.n_neurons, field.n_inputs, field.n_outputs
        shapes = {
            "capacitances": ((n,), variation.capacitance),
            "leaks": ((n,), variation.leak),
            "synapses": ((n, n), variation.synapse),
            "inputs": ((n, m), variation.synapse),
            "biases": ((n,), variation.bias),
            "gains": ((n,), variation.gain),
            "nudge_gains": ((k,), variation.nudge),
            "offsets": ((n,), variation.offset),
            "nudge_offsets": ((k,), variation.nudge_offset),
        }
        drawn = {}
        for (name, (shape, spread)), own in zip(shapes.items(), jax.random.split(key, len(shapes)), strict=True):
            # In float32 whatever the session's precision: chip 7 is chip 7 there too.
            values = spread * jax.random.normal(own, shape, jnp.float32).astype(field.dtype)
            drawn[name] = values if name.endswith("offsets") else jnp.exp(values)
        largest = math.inf if variation.largest is None else variation.largest
        return cls(**drawn, bits=jnp.asarray(variation.bits, jnp.int32), largest=jnp.asarray(largest, field.dtype))

    def field(self, field: AbstractVectorField) -> AbstractLeakyIntegrator:
        """The network that this chip is when it is programmed with the parameters of `field`.

        Where synapses share a weight, as in feature maps, each has devices of its own.

        Differentiable: rounding and cutting weights count as doing nothing.

        Raises:
            ValueError: for a field that is no network of leaky integrators, or one of another size.
        """
        network = require(field, AbstractLeakyIntegrator, "a chip")
        if not reads_first(field):
            raise ValueError(
                f"a chip reads and nudges its first {field.n_outputs} neurons, and a {type(field).__name__} reads "
                "others: order its neurons so that those that are read come first"
            )
        recurrent, (input_weights, biases) = network.recurrent_matrix(), network.input_matrix()
        if self.inputs.shape != input_weights.shape or self.nudge_gains.shape != (field.n_outputs,):
            raise ValueError(
                f"this chip has {self.inputs.shape[0]} neurons, {self.inputs.shape[1]} inputs and "
                f"{len(self.nudge_gains)} outputs, and the network {field.n_neurons}, {field.n_inputs} and "
                f"{field.n_outputs}: draw a chip for it"
            )
        each = self.leaks[:, None]
        tau = jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(field.time_constants())])
        recurrent, input_weights = self._programmed(recurrent, input_weights)
        return with_matrices(
            network,
            recurrent * self.synapses * self.gains / each,
            input_weights * self.inputs / each,
            biases * self.biases / self.leaks + self.offsets,
            tau * self.capacitances / self.leaks,
        )

    def built(self, nudge: AbstractNudge, batch: int) -> AbstractNudge:
        return nudge

    def circuit(self, circuit: Circuit) -> Circuit:
        """The devices: the circuit that was compiled from `field`, multiplied by the leaks again."""
        g = np.asarray(self.leaks, np.float64)

        def times_leaks(synapses: Synapses) -> Synapses:
            return dataclasses.replace(synapses, weight=synapses.weight * g[synapses.post])

        offsets = np.asarray(self.nudge_offsets, np.float64)
        first, *rest = (
            dataclasses.replace(s, drive=s.drive * g, target=None if s.target is None else s.target + offsets)
            for s in circuit.samples
        )
        return dataclasses.replace(
            circuit,
            tau=circuit.tau * g,
            drive=first.drive,
            target=first.target,
            following=tuple(rest),
            synapses=times_leaks(circuit.synapses),
            input_synapses=times_leaks(circuit.input_synapses),
            noise=circuit.noise and dataclasses.replace(circuit.noise, drive=circuit.noise.drive * g),
            leaks=g,
            nudge_gains=None if first.target is None else np.asarray(self.nudge_gains, np.float64),
        )

    def _programmed(self, *weights: Array) -> tuple[Array, ...]:
        """q of all of them, with the derivative 1."""
        own = jnp.max(jnp.stack([jnp.max(jnp.abs(w)) for w in weights]))
        most = jnp.where(jnp.isfinite(self.largest), self.largest, own).astype(own.dtype)
        step = most / (2.0 ** jnp.maximum(self.bits, 1) - 1)
        held = [jnp.clip(w, -most, most) for w in weights]
        held = [jnp.where((self.bits > 0) & (step > 0), jnp.round(w / step) * step, w) for w in held]
        return tuple(w + jax.lax.stop_gradient(q - w) for w, q in zip(weights, held, strict=True))


def _element_chip(key: Key[Array, ""], field: AbstractVectorField, variation: Variation) -> ElementChip:
    if variation.bits or variation.largest is not None:
        raise ValueError(
            f"bits and largest are of programmed weights, and a {type(field).__name__} is no network of leaky "
            "integrators: leave them out"
        )
    devices, gains, offsets = jax.random.split(key, 3)
    normal = lambda key: jax.random.normal(key, (field.n_outputs,), jnp.float32).astype(field.dtype)  # noqa: E731
    kinds = ("capacitance", "leak", "synapse", "bias", "gain", "offset")
    return ElementChip(
        key=devices,
        spreads={kind: jnp.asarray(getattr(variation, kind), field.dtype) for kind in kinds},
        nudge_gains=jnp.exp(variation.nudge * normal(gains)),
        nudge_offsets=variation.nudge_offset * normal(offsets),
        leaks=jnp.ones(field.n_neurons, field.dtype),
    )


class OnChip(AbstractSubstrate):
    """An ODE substrate in which networks settle as `chip` lets them. For a circuit: `NgspiceSubstrate(chip=chip)`.

    Rules see the network as it was programmed, and the states of the chip: so its update is made of what can be
    measured on the chip, and training finds weights that suit it.

    Attributes:
        chip: where the network settles.
        substrate: the ODE substrate that does it.

    Raises:
        ValueError: for a substrate that is no ODE's.
    """

    chip: AbstractChip
    substrate: AbstractSubstrate

    def __check_init__(self) -> None:
        if not self.substrate.traceable:
            name = type(self.substrate).__name__
            raise ValueError(f"OnChip is for the ODE: give the chip to the circuit itself, {name}(chip=...)")

    @property
    def provides(self) -> frozenset[Capability]:
        alone = {Capability.relaxation, Capability.single_steps}  # whatever is not the network is not on the chip
        return self.substrate.provides - alone

    @property
    def _there(self) -> AbstractSubstrate:
        """The substrate, with noise as the chip's leaks let it through."""
        is_noise = lambda part: isinstance(part, Noise)  # noqa: E731
        through = lambda part: part.through(self.chip.leaks) if is_noise(part) else part  # noqa: E731
        return jax.tree.map(through, self.substrate, is_leaf=is_noise)

    def _settle(
        self, field: AbstractVectorField, x: Array, nudge: AbstractNudge | None, start: State | None, *, throw: bool
    ) -> Solution:
        nudge = None if nudge is None else self.chip.nudge(nudge, len(x))
        return self._there.settle(self.chip.field(field), x, nudge, start, throw=throw)

    def _phases(
        self, field: AbstractVectorField, x: Array, nudges: Sequence[AbstractNudge], *, throw: bool
    ) -> Iterator[Solution]:
        free, nudged = self._there.phases(self.chip.field(field), x, nudges_on(self.chip, nudges, len(x)), throw=throw)
        yield free
        yield from nudged

    def _oscillate(
        self, field: AbstractVectorField, x: Array, nudge: AbstractNudge, oscillation: Oscillation, *, throw: bool
    ) -> tuple[Solution, Solution]:
        nudge = self.chip.nudge(nudge, len(x))
        return self._there.oscillate(self.chip.field(field), x, nudge, oscillation, throw=throw)


class _ChipNudge(AbstractNudge):
    """Another nudge by devices of their own strength that read the outputs with offsets."""

    nudge: AbstractNudge
    gains: Float[Array, "batch outputs"]
    offsets: Float[Array, "batch outputs"]

    @property
    def needs(self) -> frozenset[Capability]:
        return self.nudge.needs

    @property
    def pull(self) -> Pull | None:
        return self.nudge.pull

    def force(self, field: AbstractVectorField, state: State) -> State:
        strength = field.embed(self.gains.astype(field.dtype) - 1)
        return jax.tree.map(lambda f, g: f * (1 + g), self.nudge.force(field, self._read(field, state)), strength)

    def anchored(self, field: AbstractVectorField, x: Float[Array, "batch inputs"], free: State) -> AbstractNudge:
        anchored = self.nudge.anchored(field, x, self._read(field, free))
        return _ChipNudge(anchored, self.gains, self.offsets)

    def stiffness(self, field: AbstractVectorField, state: State) -> Inexact[Array, "batch outputs"] | float:
        return self.gains.astype(field.dtype) * self.nudge.stiffness(field, self._read(field, state))

    def _read(self, field: AbstractVectorField, state: State) -> State:
        return jax.tree.map(jnp.subtract, state, field.embed(self.offsets.astype(field.dtype)))


def field_on(chip: AbstractChip | None, field: AbstractVectorField) -> AbstractVectorField:
    """The network as it is on this chip; as it was without one."""
    return field if chip is None else chip.field(field)


def nudges_on(chip: AbstractChip | None, nudges: Sequence[AbstractNudge], batch: int) -> list[AbstractNudge]:
    """The nudges as this chip does them; as they were without one."""
    return list(nudges) if chip is None else [chip.nudge(nudge, batch) for nudge in nudges]
