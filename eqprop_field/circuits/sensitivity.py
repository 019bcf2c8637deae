"""The gradient of the circuit itself: ngspice's sensitivities of a node that is the cost, mapped to weights."""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .._arrays import checked_pair
from ..costs import Quadratic
from ..learning.base import Estimate, mean_gradient
from ..substrates.solution import Verdict, raise_unless_converged
from ..vector_fields import AbstractLeakyIntegrator, AbstractVectorField
from ..vector_fields.base import flatten_state
from ..vector_fields.leaky import require
from .compile import compile_circuit
from .ir import Circuit, ScheduleSegment
from .levels import AbstractLevel
from .netlist import number
from .ngspice import Batch, SimulatorFailed
from .substrate import NgspiceSubstrate
from .variation import field_on

_APART = 0.01  # state units between the free state and the operating point; other equilibria are farther away
_TRANSIENT = (".tran", ".save", ".ic", ".end")


def circuit_gradient(
    substrate: NgspiceSubstrate, field: AbstractVectorField, x: ArrayLike, y: ArrayLike, *, throw: bool = True
) -> Estimate:
    r"""The gradient of the quadratic cost at the circuit's own free state, from ngspice's `.sens`.

    A node is the cost, and currents of 0 A into every neuron stand for its drive. At the operating point next to the
    measured free state, ngspice gives the derivative of the cost by the value v_ij that programs each synapse, and by
    each of these currents, d_i. With the level's dv_ij/dW_ij and d = W_in x + b they are

    $$\frac{dC}{dW_{ij}} = \frac{\partial C}{\partial v_{ij}}\frac{dv_{ij}}{dW_{ij}}, \qquad
      \frac{dC}{dW_\text{in}} = \frac{\partial C}{\partial d}\, x^\top, \qquad
      \frac{dC}{db} = \frac{\partial C}{\partial d},$$

    and are pulled back to the field's parameters, on a chip through what the chip makes of them. No equation of ours
    about the devices enters: it is the truth for whatever the level builds.

    Weights of exactly 0 have no synapse, and the derivative 0 by it. Noise is left out.

    Args:
        substrate: level, chip, durations and tolerance. Runs by `Batch`, whatever its engine.
        field: a network of leaky integrators.
        x: inputs (batch, inputs).
        y: targets (batch, outputs).
        throw: whether to raise for samples that did not settle.

    Returns:
        As a learning rule's. The verdict of a sample is that of its free phase, and `wrong_branch` where ngspice's
        operating point is another one.

    Raises:
        ValueError: for a level that does not say what programs its weights (those of the library do, for the library's
            synapses), and for samples that do not fit.
        NotSettledError: for samples that did not settle, if `throw` is true.
    """
    x, y = checked_pair(x, y, (field.n_inputs, field.n_outputs), field.dtype)
    chip, level = substrate.chip, substrate.level
    network = field_on(chip, field)
    targets = np.asarray(y, np.float64)
    rows = zip(np.asarray(x), targets, strict=True)
    circuits = [compile_circuit(network, one, target, (ScheduleSegment(1.0),)) for one, target in rows]
    circuits = circuits if chip is None else [chip.circuit(circuit) for circuit in circuits]
    list(level.programming(circuits[0]))  # refuses before anything runs
    free = substrate.settle(field, x, throw=throw)
    engine = substrate.engine if isinstance(substrate.engine, Batch) else Batch()
    n, verdicts = network.n_neurons, np.array(free.verdict)
    by_weights, by_drives = np.zeros((n, n)), np.zeros((len(x), n))
    for k, state in enumerate(np.asarray(flatten_state(free.state), np.float64)):
        if verdicts[k] == Verdict.converged:
            try:
                found = _sensitivities(engine, level, circuits[k], state, targets[k])
            except SimulatorFailed:
                verdicts[k] = Verdict.simulator_failed
                continue
            if found is None:
                verdicts[k] = Verdict.wrong_branch
            else:
                by_weights, by_drives[k] = by_weights + found[0], found[1]
    if throw:
        raise_unless_converged("sensitivity", jnp.asarray(verdicts))
    leaks = np.ones(n) if chip is None else np.asarray(chip.leaks, np.float64)
    matrices = leaks[:, None] * by_weights, leaks * by_drives
    update = _pulled_back(substrate, field, x, *(jnp.asarray(-m, field.dtype) for m in matrices))
    cost, verdict = Quadratic(), jnp.asarray(verdicts)
    gradient = mean_gradient(field, cost, update, (free.state, y, verdict))
    return Estimate(gradient, cost.of(field, free.state, y), verdict, free)


