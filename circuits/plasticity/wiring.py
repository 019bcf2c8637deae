"""What plastic synapses are made of, level by level."""

import abc
import dataclasses
from collections.abc import Iterator
from typing import ClassVar

from ..emit import AbstractLevel, Behavioural, Transistor
from ..emit.base import number
from ..ir import Circuit
from ..library import subcircuit
from .plan import PlasticCircuit


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

    @abc.abstractmethod
    def parts(self) -> Iterator[str]:
        """The texts of the subcircuits that the level's own netlist does not hold, and sources they all share."""

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
        own = f"leak={number(scale.leak_ohm)} unit={number(scale.volt_per_unit)}"
        yield subcircuit("plastic_synapse").call(f"g{k}", f"{source} s{i} w{k}", f"bound={number(bound)} {own}")
        yield subcircuit("plasticity").call(f"p{k}", f"{source} d{i} gate w{k}", own)
        yield self.capacitor(k, bound, rate)


def derivatives(level: AbstractLevel, circuit: Circuit) -> Iterator[str]:
    """Ideal copies of the currents of half the membranes' capacitors."""
    scale = level.scaling
    for i, (tau, start) in enumerate(zip((0.5 * circuit.tau).tolist(), circuit.start.tolist(), strict=True)):
        own = f"capacitance={number(scale.farad(tau))} transresistance={number(scale.leak_ohm / tau)}"
        yield subcircuit("derivative").call(f"d{i}", f"s{i} d{i}", f"{own} start={number(scale.volt(start))}")


@dataclasses.dataclass(frozen=True)
class MosWiring(AbstractWiring):
    """Gilbert cells as synapses, whose weight is the voltage of a capacitor; an ideal multiplier as plasticity."""

    rate: ClassVar[str] = "s"
    gate_levels: ClassVar[tuple[tuple[str, float, float], ...]] = (("gate", 0.0, 1.0),)
    reference: ClassVar[float] = -0.25
    level: Transistor

    def parts(self) -> Iterator[str]:
        yield from (subcircuit(name).text for name in ("gilbert_synapse", "derivative", "plasticity_of_state"))
        yield f"Vwref wref 0 {number(self.reference)}"

    def senses(self, circuit: Circuit) -> Iterator[str]:
        return derivatives(self.level, circuit)

    def synapse(self, k: int, source: str, i: int, bound: float, rate: float) -> Iterator[str]:
        scale = self.level.scaling
        yield f"Ib{k} vdd b{k} {number(scale.ampere(bound))}"
        yield subcircuit("gilbert_synapse").call(f"g{k}", f"{source} 0 w{k} wref s{i} b{k} vdd vss")
        own = f"leak={number(scale.leak_ohm)} unit={number(scale.volt_per_unit)}"
        yield subcircuit("plasticity_of_state").call(f"p{k}", f"{source} d{i} gate w{k}", own)
        yield self.capacitor(k, bound, rate)


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
    raise ValueError(
        f"no plastic synapse is built with level {level.name!r} and a {multiplier} multiplier: use Behavioural() or "
        'Transistor(cell="gilbert"), and a transistor multiplier with the latter only'
    )
