"""What every fidelity gives: a netlist and the map that reads it back; and what several of them are built of."""

import abc
import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from ..accuracy import FAST as FAST
from ..accuracy import LEARNS, Accuracy, Thresholds
from ..accuracy import NORMAL as NORMAL
from ..accuracy import TIGHT as TIGHT
from ..ir import AbstractCircuit, Circuit
from ..library import Subcircuit, subcircuit
from ..netlist import Netlist as Netlist
from ..netlist import number as number
from ..netlist import piecewise_linear
from ..scaling import Scaling
from ..timeline import Timeline as Timeline

MAP_FORMAT = 1
PARTS = ("neuron", "synapse", "nudge")  # what a user may have of his own

_LOOSE = 1e-4  # of reltol
_SMALL = 0.1  # state units
_STIFFNESS = 1e6  # of a clamp, in leak conductances: the overshoot is a millionth of the pushing current
_SAVED_PER_LINE = 20
_POINTS_A_PERIOD = 200


@dataclasses.dataclass(frozen=True)
class AbstractLevel(abc.ABC):
    """A fidelity: one way to build every neuron and synapse of a circuit.

    Every level is a frozen dataclass whose fields are its options, and every netlist has the same outside: the state
    of neuron i is v(s<i>), the influence parameter is v(beta), target k is v(y<k>), explicit input m is v(x<m>), all in
    the volts of `scaling`, with 0 V for a state of 0. So one measurement serves all levels.

    Attributes:
        name: what it is called on the command line and in maps.
        ideal: whether the library's circuit IS the vector field.
        edge: how long beta and samples take to change, in time units; where the circuit follows the equations to
            1e-4, a slower edge shows in the trajectory, but transistors do not bear a sudden one.
        rest: the least residual that ngspice can tell from rest, whatever the tolerance: weak currents settle slowly.
        has_rates: whether the firing rate of neuron i is a voltage, v(r<i>).
        transposes: whether it builds transposed synapses, as AEP needs them.
        oscillates: whether its nudge can oscillate.
        drive: between which nodes a current drives neuron i.
        scaling: dimensionless to SI.
        accuracy: how closely the simulator follows the circuit.
        neuron: the user's own subcircuit in the neuron's place, with the same ports; None for the library's.
        synapse: the same for the synapse; nudge: for the nudge.
    """

    name: ClassVar[str]
    ideal: ClassVar[bool] = False
    edge: ClassVar[float] = 1e-6
    rest: ClassVar[float] = 0.0
    has_rates: ClassVar[bool] = True
    transposes: ClassVar[bool] = False
    oscillates: ClassVar[bool] = True
    drive: ClassVar[str] = "0 s{i}"
    scaling: Scaling
    accuracy: Accuracy
    neuron: Subcircuit | None
    synapse: Subcircuit | None
    nudge: Subcircuit | None

    @property
    @abc.abstractmethod
    def specification(self) -> Thresholds:
        """What a healthy circuit of this level, of the library's parts, keeps to."""

    @property
    def supplies(self) -> Mapping[str, float]:
        """The volts of the sources that feed the devices, whose currents are saved too; ideal parts have none."""
        return {}

    @property
    def own_parts(self) -> dict[str, Subcircuit]:
        """The user's own subcircuits, by what they stand for."""
        return {what: part for what in PARTS if (part := getattr(self, what)) is not None}

    @property
    def exact(self) -> bool:
        """Whether equilibria are those of the vector field; elsewhere a phase is at rest where its voltages are."""
        return self.ideal and not self.own_parts

    @property
    def thresholds(self) -> Thresholds:
        """What the circuit is to keep to; with parts of the user's own it is only asked whether it learns."""
        return LEARNS if self.own_parts else self.specification

    def emit(self, circuit: AbstractCircuit, *, klu: bool = False, edge: float | None = None) -> Netlist:
        """The circuit as a netlist.

        Args:
            circuit: what to build: neurons and synapses, or expressions, which the behavioural level alone builds.
            klu: whether to ask for the KLU solver; only for an ngspice that has it (see `find_ngspice`).
            edge: how long beta and samples take to change, in time units; as the level has it by default.

        Raises:
            ValueError: for an activation that the library has no neuron for, for dynamics that the level does not
                build, and for a user's subcircuit that does not fit.
        """
        durations = [window.duration for window in circuit.schedule]
        ends = self.scaling.tau_s * np.cumsum(durations)
        time = Timeline(ends, self.scaling.second(min(edge or self.edge, 0.1 * min(durations))))
        built = self._network(circuit, time) if isinstance(circuit, Circuit) else self.expressions(circuit, time)
        lines = itertools.chain(self._header(circuit), built, self._analysis(circuit, float(ends[-1]), klu))
        nodes = tuple(f"s{i}" for i in range(circuit.n_neurons))
        text = "\n".join(lines) + "\n"
        return Netlist(text, nodes, float(ends[-1]), self._map(circuit, ends), dict(self.supplies))

    def _network(self, circuit: Circuit, time: Timeline) -> Iterator[str]:
        parts = self.parts(circuit)
        yield from _texts(parts)
        yield from self.neurons(circuit, parts)
        yield from self.synapses(circuit, parts)
        yield from self.sources(circuit, time)
        if circuit.target is not None:
            yield from self.nudges(circuit, parts, time)
        if circuit.transposing:
            yield from self.transposed(circuit, parts, time)

    @property
    def builds_any_field(self) -> bool:
        """Whether it builds circuits of expressions, so that any field and any cost has a circuit."""
        return False

    def expressions(self, circuit: AbstractCircuit, time: Timeline) -> Iterator[str]:
        """The lines of a circuit of expressions; ValueError from a level of neurons and synapses alone."""
        raise ValueError(f"the {self.name} level is built of neurons and synapses alone: use the behavioural one")

    @abc.abstractmethod
    def parts(self, circuit: Circuit) -> Mapping[str, Subcircuit]:
        """The subcircuits that the netlist holds, by what they are: `neuron`, `synapse`, `nudge` and so on."""

    @abc.abstractmethod
    def neurons(self, circuit: Circuit, parts: Mapping[str, Subcircuit]) -> Iterator[str]:
        """The lines of the neurons, with their initial states and clamps."""

    @abc.abstractmethod
    def synapses(self, circuit: Circuit, parts: Mapping[str, Subcircuit]) -> Iterator[str]:
        """The lines of the synapses, from the neurons and from explicit inputs."""

    def programming(self, circuit: Circuit) -> Iterator[tuple[int, int, str, float]]:
        """What programs the synapses between neurons: post, pre, a value's name in `.sens`, its derivative by W.

        A weight may have several, whose parts add up. Raises ValueError where a level does not say.
        """
        raise ValueError(f"the {self.name} level does not say what programs its weights: use another level")

    def probes(self, circuit: Circuit) -> Iterator[str]:
        """Lines that only `.sens` needs, for what `programming` names and the netlist has not."""
        return iter(())

    @abc.abstractmethod
    def sources(self, circuit: Circuit, time: Timeline) -> Iterator[str]:
        """The lines of what the samples clamp, targets apart: drives and explicit inputs."""

    def nudges(self, circuit: Circuit, parts: Mapping[str, Subcircuit], time: Timeline) -> Iterator[str]:
        """The lines of beta, the targets and the nudges; here those of a neuron that sums its currents in s."""
        return nudges(circuit, self.scaling, parts, time, "s{i} beta y{i}")

    def transposed(self, circuit: Circuit, parts: Mapping[str, Subcircuit], time: Timeline) -> Iterator[str]:
        """The lines that turn the Jacobian of the nudged phases into its transpose, for AEP.

        Raises:
            ValueError: here, where a level has no such synapses.
        """
        raise ValueError(f"the {self.name} level has no transposed synapses for AEP: use the behavioural one")

    def remarks(self) -> Sequence[str]:
        """What the header says about this level's own options, without the asterisk."""
        return ()

    def options(self) -> Sequence[str]:
        """Further simulator options."""
        return ()

    def start(self, circuit: AbstractCircuit) -> tuple[Sequence[str], str]:
        """Cards of the initial states, and the last word of the analysis card: here every capacitor starts charged."""
        if circuit.from_operating_point:
            return (), ""
        volts = ((i, self.scaling.volt(s)) for i, s in enumerate(circuit.start.tolist()) if s)
        return [f".ic v(s{i})={number(v)}" for i, v in volts], " uic"

    def _header(self, circuit: AbstractCircuit) -> Iterator[str]:
        yield f"eqprop-field netlist, {self.name} level, map format {MAP_FORMAT}"
        if circuit.limits is None:
            yield "* dynamics: plain (states are not confined)"
        else:
            low, high = (sorted({float(bound) for bound in bounds}) for bounds in circuit.limits)
            between = f"[{low[0]!r}, {high[-1]!r}]" if len(low) == len(high) == 1 else "intervals of their own"
            yield f"* dynamics: projected (states clamped to {between} state units)"
        yield from self.scaling.header()
        yield from (f"* {remark}" for remark in self.remarks())
        synapses = f", synapses: {len(circuit.synapses)}" if isinstance(circuit, Circuit) else ""
        yield f"* neurons: {circuit.n_neurons}{synapses}, s<i> is the state of neuron i"

    def _analysis(self, circuit: AbstractCircuit, end_s: float, klu: bool) -> Iterator[str]:
        reltol = self.accuracy.reltol
        # What is read from an oscillation is a small part of it.
        fastest = max(window.omega for window in circuit.schedule) * _POINTS_A_PERIOD / math.tau
        longest = 1 / max(fastest, 1 / (self.accuracy.max_step * float(circuit.tau.min())))
        step = number(self.scaling.second(longest))
        absolute = 1e-3 * reltol
        # Below a tenth of a state unit, a step's error is absolute: states near 0 do not shorten the steps of all.
        charge = _SMALL * self.scaling.farad(float(circuit.tau.min())) * self.scaling.volt(1.0)
        # Loosely followed, the trapezoidal rule may ring at a clamp, down to steps without end: damp it a little.
        damping = " xmu=0.49" if circuit.limits is not None and reltol >= _LOOSE else ""
        yield (
            f".options method=trap maxord=2 trtol=1{damping} reltol={number(reltol)} "
            f"vntol={number(self.scaling.volt(absolute))} abstol={number(self.scaling.ampere(absolute))} "
            f"chgtol={number(charge)}"
        )
        yield from (f".options {option}" for option in self.options())
        if klu:
            yield ".options klu"
        saved = [*(f"v(s{i})" for i in range(circuit.n_neurons)), *(f"i({source})" for source in self.supplies)]
        for first in range(0, len(saved), _SAVED_PER_LINE):
            yield f".save {' '.join(saved[first : first + _SAVED_PER_LINE])}"
        cards, how = self.start(circuit)
        yield from cards
        yield f".tran {step} {number(end_s)} 0 {step}{how}"
        yield ".end"

    def _map(self, circuit: AbstractCircuit, ends: np.ndarray) -> dict[str, Any]:
        starts = [0.0, *ends[:-1].tolist()]
        neurons = [(layer, index) for layer, size in enumerate(circuit.groups) for index in range(size)]
        has_rates = self.has_rates and isinstance(circuit, Circuit)
        options = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        shared = {name: options.pop(name) for name in ("scaling", "accuracy", *PARTS)}
        return {
            "format": MAP_FORMAT,
            "level": self.name,
            "activation": circuit.activation if isinstance(circuit, Circuit) else None,
            "dynamics": "plain" if circuit.limits is None else "projected",
            "scales": dataclasses.asdict(shared["scaling"]),
            "accuracy": dataclasses.asdict(shared["accuracy"]),
            "options": options,
            "own_parts": {what: part.name for what, part in self.own_parts.items()},
            "nodes": [
                {
                    "state": f"s{i}",
                    **({"rate": f"r{i}"} if has_rates else {}),
                    **({"leaf": circuit.leaves[layer]} if any(circuit.leaves) else {}),
                    "layer": layer,
                    "index": index,
                }
                for i, (layer, index) in enumerate(neurons)
            ],
            "phases": [
                {"start_s": start, "end_s": end, "beta": window.beta, "sample": window.sample}
                for start, end, window in zip(starts, ends.tolist(), circuit.schedule, strict=True)
            ],
        }


