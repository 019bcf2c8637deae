"""Crossbar level: pairs of conductances into rows at virtual ground."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import numpy as np

from ..ir import Circuit, Synapses
from ..library import Subcircuit, ideal_neuron, subcircuit
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
    number,
    positive,
)


@dataclasses.dataclass(frozen=True)
class Crossbar(AbstractLevel):
    r"""Each synapse two conductances, $W = G^+ - G^-$, from columns at plus and minus the rate into a row.

    An op-amp of finite gain holds the row at virtual ground and turns its current into the membrane's; neurons are
    behavioural. The array's smallest conductance is its largest over `on_off_ratio`; it stands in both halves of a
    synapse and cancels, but for the op-amp's finite gain. Folded inputs are currents and not part of the array: compile
    with `fold_inputs=False` to have them quantised as well.

    Attributes:
        scaling: dimensionless to SI.
        accuracy: how closely ngspice follows the circuit.
        neuron: a subcircuit with the ports `s r` instead of the activation's.
        synapse: a subcircuit with the ports `p q n` instead of the pair of resistors.
        nudge: a subcircuit with the ports `s beta y` instead of the library's `nudge`.
        gain: every op-amp's gain at DC.
        gain_bandwidth: 2 pi GBW tau, dimensionless.
        offset: every op-amp's input offset, in state units.
        bits: every conductance takes one of 2^bits equidistant values; 0 leaves them as they are.
        on_off_ratio: the largest conductance over the smallest.
        wire_ohm: resistance of a wire between two neighbouring crosspoints, ohm; 0 leaves the wires out.
    """

    name: ClassVar[str] = "crossbar"
    scaling: Scaling = dataclasses.field(default_factory=Scaling)
    accuracy: Accuracy = dataclasses.field(default_factory=Accuracy)
    neuron: Subcircuit | None = None
    synapse: Subcircuit | None = None
    nudge: Subcircuit | None = None
    gain: float = 1e4
    gain_bandwidth: float = 1000.0
    offset: float = 0.0
    bits: int = 0
    on_off_ratio: float = 1000.0
    wire_ohm: float = 0.0

    def __post_init__(self) -> None:
        positive(gain=self.gain, gain_bandwidth=self.gain_bandwidth)
        if not 1 < self.on_off_ratio < math.inf:
            raise ValueError(f"on_off_ratio={self.on_off_ratio!r} must be above 1 and finite")
        number(self.offset)
        if not 0 <= self.bits <= 24:
            raise ValueError(f"bits={self.bits}: conductances take 2^bits values, with bits from 1 to 24, or 0 for any")
        if self.wire_ohm:
            positive(wire_ohm=self.wire_ohm)

    @property
    def specification(self) -> Thresholds:
        few = 0 < self.bits < 8
        return Thresholds(state=0.1, trajectory=0.1, cosine=0.99 if few else 0.9999)

    def parts(self, circuit: Circuit) -> Mapping[str, Subcircuit]:
        return {
            "opamp": subcircuit("opamp"),
            "neuron": fitting(self.neuron, ideal_neuron(circuit.activation)),
            "synapse": fitting(self.synapse, subcircuit("crossbar_synapse")),
            "row": subcircuit("crossbar_row"),
            "column": subcircuit("crossbar_column"),
            **clamp_part(circuit),
            **nudge_part(circuit, self.nudge),
        }

    def neurons(self, circuit: Circuit, parts: Mapping[str, Subcircuit]) -> Iterator[str]:
        scale = self.scaling
        yield from membranes(circuit, scale, parts, "s{i} r{i}")
        amplifier = f"leak={number(scale.leak_ohm)} gain={number(self.gain)} "
        amplifier += f"bandwidth={number(scale.hertz(self.gain_bandwidth))} offset={number(scale.volt(self.offset))}"
        for i in range(circuit.n_neurons):
            yield parts["row"].call(f"o{i}", f"n{i} s{i}", amplifier)
            yield parts["column"].call(f"d{i}", f"r{i} p{i} q{i}")

    def synapses(self, circuit: Circuit, parts: Mapping[str, Subcircuit]) -> Iterator[str]:
        arrays = (("g", "p", "q", circuit.synapses), ("h", "x", "z", circuit.input_synapses))
        largest = self._full_scale(circuit)
        wires = _Wires(self.wire_ohm)
        for kind, plus, minus, listed in arrays:
            along = np.lexsort((listed.pre, listed.post))  # wires are laid from crosspoint to crosspoint
            synapses = Synapses(listed.post[along], listed.pre[along], listed.weight[along])
            pairs = self._conductances(synapses, largest)
            for i, j, up, down in zip(synapses.post.tolist(), synapses.pre.tolist(), *pairs, strict=True):
                # The row ends at its op-amp on the left, where the neurons' columns are; inputs follow them.
                column = j if kind == "g" else circuit.n_neurons + j
                nodes = []
                for wire, position in ((f"{plus}{j}", i), (f"{minus}{j}", i), (f"n{i}", column)):
                    yield from wires.reach(wire, position)
                    nodes.append(wires.node(wire, position))
                yield parts["synapse"].call(
                    f"{kind}{i}_{j}", " ".join(nodes), f"plus={number(up)} minus={number(down)}"
                )

    def programming(self, circuit: Circuit) -> Iterator[tuple[int, int, str, float]]:
        """The one resistor of the pair that a weight of its sign is written to; the smallest conductance stays."""
        synapses, unit = circuit.synapses, self.scaling.siemens(1.0)
        pairs = self._conductances(synapses, self._full_scale(circuit))
        for (i, j, weight), up, down in zip(synapses, *pairs, strict=True):
            written, slope = ("rp", -unit / up**2) if weight > 0 else ("rq", unit / down**2)
            yield i, j, f"r.xg{i}_{j}.{written}", slope

    def _full_scale(self, circuit: Circuit) -> float:
        weights = np.concatenate([circuit.synapses.weight, circuit.input_synapses.weight])
        return float(np.abs(weights).max(initial=0.0))

    def _conductances(self, synapses: Synapses, largest: float) -> tuple[list[float], list[float]]:
        """G+ and G- of every synapse, siemens."""
        smallest = largest / (self.on_off_ratio - 1)  # so that the largest weight is the largest conductance less it
        halves = np.stack([np.maximum(synapses.weight, 0), np.maximum(-synapses.weight, 0)])
        if self.bits:
            step = largest / (2**self.bits - 1)
            halves = np.round(halves / step) * step
        up, down = (self.scaling.siemens(1.0) * (halves + smallest)).tolist()
        return up, down

    def sources(self, circuit: Circuit, time: Timeline) -> Iterator[str]:
        yield from drives(circuit, self.scaling, time, "0 s{i}")
        yield from inputs(circuit, self.scaling, time, inverted=True)

    def remarks(self) -> Sequence[str]:
        hertz = self.scaling.hertz(self.gain_bandwidth)
        levels = f"{2**self.bits} conductance levels" if self.bits else "conductances of any size"
        return (
            f"crossbar: {levels}, on/off ratio {self.on_off_ratio!r}, wires of {self.wire_ohm!r} ohm a crosspoint",
            f"op-amps: gain {self.gain!r}, gain-bandwidth product {hertz!r} Hz, offset "
            f"{self.scaling.volt(self.offset)!r} V",
            "n<i> is the row of neuron i, p<i> and q<i> are its columns, r<i> its rate",
        )


class _Wires:
    """Wires with a resistor between any two neighbouring crosspoints; none where the resistance is 0."""

    def __init__(self, ohm: float) -> None:
        self.ohm = ohm
        self.last: dict[str, int] = {}

    def reach(self, wire: str, position: int) -> Iterator[str]:
        """The resistor from the wire's last crosspoint, or its beginning, to this one. Positions must not fall."""
        if self.ohm and self.last.get(wire) != position:
            before = self.last.get(wire)
            start = wire if before is None else self.node(wire, before)
            segments = position + 1 if before is None else position - before
            yield f"Rw{wire}_{position} {start} {self.node(wire, position)} {number(self.ohm * segments)}"
            self.last[wire] = position

    def node(self, wire: str, position: int) -> str:
        return f"{wire}_{position}" if self.ohm else wire
