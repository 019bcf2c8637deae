"""The plastic circuit as data: its synapses, the rule they follow, and the samples in their order."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import ArrayLike, Float, Int

from ...vector_fields import AbstractVectorField
from ..compile import compile_circuit
from ..ir import Circuit, ScheduleSegment, Synapses

_FULLEST = 0.95  # of the bound: how strong a synapse may be at first
_STEEPEST = 1e-9  # of the transient


@dataclasses.dataclass(frozen=True)
class Plasticity:
    r"""How the synapses of a circuit learn: $dW_{ij} = \eta\,\rho(s_j)\,ds_i$ while a gate is open.

    A weight is $W = B\tanh u$ with u on a capacitor, so that no synapse outgrows its bound B, and
    $B\,\dot u = \eta\,g(t)\,\rho(s_j)\,\dot s_i$. The gate g opens just before beta rises and shuts just before it
    falls: what a membrane does in the nudged phase is learnt, its way back is not.

    Plasticity is positive feedback on the membrane: $\eta\sum_j\rho(s_j)^2$ over a neuron's synapses must stay well
    below 1. Source: Scellier et al. 2018, equations 2 and 5 with a finite learning rate.

    Attributes:
        rate: eta.
        bound: B of every synapse but feedback ones.
        feedback_bound: B of synapses that lead back from a layer nearer the output.
        bias_rate: the firing rate of the constant input whose synapses are the biases.
        beta: the influence parameter of the nudged phase. It need not be small.
        free_time: duration of the free phase before each update.
        nudged_time: duration of the nudged phase.
        gate_edge: how long the gate takes to open and to shut, and how long before beta it has done so.

    Raises:
        ValueError: for a number that is not positive and finite, or a gate slower than the phases.
    """

    rate: float = 0.2
    bound: float = 3.0
    feedback_bound: float = 0.5
    bias_rate: float = 0.8
    beta: float = 2.0
    free_time: float = 8.0
    nudged_time: float = 4.0
    gate_edge: float = 0.01

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{field.name}={value!r} must be a positive, finite number")
        if self.gate_edge > 0.1 * min(self.free_time, self.nudged_time):
            raise ValueError(f"gate_edge={self.gate_edge!r}: the gate must move within a tenth of the shorter phase")


@dataclasses.dataclass(frozen=True, eq=False)
class PlasticCircuit:
    """A circuit whose synapses are plastic.

    Attributes:
        circuit: the network with explicit inputs; their last one is the constant input of the biases. Its weights are
            those at time 0, and every window with a beta is one in which the gate is open.
        plasticity: how it learns.
        bounds: B of the circuit's synapses, then of its input synapses (synapses,).
    """

    circuit: Circuit
    plasticity: Plasticity
    bounds: Float[np.ndarray, " synapses"]

    @property
    def start(self) -> Float[np.ndarray, " synapses"]:
        """u = artanh(W / B) at time 0, in the order of `bounds`."""
        weights = np.concatenate([self.circuit.synapses.weight, self.circuit.input_synapses.weight])
        return np.arctanh(weights / self.bounds)

    @property
    def kinds(self) -> tuple[Int[np.ndarray, " synapses"], list[str]]:
        """Which kind every synapse is of, and the kinds' names."""
        among, entering, groups = self.circuit.synapses, self.circuit.input_synapses, self.circuit.groups
        layer = np.repeat(np.arange(len(groups)), groups)
        kind = np.concatenate(
            [
                np.where(layer[among.pre] < layer[among.post], 2, 1),
                np.where(entering.pre == len(self.circuit.input_rates) - 1, 3, 0),
            ]
        )
        return kind, ["inputs", "forward", "feedback", "biases"]

    def edge(self, shortest: float) -> float:
        """How long beta and samples take to change, where `shortest` would do in a short transient.

        ngspice's time is one float64: an edge of less than some 1e-9 of the transient can stop it for good.
        """
        return max(shortest, _STEEPEST * self.circuit.total_time)

    @property
    def presented(self) -> list[int]:
        """The windows that are free phases, one for every presentation of a sample."""
        return [k for k, window in enumerate(self.circuit.schedule) if not window.beta]