def fitting(replacement: Subcircuit | None, standard: Subcircuit) -> Subcircuit:
    """The user's own subcircuit if there is one, else the library's `standard`; ValueError for other ports than its."""
    if replacement is None:
        return standard
    if tuple(port.lower() for port in replacement.ports) != standard.ports:
        raise ValueError(
            f"the subcircuit {replacement.name} has the ports {' '.join(replacement.ports)}, but it stands in the "
            f"place of {standard.name}, which has {' '.join(standard.ports)}: give it the same ports in the same order"
        )
    return replacement


def clamp_part(circuit: Circuit) -> Mapping[str, Subcircuit]:
    """The state clamp of a neuron that sums its currents in s, where the dynamics are projected."""
    if circuit.bounds is None:
        return {}
    return {"clamp": subcircuit("clamp_between" if math.isfinite(circuit.bounds[1]) else "clamp_above")}


def nudge_part(circuit: Circuit, own: Subcircuit | None, name: str = "nudge") -> Mapping[str, Subcircuit]:
    """The nudge, where there is one: the user's own, or the library's."""
    return {} if circuit.target is None else {"nudge": fitting(own, subcircuit(name))}


def membranes(
    circuit: Circuit, scaling: Scaling, parts: Mapping[str, Subcircuit], nodes: str, options: str = ""
) -> Iterator[str]:
    """A neuron each, and its clamp where the dynamics are projected.

    Args:
        circuit: whose neurons they are.
        scaling: dimensionless to SI.
        parts: `neuron`, and `clamp` for projected dynamics, whose ports are the neuron's without its rates.
        nodes: the neuron's nodes, with `{i}` for its number, such as "s{i} r{i}".
        options: further parameters of the neuron.
    """
    common = f"unit={number(scaling.volt_per_unit)}{options and ' ' + options}"
    rows = zip(circuit.tau.tolist(), leaks(circuit, scaling), circuit.start.tolist(), strict=True)
    for i, (tau, leak, start) in enumerate(rows):
        parameters = (
            f"capacitance={number(scaling.farad(tau))} leak={leak} {common} start={number(scaling.volt(start))}"
        )
        yield parts["neuron"].call(f"n{i}", nodes.format(i=i), parameters)
    if circuit.bounds is None:
        return
    walls = " ".join(
        f"{side}={number(scaling.volt(bound))}"
        for side, bound in zip(("low", "high"), circuit.bounds, strict=True)
        if math.isfinite(bound)
    )
    summed = " ".join(nodes.split()[: len(parts["clamp"].ports)])
    for i in range(circuit.n_neurons):
        parameters = f"{walls} stiffness={number(scaling.siemens(_STIFFNESS))}"
        yield parts["clamp"].call(f"c{i}", summed.format(i=i), parameters)


