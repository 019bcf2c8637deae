"""Plastic circuits run in ngspice, and the records of their training, presentation by presentation."""

import dataclasses
import math
import os
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from ...vector_fields import AbstractLeakyIntegrator, AbstractVectorField
from ...vector_fields.leaky import require, with_matrices
from ..levels import AbstractLevel, Accuracy, Behavioural
from ..ngspice import AbstractEngine, Batch, SimulatorFailed, Waveforms, run_all
from .netlist import Multiplier, plastic_netlist
from .plan import PlasticCircuit
from .wiring import wiring_for

LEARNING = Accuracy(reltol=3e-4, max_step=0.2)  # losses are some tenths of a percent off


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingRecord:
    """What a circuit did while it learnt, one row for every presentation of a sample, tests included.

    Attributes:
        plastic: the circuit that was trained.
        times: when each free phase ended, dimensionless (presentations,).
        outputs: states of the output neurons then (presentations, outputs).
        weights: W of every synapse then, in the order of `plastic.bounds` (presentations, synapses).
        log: what the simulator printed.
        joules: what the supplies had delivered at the end of every window of the schedule (windows,), the power of
            ideal parts apart; None where there are no supplies.
    """

    plastic: PlasticCircuit
    times: Float[np.ndarray, " presentations"]
    outputs: Float[np.ndarray, "presentations outputs"]
    weights: Float[np.ndarray, "presentations synapses"]
    log: str = ""
    joules: Float[np.ndarray, " windows"] | None = None

    @property
    def joules_training(self) -> float:
        """What the supplies delivered until the last sample was learnt; NaN without supplies."""
        return math.nan if self.joules is None else float(self.joules[2 * self.learning - 1])

    @property
    def joules_inference(self) -> float:
        """The same in the free phase of a test, their mean; NaN without supplies or tests."""
        tests = np.array([]) if self.joules is None else np.diff(self.joules[2 * self.learning - 1 :])
        return float(tests.mean()) if len(tests) else math.nan

    @property
    def samples(self) -> Int[np.ndarray, " presentations"]:
        """The sample of every presentation."""
        windows = self.plastic.circuit.schedule
        return np.array([windows[k].sample for k in self.plastic.presented])

    @property
    def _targets(self) -> Float[np.ndarray, "samples outputs"]:
        return np.stack([sample.target for sample in self.plastic.circuit.samples if sample.target is not None])

    @property
    def learning(self) -> int:
        """How many presentations were learnt from; those behind them are tests."""
        return sum(window.beta != 0 for window in self.plastic.circuit.schedule)

    @property
    def costs(self) -> Float[np.ndarray, " learning"]:
        """1/2 ||y - s_0||^2 at the end of the free phases that were learnt from."""
        apart = self.outputs - self._targets[self.samples]
        return 0.5 * np.sum(apart[: self.learning] ** 2, axis=1)

    def relative_loss(self, epoch: int) -> Float[np.ndarray, " epochs"]:
        """The mean cost of every so many presentations, as a share of what the targets' mean would cost."""
        shown = self._targets[self.samples[: self.learning]]
        return self.loss(epoch) / (0.5 * np.mean(np.sum((shown - shown.mean(axis=0)) ** 2, axis=1)))

    def loss(self, epoch: int) -> Float[np.ndarray, " epochs"]:
        """The mean cost of every so many presentations."""
        whole = len(self.costs) // epoch * epoch
        return self.costs[:whole].reshape(-1, epoch).mean(axis=1)

    @property
    def tested(self) -> Float[np.ndarray, "tests outputs"]:
        """The outputs for the tests."""
        return self.outputs[self.learning :]

    def field(self, like: AbstractVectorField) -> AbstractVectorField:
        """The network as it was learnt, with the architecture of the one it began as."""
        circuit, rate = self.plastic.circuit, self.plastic.plasticity.bias_rate
        inputs = np.zeros((circuit.n_neurons, len(circuit.input_rates)))
        recurrent = np.zeros((circuit.n_neurons, circuit.n_neurons))
        among, entering = np.split(self.weights[-1], [len(circuit.synapses)])
        for matrix, synapses, weights in (
            (recurrent, circuit.synapses, among),
            (inputs, circuit.input_synapses, entering),
        ):
            matrix[synapses.post, synapses.pre] = weights
        return _placed(like, recurrent, inputs[:, :-1], rate * inputs[:, -1])


