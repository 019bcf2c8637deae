"""From a vector field and its samples to a circuit."""

import dataclasses
import math
from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import ArrayLike

from ...activations import ACTIVATIONS
from ...costs import Quadratic
from ...substrates.nudging import AbstractNudge
from ...vector_fields import AbstractLeakyIntegrator, AbstractVectorField
from ...vector_fields.base import flatten_state
from ...vector_fields.leaky import reads_first, require
from ..ir import Circuit, Sample, ScheduleSegment, Synapses

_SLOPES_AT = np.linspace(-30.0, 30.0, 6001)


def loop_gain(field: AbstractLeakyIntegrator) -> float:
    r"""The spectral radius of $|W| \sup\rho'$, the largest gain that any loop through the network can have.

    Below 1, $s \mapsto W\rho(s) + d$ is a contraction in a weighted maximum norm: there is ONE equilibrium for every
    input, it attracts every state, and the Jacobian's eigenvalues lie left of the imaginary axis, whatever the time
    constants, the bounds and a beta of at least 0. At or above 1 nothing follows.
    """
    slope = float(np.max(np.asarray(field.activation.derivative(jax.numpy.asarray(_SLOPES_AT)))))
    weights = np.abs(np.asarray(field.recurrent_matrix(), np.float64))
    return slope * float(np.abs(np.linalg.eigvals(weights)).max())


_SLOPES = ("tanh", "sigmoid", "linear")


def transposes(field: AbstractLeakyIntegrator) -> bool:
    """Whether the library has transposed synapses for these neurons, so that AEP needs no expressions."""
    return field.activation.name in _SLOPES and not field.projected


def compile_circuit(
    field: AbstractVectorField,
    x: ArrayLike,
    y: ArrayLike | None,
    schedule: Sequence[ScheduleSegment],
    *,
    start: ArrayLike | None = None,
    fold_inputs: bool = True,
    transposing: bool = False,
    from_operating_point: bool = False,
) -> Circuit:
    """Compiles a field and its samples into the circuit that realises both phases.

    Args:
        field: what moves.
        x: one sample's firing rates (inputs,), or several samples that are clamped in sequence (samples, inputs).
        y: the targets of the output neurons, (outputs,) or (samples, outputs), or None where no window nudges.
        schedule: the windows, for example from `circuits.schedule`; each names the sample that it clamps.
        start: the flattened initial state (neurons,); the field's own by default.
        fold_inputs: whether W_in x + b becomes one current a neuron (fast) rather than a source for each input and
            an element for each input synapse.
        transposing: whether the nudged windows also have the transposed synapses of AEP; each must follow a free one.
        from_operating_point: whether the simulator may solve for the first free equilibrium instead of settling into
            it. An operating point may be unstable, or another equilibrium than the one that `start` leads to, so this
            is refused unless the network provably has one equilibrium only, and a stable one (`loop_gain` below 1).

    Returns:
        The circuit, in dimensionless units and float64.

    Raises:
        ValueError: for a field that is no network of leaky integrators, for x or y that do not fit the field, for
            NaN or infinity anywhere, and for an operating point of a network whose loop gain is 1 or more.
    """
    field = _buildable(field)
    x, y = sample_rows("x", x, field.n_inputs), None if y is None else sample_rows("y", y, field.n_outputs)
    if y is not None and len(x) != len(y):
        raise ValueError(f"x has {len(x)} samples and y has {len(y)}: give one target for every sample")
    if from_operating_point:
        check_operating_point(field, start)
    input_weights, biases = (np.asarray(part, np.float64) for part in field.input_matrix())
    if not (np.isfinite(input_weights).all() and np.isfinite(biases).all()):
        raise ValueError("the input weights or biases hold NaN or infinity; no circuit can be built from that")
    first, *following = (
        Sample(
            drive=biases + input_weights @ row if fold_inputs else biases,
            target=None if y is None else y[k],
            input_rates=row[:0] if fold_inputs else row,
        )
        for k, row in enumerate(x)
    )
    low, high = field.bounds
    n = field.n_neurons
    return Circuit(
        activation=field.activation.name,
        bounds=None if math.isinf(low) and math.isinf(high) else (float(low), float(high)),
        groups=tuple(math.prod(leaf.shape[1:]) for leaf in jax.tree.leaves(field.initial_state(1))),
        tau=np.concatenate([np.ravel(np.asarray(t, np.float64)) for t in jax.tree.leaves(field.time_constants())]),
        synapses=Synapses.from_matrix(np.asarray(field.recurrent_matrix(), np.float64)),
        start=sample_rows("start", np.ravel(flatten_state(field.initial_state(1)) if start is None else start), n)[0],
        target=first.target,
        schedule=tuple(schedule),
        drive=first.drive,
        input_rates=first.input_rates,
        input_synapses=Synapses.from_matrix(input_weights[:, :0] if fold_inputs else input_weights),
        following=tuple(following),
        transposing=transposing,
        from_operating_point=from_operating_point,
    )