def leaks(circuit: Circuit, scaling: Scaling) -> list[str]:
    """The resistance of every neuron's leak, ohm."""
    relative = np.ones(circuit.n_neurons) if circuit.leaks is None else circuit.leaks
    return [number(scaling.leak_ohm / g) for g in relative.tolist()]


def nudge_gains(circuit: Circuit) -> list[float]:
    """The strength of every output's nudge over the nominal."""
    count = 0 if circuit.target is None else len(circuit.target)
    return [1.0] * count if circuit.nudge_gains is None else circuit.nudge_gains.tolist()


def drives(circuit: Circuit, scaling: Scaling, time: Timeline, nodes: str) -> Iterator[str]:
    """Current sources for what drives every neuron, the sample and noise; a source `0 s` pushes its current INTO s."""
    amperes = scaling.ampere(1.0) * np.stack([circuit.samples[window.sample].drive for window in circuit.schedule])
    for i, values in enumerate(amperes.T.tolist()):
        if any(values):
            yield f"Id{i} {nodes.format(i=i)} {time.source(values)}"
    yield from noise_currents(circuit, scaling, nodes)


def noise_currents(circuit: AbstractCircuit, scaling: Scaling, nodes: str) -> Iterator[str]:
    """Current sources for the noise, where there is any."""
    if circuit.noise is not None:
        seconds = [scaling.second(t) for t in circuit.noise.times.tolist()]
        for i, column in enumerate(circuit.noise.drive.T.tolist()):
            yield from piecewise_linear(f"In{i} {nodes.format(i=i)}", seconds, [scaling.ampere(d) for d in column])


