"""From a vector field and one sample to a circuit."""

import math
from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import ArrayLike

from eqprop_field.costs import Quadratic
from eqprop_field.substrates.nudging import AbstractNudge, CostNudge
from eqprop_field.vector_fields import AbstractVectorField

from .ir import Circuit, Synapses, Window


def compile_circuit(
    field: AbstractVectorField,
    x: ArrayLike,
    y: ArrayLike | None,
    schedule: Sequence[Window],
    *,
    start: ArrayLike | None = None,
    fold_inputs: bool = True,
) -> Circuit:
    """Compiles a field and ONE sample into the circuit that realises both phases.

    Args:
        field: what moves.
        x: the sample's firing rates (inputs,).
        y: the targets of the output neurons (outputs,), or None where no window nudges.
        schedule: the windows, for example from `circuits.schedule`.
        start: the flattened initial state (neurons,); rest, s = 0, by default.
        fold_inputs: whether W_in x + b becomes one constant current a neuron (fast) rather than a source for each
            input and an element for each input synapse.

    Returns:
        The circuit, in dimensionless units and float64.

    Raises:
        ValueError: for a field that is no network of leaky integrators, for x or y that do not fit the field, and for
            NaN or infinity anywhere.
    """
    if not field.leaky_integrators:
        raise ValueError(
            f"a circuit of leaky integrators is W rho(s) + W_in x + b - s, and {type(field).__name__} is not: its mu "
            "multiplies the synaptic current by rho'(s), which no level builds; use a GraphField with symmetry 1 (the "
            "same network for the clipped hard sigmoid), or an ODE substrate"
        )
    if field.projected and field.free_outputs:
        raise ValueError(
            "no level builds output neurons without the clamp that the others have: use free_outputs=False, or an ODE "
            "substrate"
        )
    x = _vector("x", x, field.n_inputs)
    target = None if y is None else _vector("y", y, field.n_outputs)
    input_weights, biases = (np.asarray(part, np.float64) for part in field.input_matrix())
    if not (np.isfinite(input_weights).all() and np.isfinite(biases).all()):
        raise ValueError("the input weights or biases hold NaN or infinity; no circuit can be built from that")
    rates, seen = (np.zeros(0), input_weights[:, :0]) if fold_inputs else (x, input_weights)
    low, high = field.bounds
    n = field.n_neurons
    return Circuit(
        activation=field.activation.name,
        bounds=None if math.isinf(low) and math.isinf(high) else (float(low), float(high)),
        groups=tuple(math.prod(leaf.shape[1:]) for leaf in jax.tree.leaves(field.initial_state(1))),
        tau=np.concatenate([np.ravel(np.asarray(t, np.float64)) for t in jax.tree.leaves(field.time_constants())]),
        synapses=Synapses.from_matrix(np.asarray(field.recurrent_matrix(), np.float64)),
        start=np.zeros(n) if start is None else _vector("start", start, n),
        target=target,
        schedule=tuple(schedule),
        drive=biases + input_weights @ x if fold_inputs else biases,
        input_rates=rates,
        input_synapses=Synapses.from_matrix(seen),
    )


def nudge_of(nudge: AbstractNudge) -> tuple[float, np.ndarray]:
    """The influence parameter and the targets (batch, outputs) of a nudge that a circuit can build.

    Raises:
        ValueError: for anything but a real nudge of the quadratic cost, whose force is one linear current.
    """
    if not isinstance(nudge, CostNudge) or not isinstance(nudge.cost, Quadratic):
        what = type(nudge.cost if isinstance(nudge, CostNudge) else nudge).__name__
        raise ValueError(
            f"the circuit builds the nudge of the quadratic cost, beta (y - s), and has no current for {what}; "
            "use Quadratic, or an ODE substrate"
        )
    beta = np.asarray(nudge.beta)
    if np.iscomplexobj(beta):
        raise ValueError("a circuit has real voltages: a complex beta (holomorphic nudging) needs an ODE substrate")
    return float(beta), np.asarray(nudge.target, np.float64)


def _vector(name: str, value: ArrayLike, length: int) -> np.ndarray:
    array = np.asarray(value, np.float64)
    if array.shape != (length,):
        raise ValueError(f"{name} has shape {array.shape}, but one sample of this network needs ({length},)")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds NaN or infinity; remove or repair it")
    return array
