"""What plastic synapses are made of, level by level."""

import abc
import dataclasses
from collections.abc import Iterator, Mapping
from typing import ClassVar

from ..ir import Circuit
from ..levels import AbstractLevel, Behavioural, Transistor
from ..levels.base import number
from ..library import subcircuit
from .plan import PlasticCircuit

_WEIGHT_V = -0.25  # a weight of 0, V: between the tail of a synapse's Gilbert cell and the pairs above it
_TAIL_V = 0.25  # what the tail of the transistor multiplier needs below its steering pair, V
_PLASTIC = 0.1  # its tail current, in units of drive: a large one charges parasitic capacitances as the gate moves
_OPEN, _SHUT = -0.5, -0.9  # gates of its steering pair, V


@dataclasses.dataclass(frozen=True)
class AbstractWiring(abc.ABC):
    """The lines of plastic synapses among a level's neurons.

    Attributes:
        level: whose neurons they join.
        rate: what the node is called that holds a neuron's rate, before its number.
        gate_levels: the gate's nodes, each with its voltage while the gate is shut and while it is open.
    """

    rate: ClassVar[str]
    gate_levels: ClassVar[tuple[tuple[str, float, float], ...]]
    level: AbstractLevel

    @property
    def supplies(self) -> Mapping[str, float]:
        """The volts of the sources that feed plasticity, beside the level's own."""
        return {}

    @abc.abstractmethod
    def parts(self) -> Iterator[str]:
        """The texts of the subcircuits that plastic synapses are made of, and sources they all share."""

    @abc.abstractmethod
    def senses(self, circuit: Circuit) -> Iterator[str]:
        """For every neuron i the other half of its capacitor, and the node d<i> that says how its state changes."""

    @abc.abstractmethod
    def synapse(self, k: int, source: str, i: int, bound: float, rate: float) -> Iterator[str]:
        """Synapse k from the node `source` to neuron i: the synapse, its plasticity and its capacitor."""

    def initial(self, plastic: PlasticCircuit) -> Iterator[str]:
        """Cards of the weights at time 0."""
        for k, u in enumerate(plastic.start.tolist()):
            yield f".ic v(w{k})={number(self.level.scaling.volt(u) + self.reference)}"

    reference: ClassVar[float] = 0.0
    """The voltage of a weight of 0."""

    def capacitor(self, k: int, bound: float, rate: float) -> str:
        """The capacitor of weight k: `bound` / `rate` membranes large."""
        return f"Cw{k} w{k} wref {number(self.level.scaling.farad(bound / rate))}"


@dataclasses.dataclass(frozen=True)
class IdealWiring(AbstractWiring):
    """Controlled sources: the netlist is the differential equation."""

    rate: ClassVar[str] = "r"
    gate_levels: ClassVar[tuple[tuple[str, float, float], ...]] = (("gate", 0.0, 1.0),)
    level: Behavioural

    def parts(self) -> Iterator[str]:
        yield from (subcircuit(name).text for name in ("plastic_synapse", "derivative", "plasticity"))
        yield "Vwref wref 0 0"

    def senses(self, circuit: Circuit) -> Iterator[str]:
        return derivatives(self.level, circuit)

    def synapse(self, k: int, source: str, i: int, bound: float, rate: float) -> Iterator[str]:
        scale = self.level.scaling
        parameters = f"leak={number(scale.leak_ohm)} unit={number(scale.volt_per_unit)}"
        yield subcircuit("plastic_synapse").call(f"g{k}", f"{source} s{i} w{k}", f"bound={number(bound)} {parameters}")
        yield subcircuit("plasticity").call(f"p{k}", f"{source} d{i} gate w{k}", parameters)
        yield self.capacitor(k, bound, rate)


def derivatives(level: AbstractLevel, circuit: Circuit) -> Iterator[str]:
    """Ideal copies of the currents of half the membranes' capacitors."""
    scale = level.scaling
    for i, (tau, start) in enumerate(zip((0.5 * circuit.tau).tolist(), circuit.start.tolist(), strict=True)):
        parameters = f"capacitance={number(scale.farad(tau))} transresistance={number(scale.leak_ohm / tau)}"
        yield subcircuit("derivative").call(f"d{i}", f"s{i} d{i}", f"{parameters} start={number(scale.volt(start))}")


