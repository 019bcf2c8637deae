"""The gradient of the circuit itself: ngspice's sensitivities of a node that moves as the cost, mapped to weights."""

import concurrent.futures
import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ..costs import AbstractCost, Quadratic
from ..learning.base import AbstractLearningRule, Reading
from ..substrates.base import AbstractSubstrate
from ..substrates.capabilities import Capability
from ..substrates.solution import Solution, Verdict
from ..vector_fields import AbstractLeakyIntegrator, AbstractVectorField
from ..vector_fields.base import flatten_state, unflatten_state
from ..vector_fields.leaky import require
from .compile import compile_circuit
from .ir import Circuit, ScheduleSegment
from .netlist import number
from .ngspice import Batch, SimulatorFailed
from .substrate import NgspiceSubstrate
from .variation import field_on

_APART = 0.01  # state units between the free state and the operating point; other equilibria are farther away
_TRANSISTOR = re.compile(r"^(m\S*) +(\S+) +(\S+) +(\S+) +", re.IGNORECASE | re.MULTILINE)
_TRANSIENT = (".tran", ".save", ".ic", ".end")


@dataclasses.dataclass(frozen=True)
class OperatingPoint:
    """What ngspice says of a sample's cost at its operating point.

    Attributes:
        netlist: the circuit.
        rest: the voltages and currents there, by ngspice's names.
        sensitivities: the cost's derivatives by the values and parameters of the elements, likewise.
        by_weights: its derivative by the weights (post, pre), 0 where there is no synapse.
        by_drives: its derivative by what drives each neuron.
    """

    netlist: str
    rest: Mapping[str, np.ndarray]
    sensitivities: Mapping[str, np.ndarray]
    by_weights: Float[np.ndarray, "neurons neurons"]
    by_drives: Float[np.ndarray, " neurons"]


