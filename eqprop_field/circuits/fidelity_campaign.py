"""Campaigns on circuits: one network's updates on many circuits, which of them pass, and what all such runs share."""

import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, Bool, Float

from .._arrays import checked_pair
from ..results import AbstractResult
from ..storage import describe
from ..substrates.solution import Verdict
from ..vector_fields import AbstractVectorField
from .campaign import run_campaign
from .conditions import Conditions
from .ngspice import AbstractEngine, Batch, Shared
from .pool import AbstractTask, Row
from .update_fidelity import failure_of, update_fidelity

JUDGED = ("cosine_to_ideal_eqprop", "cosine_to_chip_gradient")
TITLES = {JUDGED[0]: "ideal EqProp", JUDGED[1]: "the chip's own gradient"}


class CampaignOptions(TypedDict, total=False):
    """How the circuits of a campaign are run.

    Attributes:
        seed: of all chips; chip k has the key fold_in(key(seed), k). 0 by default.
        path: the HDF5 file that keeps the rows while they come, see `run_campaign`; None, the default, keeps none.
        engine: what runs ngspice in every worker: a process for every netlist ("batch", the default), or libngspice.
        workers: how many processes on this machine; one for each core by default.
        scheduler: the address of a Dask scheduler whose workers do it instead.
        progress: called with the runs done and their number.
    """

    seed: int
    path: str | os.PathLike[str] | None
    engine: Literal["batch", "shared"]
    workers: int | None
    scheduler: str | None
    progress: Callable[[int, int], None] | None


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run of a campaign on circuits.

    Attributes:
        parameter: what is swept, or what the run is called.
        value: the parameter's.
        chip: the chip's number.
        conditions: what the circuit is like.
    """

    parameter: str
    value: float
    chip: int
    conditions: Conditions


class FidelityCampaign(AbstractTask):
    """The fidelity of a network's updates in every cell; a row has the cell's names and the numbers of `Fidelity`."""

    def __init__(
        self,
        field: AbstractVectorField,
        x: ArrayLike,
        y: ArrayLike,
        cells: Sequence[Cell],
        *,
        seed: int = 0,
        engine: Literal["batch", "shared"] = "batch",
    ) -> None:
        """Checks the samples; arguments as for `update_fidelity`, and what runs ngspice in every worker.

        Raises:
            ValueError: for samples that do not fit the network.
        """
        checked_pair(x, y, (field.n_inputs, field.n_outputs), field.dtype)
        self.field: AbstractVectorField = jax.tree.map(np.asarray, field)
        self.x, self.y = np.asarray(x, field.dtype), np.asarray(y, field.dtype)
        self.cells = tuple(cells)
        self.seed = seed
        self.engine = engine

    def __len__(self) -> int:
        return len(self.cells)

    def __call__(self, index: int) -> Row:
        cell = self.cells[index]
        # The network's own precision, whatever the worker's is set to.
        with jax.enable_x64(self.x.dtype == np.float64):
            field = jax.tree.map(jnp.asarray, self.field)
            found = update_fidelity(
                field, self.x, self.y, cell.conditions, chip=cell.chip, seed=self.seed, engine=_engine(self.engine)
            )
        return {"parameter": cell.parameter, "value": cell.value, "chip": cell.chip, **dataclasses.asdict(found)}

    def describe(self) -> dict[str, Any]:
        arrays = [np.asarray(leaf) for leaf in jax.tree.leaves(self.field)] + [self.x, self.y]
        return {
            "kind": "fidelity",
            "network": describe(self.field),
            "arrays": _digest(array.tobytes() for array in arrays),
            "seed": self.seed,
            "cells": _digest(repr(cell).encode() for cell in self.cells),
            "runs": len(self.cells),
        }


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class AbstractFidelityRuns(AbstractResult):
    """The fidelity of a network's updates in many runs.

    A run passes if all its phases came to rest and the cosine that is judged is at least `passing`.

    Attributes:
        runs: one row a run, with the numbers of `Fidelity`.
        passing: the least cosine.
        path: the HDF5 file with the rows, or None.
    """

    runs: Sequence[Row]
    passing: float = dataclasses.field(default=0.95, kw_only=True)
    path: Path | None = dataclasses.field(default=None, kw_only=True)

    @property
    def at_rest(self) -> Bool[np.ndarray, " runs"]:
        """Which runs came to rest in all their phases."""
        return at_rest(self.runs)

    def column(self, measure: str) -> Float[np.ndarray, " runs"]:
        """One measure of every run."""
        return column(self.runs, measure)

    @property
    def failure(self) -> str | None:
        return failure_of(self.runs)

    def _write(self, folder: Path) -> list[str]:
        kept = [] if self.path is None or self.path.parent.resolve() != folder.resolve() else [self.path.name]
        return [*kept, *super()._write(folder)]


def column(runs: Sequence[Row], measure: str) -> Float[np.ndarray, " runs"]:
    """One measure of every run."""
    return np.array([row[measure] for row in runs], float)


def at_rest(runs: Sequence[Row]) -> Bool[np.ndarray, " runs"]:
    """Which runs came to rest in all their phases."""
    return np.array([row["verdict"] == Verdict.converged.name for row in runs], bool)


def passed(runs: Sequence[Row], passing: float) -> dict[str, float]:
    """The share of all runs that pass, by the cosine that is judged."""
    rest = at_rest(runs)
    return {name: float(np.mean(rest & (column(runs, name) >= passing))) for name in JUDGED}


def check_passing(passing: float) -> None:
    """Refuses what is no cosine, with a ValueError."""
    if not -1 <= passing <= 1:
        raise ValueError(f"passing={passing!r}: a cosine lies between -1 and 1, such as 0.95")


def run_cells(
    field: AbstractVectorField, x: ArrayLike, y: ArrayLike, cells: Sequence[Cell], **options: Unpack[CampaignOptions]
) -> list[Row]:
    """The rows of a campaign. Raises as `run_campaign` does."""
    task = FidelityCampaign(field, x, y, cells, seed=options.get("seed", 0), engine=options.get("engine", "batch"))
    return run_campaign(
        task,
        options.get("path"),
        workers=options.get("workers"),
        scheduler=options.get("scheduler"),
        progress=options.get("progress"),
    )


def kept_in(options: CampaignOptions) -> Path | None:
    """The file that the rows are kept in."""
    path = options.get("path")
    return None if path is None else Path(path)


@functools.cache
def _engine(name: str) -> AbstractEngine:
    """One a process."""
    return Batch() if name == "batch" else Shared()


def _digest(parts: Iterable[bytes]) -> str:
    sum_of_all = hashlib.sha256()
    for part in parts:
        sum_of_all.update(hashlib.sha256(part).digest())
    return sum_of_all.hexdigest()
