"""OTA-C level: capacitors and transconductance amplifiers that saturate."""

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
    clamp_part,
    drives,
    fitting,
    inputs,
    membranes,
    nudge_part,
    nudges,
    number,
    positive,
)

_PROBE = 1e-6  # of a weight of 1, beside every synapse


@dataclasses.dataclass(frozen=True)
class OtaC(AbstractLevel):
    r"""Leak, synapses and nudge are OTAs, $I_{tail}\tanh(v/v_{range})$, with the weight in the tail current.

    An OTA is linear only for voltages well below its range: a leak saturates for strong states, a synapse compresses
    rates near 1. Answers how linear the transconductors must be. For tanh and sigmoid the activation is an OTA too;
    other activations are ideal. OTAs have no output conductance, offset or pole here.

    Attributes:
        scaling: dimensionless to SI.
        accuracy: how closely ngspice follows the circuit.
        neuron: a subcircuit with the ports `s r` instead of the library's `ota_neuron`.
        synapse: a subcircuit with the ports `inp inn s` instead of the library's `ota_synapse`.
        nudge: a subcircuit with the ports `s beta y` instead of the library's `ota_nudge`.
        linear_range: the voltage at which an OTA gives tanh(1) of its tail current, in state units.
    """

    name: ClassVar[str] = "ota"
    scaling: Scaling = dataclasses.field(default_factory=Scaling)
    accuracy: Accuracy = dataclasses.field(default_factory=Accuracy)
    neuron: Subcircuit | None = None
    synapse: Subcircuit | None = None
    nudge: Subcircuit | None = None
    linear_range: float = 5.0

    def __post_init__(self) -> None:
        positive(linear_range=self.linear_range)

    @property
    def _span(self) -> str:
        return f"span={number(self.scaling.volt(self.linear_range))}"

    @property
    def specification(self) -> Thresholds:
        return Thresholds(state=0.1, trajectory=0.1, cosine=0.9999)

    def parts(self, circuit: Circuit) -> Mapping[str, Subcircuit]:
        return {
            "ota": subcircuit("ota"),
            "rate": rate_stage(circuit.activation),
            "neuron": fitting(self.neuron, subcircuit("ota_neuron")),
            "synapse": fitting(self.synapse, subcircuit("ota_synapse")),
            **clamp_part(circuit),
            **nudge_part(circuit, self.nudge, "ota_nudge"),
        }

    def neurons(self, circuit: Circuit, parts: Mapping[str, Subcircuit]) -> Iterator[str]:
        return membranes(circuit, self.scaling, parts, "s{i} r{i}", self._span)

    def synapses(self, circuit: Circuit, parts: Mapping[str, Subcircuit]) -> Iterator[str]:
        tail, part, span = self.scaling.ampere(self.linear_range), parts["synapse"], self._span
        for kind, source, synapses in (("g", "r", circuit.synapses), ("h", "x", circuit.input_synapses)):
            for i, j, weight in synapses:
                pair = f"{source}{j} 0" if weight > 0 else f"0 {source}{j}"
                yield part.call(f"{kind}{i}_{j}", f"{pair} s{i}", f"tail={number(tail * abs(weight))} {span}")

    def probes(self, circuit: Circuit) -> Iterator[str]:
        """Beside every synapse one of weight 1, of whose current a millionth is added: `.sens` leaves out what is 0."""
        part, unit = self.parts(circuit)["synapse"], number(self.scaling.ampere(self.linear_range))
        for i, j, _ in circuit.synapses:
            yield part.call(f"u{i}_{j}", f"r{j} 0 u{i}_{j}", f"tail={unit} {self._span}")
            yield f"Ru{i}_{j} u{i}_{j} 0 1"
            yield f"Gu{i}_{j} 0 s{i} u{i}_{j} 0 {_PROBE}"

    def programming(self, circuit: Circuit) -> Iterator[tuple[int, int, str, float]]:
        return ((i, j, f"gu{i}_{j}_gain", 1.0) for i, j, _ in circuit.synapses)

    def sources(self, circuit: Circuit, time: Timeline) -> Iterator[str]:
        yield from drives(circuit, self.scaling, time, "0 s{i}")
        yield from inputs(circuit, self.scaling, time)

    def nudges(self, circuit: Circuit, parts: Mapping[str, Subcircuit], time: Timeline) -> Iterator[str]:
        return nudges(circuit, self.scaling, parts, time, "s{i} beta y{i}", self._span)

    def remarks(self) -> Sequence[str]:
        return (f"OTAs: linear range {self.scaling.volt(self.linear_range)!r} V; r<i> is the rate of neuron i",)