def run_plastic(
    plastic: PlasticCircuit,
    *,
    level: AbstractLevel | None = None,
    multiplier: Multiplier = "behavioural",
    engine: AbstractEngine | None = None,
) -> TrainingRecord:
    """Runs a plastic circuit, which learns, in one transient of ngspice.

    Args:
        plastic: the circuit, from `compile_plastic`.
        level: what it is built of, `Behavioural(accuracy=LEARNING)` by default; see `plastic_netlist`.
        multiplier: what its plasticity is built of.
        engine: what runs it, `Batch()` by default.

    Raises:
        ValueError: as `plastic_netlist`.
        SimulatorFailed: if ngspice gave no usable result, as where learning ran away.
        NgspiceMissing: if there is none.
    """
    (found,) = run_plastics([plastic], level=level, multiplier=multiplier, engine=engine, workers=1)
    if isinstance(found, SimulatorFailed):
        raise found
    return found


def run_plastics(
    plastics: Sequence[PlasticCircuit],
    *,
    level: AbstractLevel | Sequence[AbstractLevel] | None = None,
    multiplier: Multiplier = "behavioural",
    engine: AbstractEngine | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[TrainingRecord | SimulatorFailed]:
    """Runs plastic circuits, each in a simulator of its own; a failure takes the place of its record.

    Arguments as for `run_plastic`, with one `level` for all circuits or one for each; `workers` says how many
    simulators run at once (one for each core by default), `progress` is called with the circuits that are done and
    their number.
    """
    level = Behavioural(accuracy=LEARNING) if level is None else level
    levels = [level] * len(plastics) if isinstance(level, AbstractLevel) else level
    engine = Batch() if engine is None else engine
    built = list(zip(plastics, levels, strict=True))
    netlists = [plastic_netlist(plastic, one, multiplier=multiplier, klu=engine.klu) for plastic, one in built]
    results = run_all(engine, netlists, workers or os.cpu_count() or 1, progress)
    return [
        found if isinstance(found, SimulatorFailed) else _read(plastic, one, multiplier, found)
        for (plastic, one), found in zip(built, results, strict=True)
    ]


def _read(plastic: PlasticCircuit, level: AbstractLevel, multiplier: Multiplier, found: Waveforms) -> TrainingRecord:
    circuit, scale, reference = plastic.circuit, level.scaling, wiring_for(level, multiplier).reference
    windows = np.cumsum([window.duration for window in circuit.schedule])
    ends = windows[plastic.presented]
    rows = _at(found, scale.tau_s * ends)
    joules = None
    if found.watts is not None:
        energy = np.concatenate([[0.0], np.cumsum(0.5 * (found.watts[1:] + found.watts[:-1]) * np.diff(found.times_s))])
        joules = np.interp(scale.tau_s * windows, found.times_s, energy)
    n = circuit.n_neurons
    outputs = len(circuit.target) if circuit.target is not None else 0
    return TrainingRecord(
        plastic=plastic,
        times=ends,
        outputs=rows[:, :outputs] / scale.volt_per_unit,
        weights=plastic.bounds * np.tanh((rows[:, n:] - reference) / scale.volt_per_unit),
        log=found.log,
        joules=joules,
    )


def _at(found: Waveforms, times_s: np.ndarray) -> np.ndarray:
    """Voltages at these times, linear between the simulator's points."""
    right = np.clip(np.searchsorted(found.times_s, times_s), 1, len(found.times_s) - 1)
    before, behind = found.times_s[right - 1], found.times_s[right]
    share = np.clip((times_s - before) / (behind - before), 0, 1)[:, None]
    return (1 - share) * found.volts[right - 1] + share * found.volts[right]


def _placed(
    field: AbstractVectorField, recurrent: np.ndarray, inputs: np.ndarray, biases: np.ndarray
) -> AbstractVectorField:
    """The network with these weights."""
    network = require(field, AbstractLeakyIntegrator, "a circuit that learns")
    tau = jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(field.time_constants())])
    w, w_in, b = (jnp.asarray(m, field.dtype) for m in (recurrent, inputs, biases))
    return with_matrices(network, w, w_in, b, tau)
