"""Op-amp level: inverting integrators and resistors, with amplifiers of finite gain, bandwidth and offset."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from ..ir import Circuit
from ..library import Subcircuit, rate_stage, subcircuit
from ..scaling import Scaling
from .base import (
    AbstractLevel,
    Accuracy,
    Thresholds,
    Timeline,
    drives,
    fitting,
    inputs,
    membranes,
    nudge_part,
    nudges,
    number,
    positive,
)


@dataclasses.dataclass(frozen=True)
class OpAmp(AbstractLevel):
    r"""Each neuron an inverting leaky integrator, its activation and an inverter; each synapse one resistor.

    A resistor of leak/|W| from the rate (inhibitory) or its negative (excitatory) into the summing node. Answers what
    gain and bandwidth learning needs: fixed points are about 2/gain, trajectories about 1/gain_bandwidth off.

    The activation and the multiplication by beta are ideal; amplifiers do not saturate, slew or load. A phase is at
    rest where its voltages are.

    Attributes:
        scaling: dimensionless to SI.
        accuracy: how closely ngspice follows the circuit.
        neuron: a subcircuit with the ports `n s r q` instead of the library's `opamp_neuron`.
        synapse: a subcircuit with the ports `pre n` instead of the resistor.
        nudge: a subcircuit with the ports `n s beta y` instead of the library's `opamp_nudge`.
        gain: A0, every op-amp's gain at DC.
        gain_bandwidth: 2 pi GBW tau, dimensionless: unity-gain angular frequency times the time unit.
        offset: every op-amp's input offset, in state units.
    """

    name: ClassVar[str] = "opamp"
    drive: ClassVar[str] = "n{i} 0"
    scaling: Scaling = dataclasses.field(default_factory=Scaling)
    accuracy: Accuracy = dataclasses.field(default_factory=Accuracy)
    neuron: Subcircuit | None = None
    synapse: Subcircuit | None = None
    nudge: Subcircuit | None = None
    gain: float = 1e4
    gain_bandwidth: float = 100.0
    offset: float = 0.0

    def __post_init__(self) -> None:
        positive(gain=self.gain, gain_bandwidth=self.gain_bandwidth)
        number(self.offset)

    @property
    def specification(self) -> Thresholds:
        return Thresholds(state=0.1, trajectory=0.1, cosine=0.9999)

    def parts(self, circuit: Circuit) -> Mapping[str, Subcircuit]:
        return {
            "opamp": subcircuit("opamp"),
            "rate": rate_stage(circuit.activation),
            "neuron": fitting(self.neuron, subcircuit("opamp_neuron")),
            "synapse": fitting(self.synapse, subcircuit("opamp_synapse")),
            **({} if circuit.bounds is None else {"clamp": subcircuit("opamp_clamp")}),
            **nudge_part(circuit, self.nudge, "opamp_nudge"),
        }

    def neurons(self, circuit: Circuit, parts: Mapping[str, Subcircuit]) -> Iterator[str]:
        scale = self.scaling
        amplifier = f"gain={number(self.gain)} bandwidth={number(scale.hertz(self.gain_bandwidth))}"
        amplifier += f" offset={number(scale.volt(self.offset))}"
        return membranes(circuit, scale, parts, "n{i} s{i} r{i} q{i}", amplifier)

    def synapses(self, circuit: Circuit, parts: Mapping[str, Subcircuit]) -> Iterator[str]:
        leak, part = self.scaling.leak_ohm, parts["synapse"]
        for kind, rate, negative, synapses in (
            ("g", "r", "q", circuit.synapses),
            ("h", "x", "z", circuit.input_synapses),
        ):
            for i, j, weight in synapses:
                source = negative if weight > 0 else rate
                yield part.call(f"{kind}{i}_{j}", f"{source}{j} n{i}", f"resistance={number(leak / abs(weight))}")

    def programming(self, circuit: Circuit) -> Iterator[tuple[int, int, str, float]]:
        if self.synapse is not None:
            return super().programming(circuit)
        leak = self.scaling.leak_ohm
        return ((i, j, f"r.xg{i}_{j}.rw", -leak / (w * abs(w))) for i, j, w in circuit.synapses)

    def sources(self, circuit: Circuit, time: Timeline) -> Iterator[str]:
        yield from drives(circuit, self.scaling, time, self.drive)
        yield from inputs(circuit, self.scaling, time, inverted=True)

    def nudges(self, circuit: Circuit, parts: Mapping[str, Subcircuit], time: Timeline) -> Iterator[str]:
        return nudges(circuit, self.scaling, parts, time, "n{i} s{i} beta y{i}")

    def remarks(self) -> Sequence[str]:
        hertz = self.scaling.hertz(self.gain_bandwidth)
        return (
            f"op-amps: gain {self.gain!r}, gain-bandwidth product {hertz!r} Hz (2 pi GBW tau = "
            f"{self.gain_bandwidth!r}), offset {self.scaling.volt(self.offset)!r} V",
            "n<i> is the summing node of neuron i, r<i> and q<i> are its rate and the negative of it",
        )
