"""A network and its samples as a netlist in a file, for any ngspice."""

import os
from collections.abc import Sequence
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike

from .._arrays import checked_pair
from ..costs import AbstractCost, Quadratic
from ..substrates.nudging import Nudging
from ..vector_fields import AbstractVectorField
from .levels import AbstractLevel, Behavioural, Netlist
from .playground import write_playground
from .substrate import NgspiceSubstrate
from .variation import AbstractChip


def export(
    field: AbstractVectorField,
    x: ArrayLike | Sequence[float],
    y: ArrayLike | Sequence[float],
    beta: float,
    path: str | os.PathLike[str],
    *,
    level: AbstractLevel | None = None,
    nudging: Literal["one-sided", "symmetric"] = "one-sided",
    free_time: float | None = None,
    nudged_time: float | None = None,
    tol: float = 1e-8,
    chip: AbstractChip | None = None,
    cost: AbstractCost | None = None,
    fold_inputs: bool = True,
    html: str | os.PathLike[str] | None = None,
) -> Netlist:
    """Writes the free and the nudged phases of a sample as ONE netlist, and the map of its nodes beside it.

    `ngspice -n -b net.cir -r out.raw` runs the netlist as it is; `net.map.json` says which neuron a node belongs to,
    how many volts a state of 1 has, and when the phases begin and end. States are the nodes s0, s1, ... in the order
    of `flatten_state`.

    Args:
        field: the network.
        x: the inputs' firing rates: one sample (inputs,), or several (samples, inputs) that are clamped in sequence.
        y: the targets of the output neurons' states, (outputs,) or (samples, outputs).
        beta: the influence parameter.
        path: the netlist's, such as `net.cir`; missing folders are made.
        level: how the circuit is built; `Behavioural()` by default.
        nudging: one nudged phase at beta, or two at beta and -beta.
        free_time: duration of the free phase, dimensionless; chosen from the ODE by default, see `NgspiceSubstrate`.
        nudged_time: duration of a nudged phase.
        tol: the residual that durations which are not given leave the time to reach.
        chip: the chip that the circuit is built on; None for nominal devices.
        cost: C, which nudges; `Quadratic()` by default.
        fold_inputs: whether W_in x + b becomes one current a neuron, see `compile_circuit`; never for a page.
        html: a page to write too, in which the netlist runs, see `playground.write_playground`; None for none.

    Returns:
        The netlist that was written.

    Raises:
        ValueError: for samples or a beta that do not fit, for a network that the level does not build, and for a page
            of several samples, or without the engine that it carries.
        OSError: for a file that cannot be written.
    """
    x, y = (jnp.atleast_2d(jnp.asarray(np.asarray(rows), field.dtype)) for rows in (x, y))
    x, y = checked_pair(x, y, (field.n_inputs, field.n_outputs), field.dtype)
    sides = Nudging.symmetric(beta) if nudging == "symmetric" else Nudging.one_sided(beta)
    level = Behavioural() if level is None else level
    substrate = NgspiceSubstrate(
        level=level,
        free_time=free_time,
        nudged_time=nudged_time,
        tol=tol,
        chip=chip,
        samples_per_run=len(x),
        fold_inputs=fold_inputs and html is None,
    )
    sides.check(field)
    (circuit,) = substrate.circuits(field, x, sides.nudges(Quadratic() if cost is None else cost, y))
    netlist = level.emit(circuit)
    if html is not None:
        write_playground(html, netlist, circuit)
    netlist.write(path)
    return netlist