def inputs(circuit: Circuit, scaling: Scaling, time: Timeline, inverted: bool = False) -> Iterator[str]:
    """A voltage source for every explicit input, and a second one of the opposite sign if `inverted`."""
    rates = scaling.volt(1.0) * np.stack([circuit.samples[window.sample].input_rates for window in circuit.schedule])
    for k, values in enumerate(rates.T.tolist()):
        yield f"Vx{k} x{k} 0 {time.source(values)}"
        if inverted:
            yield f"Vz{k} z{k} 0 {time.source([-value for value in values])}"


def nudges(
    circuit: Circuit,
    scaling: Scaling,
    parts: Mapping[str, Subcircuit],
    time: Timeline,
    nodes: str,
    options: str = "",
) -> Iterator[str]:
    """Beta, and the target and the nudge of every output neuron.

    Args:
        circuit: whose outputs are nudged.
        scaling: dimensionless to SI.
        parts: `nudge`.
        time: when.
        nodes: of the nudge, with `{i}` for the neuron's number, such as "s{i} beta y{i}".
        options: further parameters of the nudge.
    """
    yield from influence(circuit, scaling, time)
    clamped = [circuit.samples[window.sample].target for window in circuit.schedule]
    volts = scaling.volt(1.0) * np.stack([target for target in clamped if target is not None])
    for i, (values, gain) in enumerate(zip(volts.T.tolist(), nudge_gains(circuit), strict=True)):
        parameters = f"leak={number(scaling.leak_ohm / gain)}{options and ' ' + options}"
        yield f"Vy{i} y{i} 0 {time.source(values)}"
        yield parts["nudge"].call(f"t{i}", nodes.format(i=i), parameters)


