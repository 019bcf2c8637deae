"""Running both simulators on one network, and what is written about their agreement."""

import contextlib
import math
import os
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .. import plotting
from .._files import write_json, write_text
from ..analysis.simulation import dense_times
from ..circuits import AbstractLevel, Agreement, Batch, Netlist, Phase, SampleTrace, Shared, verify
from ..costs import Quadratic
from ..learning.base import compare_phases
from ..plotting.phases import layer_names
from ..storage import save_phases
from ..substrates import Nudging, Solution
from ..vector_fields import AbstractVectorField
from ..vector_fields.base import unflatten_state
from .progress import bar

_MOST_NETLISTS = 100  # written; the others differ in the sample only


def compare(
    field: AbstractVectorField,
    x: np.ndarray,
    y: np.ndarray,
    beta: float,
    tol: float,
    engine: str = "batch",
    level: AbstractLevel | None = None,
    fold_inputs: bool = True,
) -> Agreement:
    """Both phases of every sample in ngspice and by the ODE.

    Raises:
        NgspiceMissing: if there is no ngspice, or no libngspice or PySpice for the engine `shared`.
    """
    workers = min(len(x), os.cpu_count() or 1)
    with contextlib.ExitStack() as at_the_end, bar("running ngspice") as told:
        runs = Batch() if engine == "batch" else at_the_end.enter_context(Shared(workers=workers))
        return verify(
            field,
            x,
            y,
            beta,
            engine=runs,
            level=level,
            fold_inputs=fold_inputs,
            tol=tol,
            workers=workers,
            progress=told,
        )


def write_agreement(
    folder: Path, field: AbstractVectorField, x: np.ndarray, y: np.ndarray, beta: float, found: Agreement, points: int
) -> dict[str, Any]:
    """Writes phases.npz, agreement.json, the netlists, the log and the picture; returns the summary."""
    free, nudged = (_with_trajectory(field, found, i, beta, points) for i in (0, 1))
    estimate = compare_phases(
        Nudging.one_sided(beta), Quadratic(), field, jnp.asarray(x), jnp.asarray(y), free, (nudged,)
    )
    save_phases(folder / "phases.npz", field, free, nudged, estimate)
    files = ["phases.npz", *_write_netlists(folder, found.netlists)]
    write_text(folder / "ngspice.log", "".join(f"* sample {i}\n{log}\n" for i, log in enumerate(found.logs)))
    files.append("ngspice.log")
    axes = picture(field, found)
    if axes is not None:
        plotting.save(axes[0].figure, folder / "agreement.png")
        files.append("agreement.png")
    agreement = found.summary()
    write_json(folder / "agreement.json", agreement)
    return {**agreement, "samples": len(x), "beta": beta, "out": str(folder), "files": [*files, "agreement.json"]}


def picture(field: AbstractVectorField, found: Agreement) -> np.ndarray | None:
    """The Axes of the first sample that ngspice could simulate, or None."""
    trace = next((sample for sample in found.samples if sample is not None), None)
    if trace is None:
        return None
    onset, limit = float(trace.free_times[-1]), found.thresholds.trajectory
    times = np.concatenate([trace.free_times, onset + trace.nudged_times])
    ode = _by_layer(field, np.concatenate([trace.ode_free, trace.ode_nudged]))
    circuit = _by_layer(field, np.concatenate([trace.circuit_free, trace.circuit_nudged]))
    return plotting.agreement(times, ode, circuit, onset=onset, limit=limit if math.isfinite(limit) else None)


def _write_netlists(folder: Path, netlists: tuple[Netlist, ...]) -> list[str]:
    names = []
    for i, netlist in enumerate(netlists[:_MOST_NETLISTS]):
        written = netlist.write(folder / ("net.cir" if i == 0 else f"net_{i}.cir"))
        names += [path.name for path in written]
    return names


def _with_trajectory(field: AbstractVectorField, found: Agreement, phase: int, beta: float, points: int) -> Solution:
    """The measured phase with its trajectory at times common to the batch; NaN where ngspice failed."""
    kept = [s and _measured(s, beta)[phase] for s in found.samples]
    ends = [entry.times[-1] for entry in kept if entry is not None]
    measured = found.circuit[phase]
    if not ends:
        return measured
    times = dense_times(float(min(ends)), points)
    blank = np.full((points, field.n_neurons), np.nan)
    paths = np.stack([blank if entry is None else entry.at(times) for entry in kept], axis=1)
    rows = unflatten_state(field.initial_state(1), jnp.asarray(paths.reshape(-1, field.n_neurons), field.dtype))
    trajectory = jax.tree.map(lambda leaf: leaf.reshape(points, len(kept), -1), rows)
    return eqx.tree_at(
        lambda s: (s.times, s.trajectory),
        measured,
        (jnp.asarray(times, field.dtype), trajectory),
        is_leaf=lambda leaf: leaf is None,
    )


def _measured(sample: SampleTrace, beta: float) -> tuple[Phase, Phase]:
    nudged = Phase(beta, sample.nudged_times, sample.circuit_nudged)
    return Phase(0.0, sample.free_times, sample.circuit_free), nudged


def _by_layer(field: AbstractVectorField, flat: np.ndarray) -> dict[str, np.ndarray]:
    sizes = [leaf.shape[1] for leaf in jax.tree.leaves(field.initial_state(1))]
    return dict(zip(layer_names(field.initial_state(1)), np.split(flat, np.cumsum(sizes)[:-1], axis=1), strict=True))
