"""Behavioural level: ideal elements, so that the netlist IS the ordinary differential equation."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import ClassVar

from ..compile import ExpressionCircuit, elements
from ..ir import AbstractCircuit, Circuit
from ..library import Subcircuit, ideal_neuron, subcircuit
from ..scaling import Scaling
from .base import (
    NORMAL,
    TIGHT,
    AbstractLevel,
    Accuracy,
    Thresholds,
    Timeline,
    clamp_part,
    drives,
    fitting,
    influence,
    inputs,
    membranes,
    noise_currents,
    nudge_part,
    number,
)

_HOLD = 0.01  # of a time constant: how closely the held state follows, and how long before the nudge it stops
_SLOPES = ("tanh", "sigmoid", "linear")


def _transposing_part(circuit: Circuit) -> Mapping[str, Subcircuit]:
    if not circuit.transposing:
        return {}
    if circuit.bounds is not None or circuit.activation not in _SLOPES:
        raise ValueError(
            f"the circuit builds transposed synapses for {', '.join(_SLOPES)} without clamped states, not for "
            f"{circuit.activation}{'' if circuit.bounds is None else ' with them'}: use such a field, or an ODE"
        )
    return {"transposing": subcircuit(f"transposing_{circuit.activation}")}


@dataclasses.dataclass(frozen=True)
class Behavioural(AbstractLevel):
    r"""Each neuron a capacitor, a leak and one rate source; each synapse one transconductance from the rate node.

    Clamped inputs are folded into one current a neuron unless the circuit has them explicit. States with bounds get
    a stiff clamp (the projected dynamics); read out, they are clipped to the bounds. A piecewise linear source
    drives beta through the schedule, so that all phases are ONE transient from a stated initial state.

    Valid as the definition of the ideal circuit; it says nothing about real devices.

    Attributes:
        scaling: dimensionless to SI.
        accuracy: how closely ngspice follows the equations.
        neuron: a subcircuit with the ports `s r` instead of the activation's.
        synapse: a subcircuit with the ports `r s` instead of the transconductance.
        nudge: a subcircuit with the ports `s beta y` instead of the library's `nudge`.
    """

    name: ClassVar[str] = "behavioural"
    ideal: ClassVar[bool] = True
    transposes: ClassVar[bool] = True
    scaling: Scaling = dataclasses.field(default_factory=Scaling)
    accuracy: Accuracy = NORMAL
    neuron: Subcircuit | None = None
    synapse: Subcircuit | None = None
    nudge: Subcircuit | None = None

    @property
    def specification(self) -> Thresholds:
        return Thresholds(trajectory=1e-4 if self.accuracy.reltol <= TIGHT.reltol else 1e-3)

    @property
    def builds_any_field(self) -> bool:
        return not self.own_parts

    def expressions(self, circuit: AbstractCircuit, time: Timeline) -> Iterator[str]:
        if not isinstance(circuit, ExpressionCircuit):
            raise ValueError(f"the behavioural level builds no {type(circuit).__name__}")
        yield from influence(circuit, self.scaling, time)
        yield from elements(circuit, self.scaling, time)
        yield from noise_currents(circuit, self.scaling, "0 s{i}")

    def parts(self, circuit: Circuit) -> Mapping[str, Subcircuit]:
        # The library's own synapse is written out, element by element: there may be many thousands.
        synapse = {} if self.synapse is None else {"synapse": fitting(self.synapse, subcircuit("synapse"))}
        neuron = fitting(self.neuron, ideal_neuron(circuit.activation))
        return {
            "neuron": neuron,
            **synapse,
            **clamp_part(circuit),
            **nudge_part(circuit, self.nudge),
            **_transposing_part(circuit),
        }

    def neurons(self, circuit: Circuit, parts: Mapping[str, Subcircuit]) -> Iterator[str]:
        return membranes(circuit, self.scaling, parts, "s{i} r{i}")

    def synapses(self, circuit: Circuit, parts: Mapping[str, Subcircuit]) -> Iterator[str]:
        conductance = self.scaling.siemens(1.0)
        for kind, source, synapses in (("g", "r", circuit.synapses), ("h", "x", circuit.input_synapses)):
            for i, j, weight in synapses:
                strength = number(conductance * weight)
                if "synapse" in parts:
                    yield parts["synapse"].call(f"{kind}{i}_{j}", f"{source}{j} s{i}", f"conductance={strength}")
                else:
                    yield f"G{kind}{i}_{j} 0 s{i} {source}{j} 0 {strength}"

    def programming(self, circuit: Circuit) -> Iterator[tuple[int, int, str, float]]:
        if self.synapse is not None:
            return super().programming(circuit)
        return ((i, j, f"gg{i}_{j}_gain", self.scaling.siemens(1.0)) for i, j, _ in circuit.synapses)

    def transposed(self, circuit: Circuit, parts: Mapping[str, Subcircuit], time: Timeline) -> Iterator[str]:
        """The free state on capacitors; W's response to the deviation from it taken away, and W^T's put in."""
        scale, synapses = self.scaling, circuit.synapses
        on = [float(window.beta != 0) for window in circuit.schedule]
        yield f"Von on 0 {time.source(on)}"
        yield f"Vhold hold 0 {time.source([1 - x for x in on], scale.second(_HOLD))}"
        shared = f"leak={number(scale.leak_ohm)} unit={number(scale.volt_per_unit)}"
        for i, (tau, start) in enumerate(zip(circuit.tau.tolist(), circuit.start.tolist(), strict=True)):
            held = f"capacitance={number(scale.farad(_HOLD * tau))} {shared} start={number(scale.volt(start))}"
            yield parts["transposing"].call(f"a{i}", f"s{i} hold on e{i} p{i} t{i}", held)
        for i, j, weight in synapses:
            yield f"Gp{i}_{j} 0 s{i} p{j} 0 {number(-scale.siemens(weight))}"
            yield f"Gt{j}_{i} 0 t{j} e{i} 0 {number(weight)}"

    def sources(self, circuit: Circuit, time: Timeline) -> Iterator[str]:
        yield from drives(circuit, self.scaling, time, "0 s{i}")
        yield from inputs(circuit, self.scaling, time)