def influence(circuit: AbstractCircuit, scaling: Scaling, time: Timeline) -> Iterator[str]:
    """The source of beta."""
    amplitude = time.source([window.beta for window in circuit.schedule])
    if (k := circuit.oscillating) is None:
        yield f"Vbeta beta 0 {amplitude}"
    else:
        begin, omega = (time.ends_s[k - 1] if k else 0.0), scaling.hertz(2 * math.pi * circuit.schedule[k].omega)
        yield f"Vamplitude amplitude 0 {amplitude}"
        yield f"Bbeta beta 0 V=v(amplitude)*cos({number(omega)}*(time-{number(begin)}))"


def positive(**values: float) -> None:
    """Checks a level's options; raises ValueError for one that is not positive and finite."""
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name}={value!r} must be a positive, finite number")


def _texts(parts: Mapping[str, Subcircuit]) -> Iterator[str]:
    """Every part once.

    Raises:
        ValueError: if two different parts define the same name.
    """
    origin: dict[str, Subcircuit] = {}
    for part in parts.values():
        new = [name for name in part.defines if origin.get(name) != part]
        if clash := [name for name in new if name in origin]:
            raise ValueError(
                f"two parts of the netlist define {clash[0]}: give the subcircuits and models in your own files names "
                "of their own"
            )
        if new:
            yield part.text
        origin |= dict.fromkeys(part.defines, part)
