"""Transistor level: MOS differential pairs in weak inversion."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np

from ..ir import AbstractCircuit, Circuit
from ..library import Subcircuit, subcircuit
from ..processes import Process
from ..processes.fabrication import fabricated
from ..scaling import Scaling
from .base import AbstractLevel, Accuracy, Thresholds, Timeline, drives, fitting, leaks, nudge_gains, nudge_part, number

_WEIGHT_V = -0.25  # common mode of a Gilbert synapse's weight, V: between the tail and the pairs above it
_HEADROOM = 1.25  # of a Gilbert synapse's tail over the largest weight: beyond it tanh flattens
_ON, _OFF = -0.1, -0.5  # gates of the steering pair, V


@dataclasses.dataclass(frozen=True)
class Transistor(AbstractLevel):
    r"""Each synapse a MOS differential pair, which is also the presynaptic tanh; each neuron a capacitor and a leak.

    In weak inversion a pair with the tail current I gives $I\tanh(v/(2nkT/q))$. With the cell `ota` the weight is the
    tail current, with `gilbert` it is a differential voltage that a second pair multiplies. The nudge is such a pair
    between target and state, so it saturates for large errors. State 0 is ground; transistors and supplies are those
    of a process: model cards of our own, or a foundry's.

    Builds tanh without bounds only. Bias currents, folded inputs and weight voltages are ideal sources; explicit
    inputs x are voltages artanh(x), so they must lie within -1 and 1. Fixed points are some hundredths of a unit off,
    mostly since the nudge saturates. Gate capacitances slow neurons down with their fan-out.

    Attributes:
        scaling: dimensionless to SI; by default the process's own volts a unit, 10 us and 3.5 megohm. It stays as it is
            where `dataclasses.replace` gives a level another process.
        accuracy: how closely ngspice follows the circuit.
        neuron: a subcircuit with the port `s` instead of the library's `mos_neuron`.
        synapse: a subcircuit with the ports of `mos_synapse` or `gilbert_synapse` instead of these.
        nudge: a subcircuit with the ports `inp inn s on off b vdd vss` instead of the library's `mos_nudge`.
        cell: what multiplies.
        process: the transistors, their temperature and their supplies; our own level 3 cards by default.
    """

    name: ClassVar[str] = "transistor"
    edge: ClassVar[float] = 0.01
    oscillates: ClassVar[bool] = False
    rest: ClassVar[float] = 1e-5
    has_rates: ClassVar[bool] = False
    scaling: Scaling = None  # pyright: ignore[reportAssignmentType]  the process says
    accuracy: Accuracy = dataclasses.field(default_factory=Accuracy)
    neuron: Subcircuit | None = None
    synapse: Subcircuit | None = None
    nudge: Subcircuit | None = None
    cell: Literal["ota", "gilbert"] = "ota"
    process: Process = dataclasses.field(default_factory=Process.generic)

    def __post_init__(self) -> None:
        if self.scaling is None:
            object.__setattr__(self, "scaling", Scaling(self.process.volt_per_unit, 1e-5, 3.5e6))

    @property
    def supplies(self) -> Mapping[str, float]:
        return {"vdd": self.process.vdd, "vss": self.process.vss}

    @property
    def specification(self) -> Thresholds:
        return Thresholds(state=0.2, trajectory=0.5, cosine=0.99 if self.cell == "ota" else 0.98, signs=0.95)

    def parts(self, circuit: Circuit) -> Mapping[str, Subcircuit]:
        if circuit.activation != "tanh" or circuit.bounds is not None:
            raise ValueError(
                f"a differential pair is a tanh, and the transistor level builds no {circuit.activation}"
                f"{'' if circuit.bounds is None else ' with clamped states'}: use a network with the activation tanh, "
                "or another level"
            )
        parts = {
            "models": self.process.models,
            "neuron": fitting(self.neuron, subcircuit("mos_neuron")),
            "synapse": fitting(self.synapse, subcircuit("mos_synapse" if self.cell == "ota" else "gilbert_synapse")),
            **nudge_part(circuit, self.nudge, "mos_nudge"),
        }
        self.process.check(parts.values())
        return parts

    def _network(self, circuit: Circuit, time: Timeline) -> Iterator[str]:
        lines = super()._network(circuit, time)
        return lines if self.process.key is None else fabricated(lines, self.process)

    def neurons(self, circuit: Circuit, parts: Mapping[str, Subcircuit]) -> Iterator[str]:
        for supply, volts in self.supplies.items():
            yield f"V{supply[1:]} {supply} 0 {number(volts)}"
        for i, (tau, leak) in enumerate(zip(circuit.tau.tolist(), leaks(circuit, self.scaling), strict=True)):
            parameters = f"capacitance={number(self.scaling.farad(tau))} leak={leak}"
            yield parts["neuron"].call(f"n{i}", f"s{i}", parameters)

    def synapses(self, circuit: Circuit, parts: Mapping[str, Subcircuit]) -> Iterator[str]:
        part = parts["synapse"]
        arrays = (("g", "s", circuit.synapses), ("h", "x", circuit.input_synapses))
        largest = self._full_scale(circuit)
        for kind, source, synapses in arrays:
            for i, j, weight in synapses:
                name, rest = f"{kind}{i}_{j}", f"s{i} b{kind}{i}_{j} vdd vss"
                if self.cell == "ota":
                    pair, tail = (f"{source}{j} 0" if weight > 0 else f"0 {source}{j}"), abs(weight)
                    yield part.call(name, f"{pair} {rest}")
                else:
                    tail, half = largest, 0.5 * self.scaling.volt(math.atanh(weight / largest))
                    yield f"Vp{name} p{name} 0 {number(_WEIGHT_V + half)}"
                    yield f"Vm{name} m{name} 0 {number(_WEIGHT_V - half)}"
                    yield part.call(name, f"{source}{j} 0 p{name} m{name} {rest}")
                yield f"Ib{name} vdd b{name} {number(self.scaling.ampere(tail))}"

    def _full_scale(self, circuit: Circuit) -> float:
        """The weight of a Gilbert synapse whose differential voltage has no end."""
        weights = np.concatenate([circuit.synapses.weight, circuit.input_synapses.weight])
        return _HEADROOM * float(np.abs(weights).max(initial=0.0))

    def programming(self, circuit: Circuit) -> Iterator[tuple[int, int, str, float]]:
        if self.cell == "ota":
            ampere = self.scaling.ampere(1.0)
            yield from ((i, j, f"ibg{i}_{j}", math.copysign(ampere, w)) for i, j, w in circuit.synapses)
            return
        largest = self._full_scale(circuit)  # held: it is one bias for all
        for i, j, weight in circuit.synapses:
            half = 0.5 * self.scaling.volt(largest / (largest**2 - weight**2))
            yield i, j, f"vpg{i}_{j}", half
            yield i, j, f"vmg{i}_{j}", -half

    def sources(self, circuit: Circuit, time: Timeline) -> Iterator[str]:
        yield from drives(circuit, self.scaling, time, "0 s{i}")
        rates = np.stack([circuit.samples[window.sample].input_rates for window in circuit.schedule])
        if np.any(np.abs(rates) >= 1):
            raise ValueError(
                "an explicit input of the transistor level is the voltage artanh(x), so x must lie within -1 and 1: "
                "scale the inputs, or fold them"
            )
        for k, values in enumerate(rates.T.tolist()):
            volts = [self.scaling.volt(math.atanh(value)) for value in values]
            yield f"Vx{k} x{k} 0 {time.source(volts)}"

    def nudges(self, circuit: Circuit, parts: Mapping[str, Subcircuit], time: Timeline) -> Iterator[str]:
        if circuit.oscillating is not None:
            raise ValueError("the transistor level steers its nudge on and off, and has none that oscillates")
        betas = [window.beta for window in circuit.schedule]
        yield f"Vbeta beta 0 {time.source(betas)}"
        distinct = [beta for beta in dict.fromkeys(betas) if beta]
        for k, beta in enumerate(distinct):
            on = [_ON if b == beta else _OFF for b in betas]
            yield f"Von{k} on{k} 0 {time.source(on)}"
            yield f"Voff{k} off{k} 0 {time.source([_ON + _OFF - volts for volts in on])}"
        clamped = [circuit.samples[window.sample].target for window in circuit.schedule]
        volts = self.scaling.volt(1.0) * np.stack([target for target in clamped if target is not None])
        for i, (values, gain) in enumerate(zip(volts.T.tolist(), nudge_gains(circuit), strict=True)):
            yield f"Vy{i} y{i} 0 {time.source(values)}"
            for k, beta in enumerate(distinct):
                pair = f"y{i} s{i}" if beta > 0 else f"s{i} y{i}"
                yield parts["nudge"].call(f"t{i}_{k}", f"{pair} s{i} on{k} off{k} bt{i}_{k} vdd vss")
                yield f"Ibt{i}_{k} vdd bt{i}_{k} {number(self.scaling.ampere(abs(beta) * gain))}"

    def start(self, circuit: Circuit) -> tuple[Sequence[str], str]:
        """The operating point of the transistors, with the membranes held at their initial states."""
        if circuit.from_operating_point:
            return (), ""
        states = enumerate(circuit.start.tolist())
        return [f".ic v(s{i})={number(self.scaling.volt(state))}" for i, state in states], ""

    def options(self) -> Sequence[str]:
        # BSIM runs many times slower on several threads where the circuit is small.
        return "num_threads=1", f"temp={number(self.process.celsius)}"

    def remarks(self) -> Sequence[str]:
        process = self.process
        return (
            f"transistors: {process.name} {process.corner}, synapses: {self.cell}, supplies of {process.vdd!r} and "
            f"{process.vss!r} V, {process.celsius!r} degrees Celsius",
            "the rate of a neuron is the tanh of every synapse that it drives",
        )

    def _map(self, circuit: AbstractCircuit, ends: np.ndarray) -> dict[str, Any]:
        found = super()._map(circuit, ends)
        found["options"]["process"] = self.process.summary()
        return found
