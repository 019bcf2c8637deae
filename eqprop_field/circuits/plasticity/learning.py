"""Circuits that learn a task by themselves, one a seed: how many of them learn it, and how far from their equations."""

import dataclasses
import functools
import math
import os
import resource
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import jax
import numpy as np
from jaxtyping import Float

from ...datasets.voltages import Voltages, voltages
from ...results import AbstractResult, known, with_unit
from ...storage import save_network
from ...vector_fields import AbstractVectorField
from ..conditions import Conditions
from ..levels import AbstractLevel, Behavioural, Netlist
from ..ngspice import AbstractEngine, Batch, SimulatorFailed
from .netlist import Multiplier, plastic_netlist
from .plan import PlasticCircuit, compile_plastic
from .record import LEARNING, TrainingRecord, run_plastics
from .reference_ode import reference_ode
from .schedules import TASK_SCHEDULES, TaskSchedule

_LONGEST_S = 7200.0  # of a run, wall clock
_COMPARED_ABOVE = 0.01  # of the targets' variance; below it nothing is left to compare
_PARTS = 1000  # of a run, for the progress
_ENERGIES = ("joules_training", "joules_inference")
_joules = functools.partial(with_unit, unit="J")
_TOLD: dict[str, tuple[str, Callable[[float], str]]] = {  # what rows say of a circuit: its name, and how it is written
    "loss": ("loss / variance", "{:.2g}".format),
    "test_accuracy": ("test accuracy", "{:.0%}".format),
    "test_loss": ("loss of the tests", "{:.2g}".format),
    "ode_difference": ("farthest from ODE", "{:.2%}".format),
    "joules_training": ("energy of training", _joules),
    "joules_inference": ("of an inference", _joules),
}


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class CircuitLearning(AbstractResult):
    """The training records of several circuits on one task.

    Attributes:
        task: inputs, targets and tests.
        schedule: networks, plasticity and epochs.
        seeds: of the weights at time 0, one a circuit.
        records: what the circuits did; a failure of the simulator in its place.
        references: the same by the reference ODE, or None.
        network: the first circuit's network before it learnt.
        netlist: the first circuit's.
        cpu_seconds: of ngspice, the circuits' mean.
    """

    stem: ClassVar[str] = "learning"
    task: Voltages
    schedule: TaskSchedule
    seeds: tuple[int, ...]
    records: tuple[TrainingRecord | SimulatorFailed, ...]
    references: tuple[TrainingRecord, ...] | None
    network: AbstractVectorField
    netlist: Netlist
    cpu_seconds: float

    @property
    def losses(self) -> Float[np.ndarray, "seeds epochs"]:
        """The mean cost of every epoch as a share of the targets' variance; NaN where the simulator failed."""
        return self._losses(self.records)

    @property
    def reference_losses(self) -> Float[np.ndarray, "seeds epochs"] | None:
        """The same by the reference ODE."""
        return None if self.references is None else self._losses(self.references)

    def _losses(self, records: Sequence[TrainingRecord | SimulatorFailed]) -> Float[np.ndarray, "seeds epochs"]:
        nothing = np.full(self.schedule.epochs, np.nan)
        size = len(self.task.x)
        return np.stack([nothing if isinstance(r, SimulatorFailed) else r.relative_loss(size) for r in records])

    def rows(self) -> list[dict[str, Any]]:
        """One row a seed and epoch: `seed`, `epoch`, `loss` and, with the reference ODE, `ode_loss`."""
        columns = {"loss": self.losses}
        if (equations := self.reference_losses) is not None:
            columns["ode_loss"] = equations
        return [
            {"seed": seed, "epoch": epoch + 1, **{name: float(table[k, epoch]) for name, table in columns.items()}}
            for k, seed in enumerate(self.seeds)
            for epoch in range(self.schedule.epochs)
        ]

    def circuits(self) -> list[dict[str, Any]]:
        """One row a seed: the last loss, whether the task is learnt, the tests, the difference from the ODE, and, where
        there are supplies, the joules of the training and of an inference, the free phase of a test.
        """
        losses, equations = self.losses, self.reference_losses
        rows = []
        for k, (seed, record) in enumerate(zip(self.seeds, self.records, strict=True)):
            if isinstance(record, SimulatorFailed):
                rows.append({"seed": seed, "failed": str(record).splitlines()[0], "learnt": False})
                continue
            loss = float(losses[k, -1])
            row = {"seed": seed, "loss": loss, "learnt": loss <= self.schedule.passing_loss, **self._tests(record)}
            if equations is not None:
                row |= _difference(losses[k], equations[k])
            rows.append(row | {name: joules for name in _ENERGIES if (joules := getattr(record, name)) == joules})
        return rows

    def _tests(self, record: TrainingRecord) -> dict[str, float]:
        """The accuracy of a classification, or the loss as a share of the test targets' variance."""
        expected = self.task.test_y
        if expected.shape[1] > 1:
            return {"test_accuracy": float(np.mean(record.tested.argmax(axis=1) == expected.argmax(axis=1)))}
        variance = np.mean((expected - expected.mean()) ** 2)
        return {"test_loss": float(np.mean((record.tested - expected) ** 2) / variance)}

    def summary(self) -> dict[str, Any]:
        rows = self.circuits()
        return {
            "seeds": rows,
            "learnt": sum(row["learnt"] for row in rows),
            "circuits": len(rows),
            "task": self.task.name,
            "epochs": self.schedule.epochs,
            "cpu_seconds": self.cpu_seconds,
            "circuit_seconds": self.netlist.end_s,
            **{name: known(np.median([row.get(name, math.nan) for row in rows])) for name in _ENERGIES},
        }

    @property
    def failure(self) -> str | None:
        """One sentence where fewer than half of the circuits learnt."""
        learnt, circuits = sum(row["learnt"] for row in self.circuits()), len(self.seeds)
        if 2 * learnt >= circuits:
            return None
        return f"{learnt} of {circuits} circuits learnt: give more epochs, or other seeds"

    def lines(self) -> list[str]:
        rows, span = self.circuits(), with_unit(self.netlist.end_s, "s")
        lines = [
            f"learnt              {sum(row['learnt'] for row in rows)} of {len(rows)} circuits, in "
            f"{self.schedule.epochs} epochs",
            f"ngspice             {self.cpu_seconds:.1f} CPU seconds a circuit, for {span}",
        ]
        for key, (name, told) in _TOLD.items():
            values = sorted(row[key] for row in rows if key in row)
            if len(values) == 1:
                lines.append(f"{name:20s}{told(values[0])}")
            elif values:
                middle, low, high = map(told, (values[len(values) // 2], values[0], values[-1]))
                lines.append(f"{name:20s}median {middle}, from {low} to {high}")
        return lines + [f"seed {row['seed']} failed: {row['failed']}" for row in rows if "failed" in row]

    def _write(self, folder: Path) -> list[str]:
        """The table and the picture; of the first circuit the netlist with its map, and the network that it learnt."""
        files = [*super()._write(folder), *(path.name for path in self.netlist.write(folder / "net.cir"))]
        if isinstance(self.records[0], SimulatorFailed):
            return files
        save_network(folder / "net.safetensors", self.records[0].field(self.network))
        return [*files, "net.safetensors"]


def _difference(loss: np.ndarray, equations: np.ndarray) -> dict[str, float]:
    """How far a circuit's losses are from the ODE's, relative to these, while there is a loss to speak of."""
    compared = equations > _COMPARED_ABOVE
    apart = np.abs(loss - equations)[compared] / equations[compared]
    found = {"ode_loss": float(equations[-1])}
    if len(apart):
        found |= {"ode_difference_median": float(np.median(apart)), "ode_difference": float(apart.max())}
    return found


def learn_in_circuit(
    task: str | Voltages = "xor",
    seeds: Sequence[int] = (0,),
    *,
    schedule: TaskSchedule | None = None,
    epochs: int | None = None,
    level: AbstractLevel | None = None,
    multiplier: Multiplier = "behavioural",
    foundry_mismatch: bool = False,
    with_reference: bool = True,
    engine: AbstractEngine | None = None,
    keep_raw: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> CircuitLearning:
    """Lets circuits learn a task, each in ONE transient of ngspice with no computation outside of it.

    Weights are voltages of capacitors; while beta is on, a current of presynaptic rate times change of the postsynaptic
    membrane charges them, see `Plasticity`.

    Args:
        task: one of `xor`, `regression` and `digits`, or a task of your own.
        seeds: one circuit each, with the weights at time 0 drawn from key(seed).
        schedule: networks, plasticity and epochs; `TASK_SCHEDULES` has them for the named tasks.
        epochs: how often every sample is shown, instead of the schedule's.
        level: what circuits are built of, `Behavioural(accuracy=LEARNING)` by default; see `plastic_netlist`.
        multiplier: what their plasticity is built of.
        foundry_mismatch: whether each circuit is a chip with transistors of its own, as the foundry says; they are
            drawn as those of the chip with that seed's key.
        with_reference: whether the reference ODE learns beside each of them.
        engine: what runs netlists; `Batch` with a limit of two hours by default, and with this `keep_raw`.
        workers: how many simulators run at once; one for each core by default.
        progress: called with what is done and its number.

    Raises:
        ValueError: for a task without a schedule, no seeds or epochs, and as `plastic_netlist`.
        NgspiceMissing: if there is no ngspice. A simulator that FAILS takes the place of its record.
    """
    task = voltages(task) if isinstance(task, str) else task
    if (schedule := schedule or TASK_SCHEDULES.get(task.name)) is None:
        raise ValueError(f"there is no schedule for the task {task.name!r}: give one")
    schedule = dataclasses.replace(schedule, epochs=schedule.epochs if epochs is None else epochs)
    if not seeds or schedule.epochs < 1:
        raise ValueError("give at least one seed and one epoch")
    level = level or Behavioural(accuracy=LEARNING)
    conditions = Conditions(level=level, foundry_mismatch=foundry_mismatch)
    levels = [conditions.level_of(jax.random.key(seed)) for seed in seeds]
    networks = [schedule.network(jax.random.key(seed)) for seed in seeds]
    order, rule = schedule.order(len(task.x)), schedule.plasticity
    plastics = [compile_plastic(n, task.x, task.y, order, plasticity=rule, tests=task.test_x) for n in networks]
    total = _PARTS * len(seeds) * (1 + with_reference)
    report = progress or (lambda done, total: None)
    engine = engine or dataclasses.replace(_patient(plastics, level, report, total), keep_raw=keep_raw)
    options = {"level": levels, "multiplier": multiplier, "engine": engine, "workers": workers}
    records, seconds = _timed(plastics, options, lambda done, _: report(_PARTS * done, total))
    references = []
    for done, plastic in enumerate(plastics if with_reference else [], len(seeds) + 1):
        references.append(reference_ode(plastic, edge=level.edge))
        report(_PARTS * done, total)
    return CircuitLearning(
        task=task,
        schedule=schedule,
        seeds=tuple(seeds),
        records=tuple(records),
        references=tuple(references) if with_reference else None,
        network=networks[0],
        netlist=plastic_netlist(plastics[0], levels[0], multiplier=multiplier),
        cpu_seconds=seconds,
    )


def _patient(
    plastics: Sequence[PlasticCircuit], level: AbstractLevel, report: Callable[[int, int], None], total: int
) -> Batch:
    """An engine for long runs: several at once say how many are done, one how far it is."""
    end_s = level.scaling.second(plastics[0].circuit.total_time)
    watch = (lambda now_s: report(round(_PARTS * now_s / end_s), total)) if len(plastics) == 1 else None
    return Batch(timeout_s=_LONGEST_S, watch=watch)


def _timed(
    plastics: Sequence[PlasticCircuit], options: dict[str, Any], progress: Callable[[int, int], None]
) -> tuple[list[TrainingRecord | SimulatorFailed], float]:
    """The records, and ngspice's CPU seconds for one of them."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    records = run_plastics(plastics, **options, progress=progress)
    return records, (resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before) / len(plastics)