def _pulled_back(
    substrate: NgspiceSubstrate,
    field: AbstractVectorField,
    x: Float[Array, "batch inputs"],
    by_weights: Float[Array, "neurons neurons"],
    by_drives: Float[Array, "batch neurons"],
) -> AbstractVectorField:
    def matrices(parameters: AbstractVectorField) -> tuple[Array, Array, Array]:
        network = require(
            field_on(substrate.chip, eqx.combine(parameters, field)), AbstractLeakyIntegrator, "a circuit"
        )
        return network.recurrent_matrix(), *network.input_matrix()

    _, transpose = jax.vjp(matrices, field.parameters())
    return transpose((by_weights, by_drives.T @ x, by_drives.sum(0)))[0]


def _sensitivities(
    engine: Batch,
    level: AbstractLevel,
    circuit: Circuit,
    state: Float[np.ndarray, " neurons"],
    target: Float[np.ndarray, " outputs"],
) -> tuple[np.ndarray, np.ndarray] | None:
    """dC/dW (neurons, neurons) and dC/d drive (neurons,); None where the operating point is another state.

    Raises:
        SimulatorFailed: if ngspice gave no result.
    """
    volt, n = level.scaling.volt(1.0), circuit.n_neurons
    lines = _with_cost(level, circuit, state, target)
    rest, _ = engine.analyse(_deck(lines, ".op"))
    reached = np.array([rest[f"v(s{i})"][0] for i in range(n)]) / volt
    if not np.abs(reached - state).max() <= _APART:
        return None
    found, log = engine.analyse(_deck(lines, ".sens v(cost)"))

    def sensitivity(name: str) -> float:
        if not np.isfinite(value := found.get(f"v({name})", np.full(1, np.nan))[0]):
            raise SimulatorFailed(f"ngspice gave no sensitivity to {name}", log)
        return float(value)

    by_weights = np.zeros((n, n))
    for post, pre, name, slope in level.programming(circuit):
        by_weights[post, pre] += slope * sensitivity(name)
    return by_weights, level.scaling.ampere(1.0) * np.array([sensitivity(f"iprobe{i}") for i in range(n)])


def _with_cost(
    level: AbstractLevel,
    circuit: Circuit,
    state: Float[np.ndarray, " neurons"],
    target: Float[np.ndarray, " outputs"],
) -> list[str]:
    """The netlist less its transient, with the cost's node, the probes, and where to look for the operating point."""
    kept = [line for line in level.emit(circuit).text.splitlines() if line.partition(" ")[0] not in _TRANSIENT]
    unit = number(level.scaling.volt(1.0))  # not the circuit's own target, which a chip's nudge misreads
    squares = "+".join(f"(v(s{i})/{unit}-({number(y)}))^2" for i, y in enumerate(target.tolist()))
    nodes = range(circuit.n_neurons)
    return [
        *kept,
        f"Bcost cost 0 V=0.5*({squares})",
        *level.probes(circuit),
        *(f"Iprobe{i} {level.drive.format(i=i)} 0" for i in nodes),
        *(f".nodeset v(s{i})={number(level.scaling.volt(float(state[i])))}" for i in nodes),
    ]


def _deck(lines: Sequence[str], analysis: str) -> str:
    return "\n".join([*lines, analysis, ".end"]) + "\n"