def compile_each(
    field: AbstractVectorField,
    x: ArrayLike,
    y: ArrayLike | None,
    schedule: Sequence[ScheduleSegment],
    *,
    starts: ArrayLike | None = None,
    in_sequence: int = 1,
    fold_inputs: bool = True,
    transposing: bool = False,
    from_operating_point: bool = False,
) -> list[Circuit]:
    """A circuit for every sample, each with the whole schedule to itself; the network is read once for all of them.

    Arguments and errors as for `compile_circuit`, but for `starts`, the initial states (samples, neurons), and
    `in_sequence`, how many samples a circuit clamps one after another; the last one may have fewer.
    """
    starts = None if starts is None else sample_rows("starts", starts, field.n_neurons)
    together = compile_circuit(
        field,
        x,
        y,
        schedule,
        start=None if starts is None else starts[0],
        fold_inputs=fold_inputs,
        transposing=transposing,
        from_operating_point=from_operating_point,
    )
    if starts is not None and len(starts) != len(together.samples):
        raise ValueError(f"there are {len(starts)} starts for {len(together.samples)} samples: give one for each")
    circuits = []
    for first in range(0, len(together.samples), in_sequence):
        first_sample, *following = together.samples[first : first + in_sequence]
        circuits.append(
            dataclasses.replace(
                together,
                drive=first_sample.drive,
                target=first_sample.target,
                input_rates=first_sample.input_rates,
                following=tuple(following),
                schedule=tuple(dataclasses.replace(w, sample=k) for k in range(1 + len(following)) for w in schedule),
                start=together.start if starts is None else starts[first],
            )
        )
    return circuits


def nudge_of(nudge: AbstractNudge) -> tuple[float, np.ndarray]:
    """The influence parameter and the targets (batch, outputs) of a nudge that a circuit can build.

    Raises:
        ValueError: for anything but a real nudge of the quadratic cost, whose force is one linear current.
    """
    pull = nudge.pull
    if pull is None or not isinstance(pull.cost, Quadratic):
        what = type(nudge if pull is None else pull.cost).__name__
        raise ValueError(
            f"the circuit builds the nudge of the quadratic cost, beta (y - s), and has no current for {what}; "
            "use Quadratic, or an ODE substrate"
        )
    beta = np.asarray(pull.beta)
    if np.iscomplexobj(beta):
        raise ValueError("a circuit has real voltages: a complex beta (holomorphic nudging) needs an ODE substrate")
    return float(beta), np.asarray(pull.target, np.float64)


def obstacle(field: AbstractLeakyIntegrator) -> str | None:
    """What the parts of a level cannot build of a network of leaky integrators, in one sentence; None if nothing."""
    name, bounds = type(field).__name__, field.bounds
    if not reads_first(field):
        return f"a circuit of parts reads and nudges its first {field.n_outputs} neurons, and a {name} reads others"
    if ACTIVATIONS.get(field.activation.name) is not field.activation:
        return (
            f"parts are known by the name of an activation, and ACTIVATIONS[{field.activation.name!r}] is not this "
            "network's: put it there, under a name of its own"
        )
    if math.isinf(bounds[0]) and math.isfinite(bounds[1]):
        return f"no part confines neurons from above alone, to {bounds}"
    if set(field.leaf_bounds) != {bounds}:
        return f"parts confine all neurons alike, to {bounds}, and a {name} has the leaf_bounds {field.leaf_bounds}"
    if field.free_outputs:
        return "no part is a linear output neuron beside others: use free_outputs=False"
    return None


def _buildable(field: AbstractVectorField) -> AbstractLeakyIntegrator:
    """The field, where it is a network that a circuit can be built of."""
    network = require(field, AbstractLeakyIntegrator, "a circuit")
    if (reason := obstacle(network)) is not None:
        raise ValueError(f"{reason}; or use the behavioural level, which builds any field, or an ODE substrate")
    return network


def check_operating_point(field: AbstractVectorField, start: ArrayLike | None = None) -> None:
    """Refuses to let a simulator solve for the free state of a network that may have several equilibria.

    Raises:
        ValueError: for a stated start, for a field that is no network of leaky integrators, and for a loop gain of 1 or
            more.
    """
    network = require(field, AbstractLeakyIntegrator, "a circuit that starts from its operating point")
    if start is not None:
        raise ValueError("a start and the operating point exclude each other: give one of them")
    gain = loop_gain(network)
    if not gain < 1:
        raise ValueError(
            f"the loop gain is {gain:.3g}, and only below 1 is the operating point surely the state that the free "
            "phase settles in: run the free phase from a stated start"
        )


def sample_rows(name: str, value: ArrayLike, length: int) -> np.ndarray:
    """One sample or several as rows in float64.

    Raises:
        ValueError: for another length, and for NaN or infinity.
    """
    array = np.asarray(value, np.float64)
    if array.shape[-1:] != (length,) or array.ndim > 2 or array.size == 0:
        raise ValueError(f"{name} has shape {array.shape}, but one sample of this network needs ({length},)")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds NaN or infinity; remove or repair it")
    return array.reshape(-1, length)
