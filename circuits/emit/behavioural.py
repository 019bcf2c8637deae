"""Behavioural level: ideal elements, so that the netlist IS the ordinary differential equation."""

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..ir import Circuit
from ..scaling import Scaling
from .base import MAP_FORMAT, AbstractLevel, Accuracy, Netlist, number, subcircuit

_STIFFNESS = 1e6  # of a clamp, in leak conductances: the overshoot is a millionth of the pushing current
_EDGE = 1e-6  # of beta, in time units (1 ps at tau_s = 1 us); a slower edge shows in the trajectory
_SAVED_PER_LINE = 20


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
    """

    scaling: Scaling = dataclasses.field(default_factory=Scaling)
    accuracy: Accuracy = dataclasses.field(default_factory=Accuracy)

    def emit(self, circuit: Circuit, *, klu: bool = False) -> Netlist:
        ends = self.scaling.tau_s * np.cumsum([window.duration for window in circuit.schedule])
        lines = itertools.chain(
            self._header(circuit),
            self._library(circuit),
            self._neurons(circuit),
            self._synapses(circuit),
            self._nudge(circuit, ends),
            self._analysis(circuit, float(ends[-1]), klu),
        )
        nodes = tuple(f"s{i}" for i in range(circuit.n_neurons))
        return Netlist("\n".join(lines) + "\n", nodes, float(ends[-1]), self._map(circuit, ends))

    def _header(self, circuit: Circuit) -> Iterator[str]:
        scale = self.scaling
        yield f"eqprop-field netlist, behavioural level, map format {MAP_FORMAT}"
        if circuit.bounds is None:
            yield "* dynamics: plain (states are not confined)"
        else:
            low, high = circuit.bounds
            yield f"* dynamics: projected (states clamped to [{low!r}, {high!r}] state units)"
        yield f"* scales: 1 state unit = {number(scale.volt_per_unit)} V, 1 time unit = {number(scale.tau_s)} s,"
        yield f"*   leak {number(scale.leak_ohm)} ohm, so a time constant of 1 is {number(scale.farad(1.0))} F"
        yield f"* neurons: {circuit.n_neurons}, synapses: {len(circuit.synapses)}, s<i> state and r<i> rate of neuron i"

    def _library(self, circuit: Circuit) -> Iterator[str]:
        yield subcircuit(circuit.activation)
        if circuit.bounds is not None:
            yield subcircuit(self._clamp(circuit))
        if circuit.target is not None:
            yield subcircuit("nudge")

    @staticmethod
    def _clamp(circuit: Circuit) -> str:
        return "clamp_between" if circuit.bounds is not None and np.isfinite(circuit.bounds[1]) else "clamp_above"

    def _neurons(self, circuit: Circuit) -> Iterator[str]:
        scale = self.scaling
        common = f"leak={number(scale.leak_ohm)} unit={number(scale.volt_per_unit)}"
        for i, (tau, start) in enumerate(zip(circuit.tau.tolist(), circuit.start.tolist(), strict=True)):
            capacitance = number(scale.farad(tau))
            volts = number(scale.volt(start))
            yield f"Xn{i} s{i} r{i} {circuit.activation} capacitance={capacitance} {common} start={volts}"
            if start:
                yield f".ic v(s{i})={volts}"
        for i, drive in enumerate(circuit.drive.tolist()):
            if drive:
                yield f"Id{i} 0 s{i} {number(scale.ampere(drive))}"
        if circuit.bounds is None:
            return
        walls = " ".join(
            f"{side}={number(scale.volt(bound))}"
            for side, bound in zip(("low", "high"), circuit.bounds, strict=True)
            if np.isfinite(bound)
        )
        stiffness = number(scale.siemens(_STIFFNESS))
        for i in range(circuit.n_neurons):
            yield f"Xc{i} s{i} {self._clamp(circuit)} {walls} stiffness={stiffness}"

    def _synapses(self, circuit: Circuit) -> Iterator[str]:
        """A transconductance a synapse. A source `0 s` pushes its current INTO s."""
        conductance = self.scaling.siemens(1.0)
        for kind, source, synapses in (("g", "r", circuit.synapses), ("h", "x", circuit.input_synapses)):
            for i, j, weight in zip(
                synapses.post.tolist(), synapses.pre.tolist(), (conductance * synapses.weight).tolist(), strict=True
            ):
                yield f"G{kind}{i}_{j} 0 s{i} {source}{j} 0 {number(weight)}"
        for k, rate in enumerate(circuit.input_rates.tolist()):
            yield f"Vx{k} x{k} 0 PWL(0 {number(self.scaling.volt(rate))})"

    def _nudge(self, circuit: Circuit, ends: np.ndarray) -> Iterator[str]:
        if circuit.target is None:
            return
        edge = self.scaling.second(_EDGE)
        betas = [window.beta for window in circuit.schedule]
        corners = [f"0 {number(betas[0])}"]
        for end, before, after in zip(ends[:-1], betas[:-1], betas[1:], strict=True):
            corners += [f"{number(end)} {number(before)}", f"{number(end + edge)} {number(after)}"]
        yield f"Vbeta beta 0 PWL({' '.join(corners)})"
        leak = number(self.scaling.leak_ohm)
        for i, target in enumerate(circuit.target.tolist()):
            yield f"Xt{i} s{i} beta nudge target={number(self.scaling.volt(target))} leak={leak}"

    def _analysis(self, circuit: Circuit, end_s: float, klu: bool) -> Iterator[str]:
        reltol = self.accuracy.reltol
        step = number(self.scaling.second(self.accuracy.max_step * float(circuit.tau.min())))
        absolute = 1e-3 * reltol
        yield (
            f".options method=trap maxord=2 trtol=1 reltol={number(reltol)} "
            f"vntol={number(self.scaling.volt(absolute))} abstol={number(self.scaling.ampere(absolute))}"
        )
        if klu:
            yield ".options klu"
        saved = [f"v(s{i})" for i in range(circuit.n_neurons)]
        for first in range(0, len(saved), _SAVED_PER_LINE):
            yield f".save {' '.join(saved[first : first + _SAVED_PER_LINE])}"
        yield f".tran {step} {number(end_s)} 0 {step} uic"
        yield ".end"

    def _map(self, circuit: Circuit, ends: np.ndarray) -> dict[str, Any]:
        starts = [0.0, *ends[:-1].tolist()]
        neurons = [(layer, index) for layer, size in enumerate(circuit.groups) for index in range(size)]
        return {
            "format": MAP_FORMAT,
            "level": "behavioural",
            "activation": circuit.activation,
            "dynamics": "plain" if circuit.bounds is None else "projected",
            "scales": dataclasses.asdict(self.scaling),
            "accuracy": dataclasses.asdict(self.accuracy),
            "nodes": [
                {"state": f"s{i}", "rate": f"r{i}", "layer": layer, "index": index}
                for i, (layer, index) in enumerate(neurons)
            ],
            "phases": [
                {"start_s": start, "end_s": end, "beta": window.beta}
                for start, end, window in zip(starts, ends.tolist(), circuit.schedule, strict=True)
            ],
        }
