"""Driven circuits: a network whose inputs follow a signal, and a linear readout of it, as one circuit."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
from jaxtyping import ArrayLike, Float
from scipy.interpolate import PchipInterpolator

from .._arrays import real_numbers
from ..results import AbstractResult
from ..sequence import Readout
from ..vector_fields import AbstractLeakyIntegrator, AbstractVectorField
from ..vector_fields.base import flatten_state
from ..vector_fields.leaky import require
from .compile import compile_circuit
from .ir import ScheduleSegment
from .levels import TIGHT, Behavioural, Netlist
from .netlist import number, piecewise_linear
from .ngspice.base import AbstractEngine
from .ngspice.batch import Batch


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class DrivenRun(AbstractResult):
    """The result of a driven circuit, in dimensionless units, at the simulator's own time points.

    Attributes:
        times: (time,).
        states: the flattened states, clipped to the bounds (time, neurons).
        outputs: the readout's (time, outputs); no columns without one.
        log: of the simulator.
    """

    times: Float[np.ndarray, " time"]
    states: Float[np.ndarray, "time neurons"]
    outputs: Float[np.ndarray, "time outputs"]
    log: str
    stem: ClassVar[str] = "driven"

    def rows(self) -> list[dict[str, Any]]:
        """One row a time point: `time`, `output_0`, ..., `state_0`, ..."""
        names = [f"output_{k}" for k in range(self.outputs.shape[1])]
        names += [f"state_{i}" for i in range(self.states.shape[1])]
        table = np.concatenate([self.times[:, None], self.outputs, self.states], axis=1).tolist()
        return [dict(zip(["time", *names], row, strict=True)) for row in table]

    def summary(self) -> dict[str, Any]:
        return {
            "points": len(self.times),
            "duration": float(self.times[-1]),
            "neurons": self.states.shape[1],
            "outputs": self.outputs.shape[1],
        }

    def at(
        self, times: Float[np.ndarray, " points"]
    ) -> tuple[Float[np.ndarray, "points neurons"], Float[np.ndarray, "points outputs"]]:
        """States and outputs at other times, by monotone cubics."""
        both = PchipInterpolator(self.times, np.concatenate([self.states, self.outputs], axis=1))(times)
        return both[:, : self.states.shape[1]], both[:, self.states.shape[1] :]


def driven_netlist(
    field: AbstractVectorField,
    times: ArrayLike | Sequence[float],
    rates: ArrayLike | Sequence[Sequence[float]],
    *,
    readout: Readout | None = None,
    start: ArrayLike | None = None,
    level: Behavioural | None = None,
) -> Netlist:
    """A field whose inputs follow a piecewise linear signal, behavioural level.

    Every input is a voltage source through the corners of its signal; ngspice puts a time point on each. The readout's
    nodes are out0, out1, ... and stand behind the states in the netlist's `state_nodes`; they have no effect on the
    network.

    Args:
        field: leaky integrators.
        times: of the samples (samples,), from 0, strictly increasing; dimensionless.
        rates: the firing rates of the inputs at these times (samples, inputs).
        readout: of the states; each weight is one transconductance, into a resistor.
        start: the flattened state at time 0; the field's own by default.
        level: scales and accuracy; `TIGHT` by default, for the path is asked for: within 1e-4 of the ODE's.

    Raises:
        ValueError: as `compile_circuit`, for what is no vector field (a kernel network), times that do not increase
            from 0, samples that do not fit them, and a readout that does not fit the network, or holds NaN or infinity.
    """
    field = require(field, AbstractLeakyIntegrator, "a driven circuit")
    level = Behavioural(accuracy=TIGHT) if level is None else level
    named = (("the array of times", times), ("the array of rates", rates))
    corners, values = (np.asarray(real_numbers(name, array), np.float64) for name, array in named)
    if corners.ndim != 1 or len(corners) < 2 or corners[0] != 0 or not (np.diff(corners) > 0).all():
        raise ValueError("the times of a signal must increase strictly from 0, and be at least two")
    if values.shape != (len(corners), field.n_inputs) or not np.isfinite(values).all():
        raise ValueError(
            f"the signal has shape {values.shape}: {len(corners)} times and this network need "
            f"({len(corners)}, {field.n_inputs}) finite numbers"
        )
    weights, biases = _matrices(readout, field.n_neurons)
    window = ScheduleSegment(float(corners[-1]))
    circuit = compile_circuit(field, values[0], None, (window,), start=start, fold_inputs=False)
    plain = level.emit(circuit)
    lines = [line for line in plain.text.splitlines() if not line.startswith("Vx")]
    outputs = tuple(f"out{k}" for k in range(len(biases)))
    end = lines.index(".end")
    added = [*_sources(level, corners, values), *_readout(level, weights, biases)]
    lines[end:end] = added + ([f".save {' '.join(f'v({node})' for node in outputs)}"] if outputs else [])
    return dataclasses.replace(
        plain,
        text="\n".join(lines) + "\n",
        state_nodes=(*plain.state_nodes, *outputs),
        map={**plain.map, "outputs": list(outputs)},
    )


def simulate_driven(
    field: AbstractVectorField,
    times: ArrayLike | Sequence[float],
    rates: ArrayLike | Sequence[Sequence[float]],
    *,
    readout: Readout | None = None,
    start: ArrayLike | None = None,
    level: Behavioural | None = None,
    engine: AbstractEngine | None = None,
) -> DrivenRun:
    """Runs the driven circuit in ngspice. Arguments as for `driven_netlist`; `engine` runs it, `Batch()` by default.

    Raises:
        ValueError: as `driven_netlist`.
        SimulatorFailed: if ngspice gave no usable result.
        NgspiceMissing: if there is none.
    """
    level = Behavioural(accuracy=TIGHT) if level is None else level
    netlist = driven_netlist(field, times, rates, readout=readout, start=start, level=level)
    found = (Batch() if engine is None else engine).run(netlist)
    n = field.n_neurons
    initial = np.asarray(flatten_state(field.initial_state(1))[0] if start is None else start, np.float64)
    weights, biases = _matrices(readout, n)
    read = weights @ initial + biases
    # The transient starts from given states, and ngspice saves its first point a little later.
    later = found.times_s > 0
    path = np.concatenate([np.concatenate([initial, read])[None], found.volts[later] / level.scaling.volt_per_unit])
    return DrivenRun(
        times=np.concatenate([[0.0], found.times_s[later] / level.scaling.tau_s]),
        states=np.clip(path[:, :n], *require(field, AbstractLeakyIntegrator, "a driven circuit").bounds),
        outputs=path[:, n:],
        log=found.log,
    )


def _matrices(readout: Readout | None, neurons: int) -> tuple[np.ndarray, np.ndarray]:
    """R and c of a readout, with no rows where there is none.

    Raises:
        ValueError: for a readout that does not fit the network, or holds NaN or infinity.
    """
    if readout is None:
        return np.zeros((0, neurons)), np.zeros(0)
    weights, biases = np.asarray(readout.weights, np.float64), np.asarray(readout.biases, np.float64)
    if weights.shape != (len(biases), neurons):
        raise ValueError(
            f"the readout has weights {weights.shape} and biases {biases.shape}: a network of {neurons} neurons needs "
            f"(outputs, {neurons}) and (outputs,)"
        )
    if not (np.isfinite(weights).all() and np.isfinite(biases).all()):
        raise ValueError("the readout holds NaN or infinity; no circuit can be built from that")
    return weights, biases


def _sources(level: Behavioural, times: np.ndarray, rates: np.ndarray) -> Iterator[str]:
    scale = level.scaling
    seconds = [scale.second(t) for t in times.tolist()]
    for k, column in enumerate(rates.T.tolist()):
        yield from piecewise_linear(f"Vx{k} x{k} 0", seconds, [scale.volt(rate) for rate in column])


def _readout(level: Behavioural, weights: np.ndarray, biases: np.ndarray) -> Iterator[str]:
    scale = level.scaling
    for k, (row, bias) in enumerate(zip(weights.tolist(), biases.tolist(), strict=True)):
        yield f"Rout{k} out{k} 0 {number(scale.leak_ohm)}"
        if bias:
            yield f"Iout{k} 0 out{k} {number(scale.ampere(bias))}"
        for j, weight in enumerate(row):
            if weight:
                yield f"Gout{k}_{j} 0 out{k} s{j} 0 {number(scale.siemens(weight))}"