class CircuitGradient(AbstractLearningRule):
    r"""dJ/dtheta at the circuit's own free state, from ngspice's `.sens`: its update is the descent of its own cost.

    At the operating point next to the measured free state, a node is $\sum_i (\partial C/\partial s_i)\, s_i$, so that
    it moves as the cost does, and currents of 0 A into every neuron stand for its drive. ngspice gives the node's
    derivative by the value v_ij that programs each synapse, and by each of these currents, d_i. With the level's
    dv_ij/dW_ij and d = W_in x + b they are

    $$\frac{dC}{dW_{ij}} = \frac{\partial C}{\partial v_{ij}}\frac{dv_{ij}}{dW_{ij}}, \qquad
      \frac{dC}{dW_\text{in}} = \frac{\partial C}{\partial d}\, x^\top, \qquad
      \frac{dC}{db} = \frac{\partial C}{\partial d},$$

    and are pulled back to the field's parameters, on a chip through what the chip makes of them. No equation of ours
    about the devices enters: it is the truth for whatever the level builds, as `ImplicitGradient` is for the ODE. Not
    a local rule. A sample whose operating point is another state than the one it settled in is `wrong_branch`.

    Weights of exactly 0 have no synapse, and the derivative 0 by it. Noise is left out, and so are nudges that a level
    steers away from its outputs. Runs by `Batch`, whatever the engine. Refuses, as it is used, levels that do not say
    what programs their weights (those of the library do, for the library's synapses), fields that are no leaky
    integrators, and inputs that are not folded.

    Attributes:
        substrate: an `NgspiceSubstrate`: level, chip, durations and tolerance.
        cost: C; `Quadratic()` by default.
    """

    substrate: AbstractSubstrate = eqx.field(default_factory=NgspiceSubstrate)
    cost: AbstractCost = eqx.field(default_factory=Quadratic)
    last_phase: ClassVar[str] = "sensitivity"

    @property
    def needs(self) -> frozenset[Capability]:
        return frozenset({Capability.sensitivities})

    @property
    def circuit(self) -> NgspiceSubstrate:
        """The substrate."""
        assert isinstance(self.substrate, NgspiceSubstrate)  # no other has sensitivities
        return self.substrate

    def _check(self, field: AbstractVectorField, y: Float[Array, "batch outputs"]) -> None:
        if not self.circuit.fold_inputs:
            raise ValueError("fold_inputs=False: CircuitGradient needs the inputs as currents; leave them folded")
        silent = np.zeros(field.n_inputs), np.asarray(y[0])
        list(self.circuit.level.programming(self._built(field, *silent)))

    def _built(self, field: AbstractVectorField, x: np.ndarray, y: np.ndarray) -> Circuit:
        chip = self.circuit.chip
        circuit = compile_circuit(field_on(chip, field), x, y, (ScheduleSegment(1.0),))
        return circuit if chip is None else chip.circuit(circuit)

    def _read(
        self, field: AbstractVectorField, x: Array, y: Array, free: Solution, nudged: tuple[Solution, ...]
    ) -> Reading:
        points, verdicts = self.points(field, x, y, free)
        return Reading(self.update_from(field, x, points), jnp.asarray(verdicts))

    def points(
        self,
        field: AbstractVectorField,
        x: Array,
        y: Array,
        free: Solution,
        *,
        transistors: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> tuple[dict[int, OperatingPoint], Int[np.ndarray, " batch"]]:
        """The operating points of the samples that have one next to their free state, and all samples' verdicts.

        Args:
            field: the network; x: inputs; y: targets.
            free: the free phase.
            transistors: whether each MOS transistor M gets sources of 0 within reach of `.sens`: `vthreshold_M` before
                its gate, `idrain_M` beside its channel, and `vdrain_M`, whose current is the drain's.
            progress: called with the samples done and their number.
        """
        x, y = self._checked(field, x, y)
        level, n = self.circuit.level, field.n_neurons
        verdicts, states = np.array(free.verdict), np.array(flatten_state(free.state), np.float64)
        circuits, netlists = {}, {}
        for k in _settled(verdicts):
            circuits[k] = self._built(field, np.asarray(x[k]), np.asarray(y[k]))
            netlists[k] = level.emit(circuits[k]).text
        probed = {k: _with_probes(text) if transistors else text for k, text in netlists.items()}
        at = {k: self._at(circuits[k], probed[k], states[k]) for k in circuits}
        rests = self._analysed({k: [*lines, ".op"] for k, lines in at.items()}, verdicts)
        for k, rest in rests.items():
            reached = np.array([rest[f"v(s{i})"][0] for i in range(n)]) / level.scaling.volt(1.0)
            if not np.abs(reached - states[k]).max() <= max(_APART, float(self.circuit.tol)):
                verdicts[k] = Verdict.wrong_branch
            states[k] = reached
        there = unflatten_state(free.state, jnp.asarray(states, field.dtype))
        slopes = np.asarray(flatten_state(self.cost.slope(field, there, y)), np.float64)
        followed = {k: [*at[k], *self._cost(slopes[k]), ".sens v(cost)"] for k in _settled(verdicts)}
        points = {}
        for k, found in self._analysed(followed, verdicts, progress).items():
            by_weights = np.zeros((n, n))
            try:
                for post, pre, name, slope in level.programming(circuits[k]):
                    by_weights[post, pre] += slope * _sensitivity(found, name)
                probes = [_sensitivity(found, f"iprobe{i}") for i in range(n)]
            except KeyError:
                verdicts[k] = Verdict.simulator_failed
                continue
            by_drives = level.scaling.ampere(1.0) * np.array(probes)
            points[k] = OperatingPoint(netlists[k], rests[k], found, by_weights, by_drives)
        return points, verdicts

    def update_from(
        self, field: AbstractVectorField, x: Array, points: Mapping[int, OperatingPoint]
    ) -> AbstractVectorField:
        """The update, -dC/dtheta summed over these samples."""
        n, chip = field.n_neurons, self.circuit.chip
        leaks = np.ones(n) if chip is None else np.asarray(chip.leaks, np.float64)
        by_weights, by_drives = np.zeros((n, n)), np.zeros((len(x), n))
        for k, point in points.items():
            by_weights += point.by_weights
            by_drives[k] = point.by_drives

        def matrices(parameters: AbstractVectorField) -> tuple[Array, Array, Array]:
            network = require(field_on(chip, eqx.combine(parameters, field)), AbstractLeakyIntegrator, "a circuit")
            return network.recurrent_matrix(), *network.input_matrix()

        _, transpose = jax.vjp(matrices, field.parameters())
        weights, drives = (jnp.asarray(-m, field.dtype) for m in (leaks[:, None] * by_weights, leaks * by_drives))
        return transpose((weights, drives.T @ x, drives.sum(0)))[0]

    def _at(self, circuit: Circuit, netlist: str, state: Float[np.ndarray, " neurons"]) -> list[str]:
        """The netlist less its transient, with the probes, and where to look for the operating point."""
        level = self.circuit.level
        return [
            *(line for line in netlist.splitlines() if line.partition(" ")[0] not in _TRANSIENT),
            *level.probes(circuit),
            *(f"Iprobe{i} {level.drive.format(i=i)} 0" for i in range(len(state))),
            *(f".nodeset v(s{i})={number(level.scaling.volt(s))}" for i, s in enumerate(state.tolist())),
        ]

    def _cost(self, slopes: Float[np.ndarray, " neurons"]) -> list[str]:
        """The node that moves as the cost does."""
        unit = self.circuit.level.scaling.volt(1.0)
        terms = [f"({number(slope / unit)})*v(s{i})" for i, slope in enumerate(slopes.tolist()) if slope]
        return [f"Bcost cost 0 V={'+'.join(terms) or '0*v(s0)'}"]

    def _analysed(
        self,
        decks: Mapping[int, Sequence[str]],
        verdicts: np.ndarray,
        progress: Callable[[int, int], None] | None = None,
    ) -> dict[int, Mapping[str, np.ndarray]]:
        """What ngspice gave for every sample's deck; a sample for which it gave nothing gets that verdict."""
        engine = self.circuit.engine if isinstance(self.circuit.engine, Batch) else Batch()

        def single(lines: Sequence[str]) -> Mapping[str, np.ndarray] | None:
            try:
                return engine.analyse("\n".join([*lines, ".end"]) + "\n")[0]
            except SimulatorFailed:
                return None

        found = {}
        with concurrent.futures.ThreadPoolExecutor(max(1, self.circuit.workers)) as pool:
            for k, vectors in zip(decks, pool.map(single, decks.values()), strict=True):
                found[k] = vectors
                if progress is not None:
                    progress(len(found), len(decks))
        verdicts[[k for k, vectors in found.items() if vectors is None]] = Verdict.simulator_failed
        return {k: vectors for k, vectors in found.items() if vectors is not None}


def _with_probes(netlist: str) -> str:
    """The netlist with a source of 0 V before every gate and drain of MOS transistors, and of 0 A beside the channel.

    ngspice's `.sens` has no derivative by a BSIM4 transistor's own parameters (NaN), but by those of any source.
    """
    return _TRANSISTOR.sub(
        r"Vthreshold_\1 \3 gate_\1 0\nVdrain_\1 \2 drain_\1 0\nIdrain_\1 \2 \4 0\n\1 drain_\1 gate_\1 \4 ", netlist
    )


def _settled(verdicts: np.ndarray) -> list[int]:
    return np.flatnonzero(verdicts == Verdict.converged).tolist()


def _sensitivity(found: Mapping[str, np.ndarray], name: str) -> float:
    """Raises KeyError where ngspice gave none."""
    value = float(found[f"v({name})"][0])
    if not np.isfinite(value):
        raise KeyError(name)
    return value