@dataclasses.dataclass(frozen=True)
class MosWiring(AbstractWiring):
    """Gilbert cells as synapses, whose weight is the voltage of a capacitor; an ideal multiplier as plasticity."""

    rate: ClassVar[str] = "s"
    reference: ClassVar[float] = _WEIGHT_V
    gate_levels: ClassVar[tuple[tuple[str, float, float], ...]] = (("gate", 0.0, 1.0),)
    level: Transistor

    def parts(self) -> Iterator[str]:
        yield from (subcircuit(name).text for name in ("gilbert_synapse", "derivative", "plasticity_of_state"))
        yield f"Vwref wref 0 {number(self.reference)}"

    def senses(self, circuit: Circuit) -> Iterator[str]:
        return derivatives(self.level, circuit)

    def synapse(self, k: int, source: str, i: int, bound: float, rate: float) -> Iterator[str]:
        scale = self.level.scaling
        yield from gilbert_synapse(self.level, k, source, i, bound)
        parameters = f"leak={number(scale.leak_ohm)} unit={number(scale.volt_per_unit)}"
        yield subcircuit("plasticity_of_state").call(f"p{k}", f"{source} d{i} gate w{k}", parameters)
        yield self.capacitor(k, bound, rate)


@dataclasses.dataclass(frozen=True)
class MosPlasticWiring(AbstractWiring):
    """Gilbert cells as synapses and as plasticity: transistors, capacitors, resistors and bias currents alone.

    The change of a membrane is sensed by a capacitor and a resistor of one time unit, so it comes late by that much and
    what the gate cuts off of it is not learnt; each multiplier saturates at changes of about 1 state unit a time unit.
    """

    rate: ClassVar[str] = "s"
    reference: ClassVar[float] = _WEIGHT_V
    gate_levels: ClassVar[tuple[tuple[str, float, float], ...]] = (("gon", _SHUT, _OPEN), ("goff", _OPEN, _SHUT))
    level: Transistor

    @property
    def supplies(self) -> Mapping[str, float]:
        vgs = self.level.process.mirror_vgs
        return {"vlow": round(self.reference - vgs, 9), "vvee": round(_OPEN - vgs - _TAIL_V, 9)}

    def parts(self) -> Iterator[str]:
        yield from (subcircuit(name).text for name in ("gilbert_synapse", "mos_plasticity"))
        yield f"Vwref wref 0 {number(self.reference)}"
        yield from (f"V{source[1:]} {source[1:]} 0 {number(volts)}" for source, volts in self.supplies.items())

    def senses(self, circuit: Circuit) -> Iterator[str]:
        for i, capacitance in enumerate(map(self.level.scaling.farad, (0.5 * circuit.tau).tolist())):
            for node, source in (("d", f"s{i}"), ("e", "0")):
                yield f"C{node}{i} {source} {node}{i} {number(capacitance)}"
                yield f"R{node}{i} {node}{i} wref {number(self.level.scaling.tau_s / capacitance)}"

    def synapse(self, k: int, source: str, i: int, bound: float, rate: float) -> Iterator[str]:
        yield from gilbert_synapse(self.level, k, source, i, bound)
        yield f"Ip{k} vdd a{k} {number(self.level.scaling.ampere(_PLASTIC))}"
        nodes = f"{source} d{i} e{i} w{k} gon goff a{k} vdd low vee"
        yield subcircuit("mos_plasticity").call(f"p{k}", nodes)
        yield self.capacitor(k, _PLASTIC * bound, rate)


def gilbert_synapse(level: Transistor, k: int, source: str, i: int, bound: float) -> Iterator[str]:
    """A Gilbert cell between the node `source` and neuron i, whose weight is v(w<k>) - v(wref)."""
    yield f"Ib{k} vdd b{k} {number(level.scaling.ampere(bound))}"
    yield subcircuit("gilbert_synapse").call(f"g{k}", f"{source} 0 w{k} wref s{i} b{k} vdd vss")


def wiring_for(level: AbstractLevel, multiplier: str) -> AbstractWiring:
    """The wiring of a level.

    Raises:
        ValueError: where there is none.
    """
    match level, multiplier:
        case Behavioural(), "behavioural":
            return IdealWiring(level)
        case Transistor(cell="gilbert"), "behavioural":
            return MosWiring(level)
        case Transistor(cell="gilbert"), "transistor":
            return MosPlasticWiring(level)
    raise ValueError(
        f"no plastic synapse is built with level {level.name!r} and a {multiplier} multiplier: use Behavioural() or "
        'Transistor(cell="gilbert"), and a transistor multiplier with the latter only'
    )