def compile_plastic(
    field: AbstractVectorField,
    x: ArrayLike,
    y: ArrayLike,
    order: Sequence[int],
    *,
    plasticity: Plasticity | None = None,
    tests: ArrayLike | None = None,
) -> PlasticCircuit:
    """Compiles a network, its samples and the order of their presentation into a circuit that learns.

    Args:
        field: the network as it begins; leaky integrators whose states are not clipped. Weights beyond 0.95 of their
            bound begin there.
        x: firing rates of the inputs (samples, inputs).
        y: targets of the output neurons' states (samples, outputs).
        order: the rows of x in the order in which they are learnt.
        plasticity: how it learns.
        tests: rows of inputs (tests, inputs) that are shown at the end, with beta at 0 and the gate shut.

    Raises:
        ValueError: as `compile_circuit`, for clipped states, and for an order without meaning.
    """
    plasticity = Plasticity() if plasticity is None else plasticity
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y):
        raise ValueError(f"x {x.shape} and y {y.shape} must be (samples, inputs) and (samples, outputs)")
    if not len(order) or min(order) < 0 or max(order) >= len(x):
        raise ValueError(f"the order must name rows of the {len(x)} samples, and at least one")
    shown = x if tests is None else np.concatenate([x, np.asarray(tests, np.float64)])
    targets = np.concatenate([y, np.zeros((len(shown) - len(x), y.shape[1]))])
    windows = [
        window
        for row in order
        for window in (
            ScheduleSegment(plasticity.free_time, 0.0, int(row)),
            ScheduleSegment(plasticity.nudged_time, plasticity.beta, int(row)),
        )
    ]
    windows += [ScheduleSegment(plasticity.free_time, 0.0, row) for row in range(len(x), len(shown))]
    circuit = compile_circuit(field, shown, targets, windows, fold_inputs=False)
    if circuit.bounds is not None:
        raise ValueError(
            "a circuit that learns senses how membranes move, and clamps would stop them: use a field with "
            "projected=False, such as a tanh network"
        )
    return _with_bounds(_with_bias_synapses(circuit, plasticity.bias_rate), plasticity)


def gate_corners(plastic: PlasticCircuit) -> tuple[Float[np.ndarray, " corners"], Float[np.ndarray, " corners"]]:
    """Times at which the gate begins or ends to move, and how far it is open then: a little before beta does."""
    edge = plastic.plasticity.gate_edge
    corners, now = [(0.0, 0.0)], 0.0
    for window in plastic.circuit.schedule:
        if window.beta:
            for moment, opens in ((now, 1.0), (now + window.duration, 0.0)):
                corners += [(moment - 2 * edge, 1 - opens), (moment - edge, opens)]
        now += window.duration
    times, opened = zip(*corners, strict=True)
    return np.array(times), np.array(opened)


def _with_bias_synapses(circuit: Circuit, rate: float) -> Circuit:
    """Biases as synapses from one more input."""
    n, m = circuit.n_neurons, len(circuit.input_rates)
    old = circuit.input_synapses
    weights = Synapses(
        np.concatenate([old.post, np.arange(n)]),
        np.concatenate([old.pre, np.full(n, m)]),
        np.concatenate([old.weight, circuit.drive / rate]),
    )
    nothing = np.zeros(n)
    following = tuple(
        dataclasses.replace(sample, drive=nothing, input_rates=np.append(sample.input_rates, rate))
        for sample in circuit.following
    )
    rates = np.append(circuit.input_rates, rate)
    return dataclasses.replace(circuit, drive=nothing, input_rates=rates, input_synapses=weights, following=following)


def _with_bounds(circuit: Circuit, plasticity: Plasticity) -> PlasticCircuit:
    layer = np.repeat(np.arange(len(circuit.groups)), circuit.groups)
    back = layer[circuit.synapses.pre] < layer[circuit.synapses.post]
    among = np.where(back, plasticity.feedback_bound, plasticity.bound)
    bounds = np.concatenate([among, np.full(len(circuit.input_synapses), plasticity.bound)])
    limits = np.split(_FULLEST * bounds, [len(among)])
    synapses, input_synapses = (
        dataclasses.replace(s, weight=np.clip(s.weight, -limit, limit))
        for s, limit in zip((circuit.synapses, circuit.input_synapses), limits, strict=True)
    )
    return PlasticCircuit(
        dataclasses.replace(circuit, synapses=synapses, input_synapses=input_synapses), plasticity, bounds
    )
