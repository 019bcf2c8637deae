"""`eqprop-field learn-in-circuit`: a circuit learns by itself, in one transient of ngspice."""

import dataclasses
import resource
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from .command import AbstractCommand, Outcome, Refused

if TYPE_CHECKING:
    from ..circuits import PlasticCircuit, SimulatorFailed, TaskSchedule, TrainingRecord
    from ..datasets import Voltages

_LONGEST_S = 7200.0  # of a run, wall clock
_COMPARED_ABOVE = 0.01  # of the targets' variance; below it nothing is left to compare


@dataclasses.dataclass(frozen=True, kw_only=True)
class LearnInCircuit(AbstractCommand):
    """Lets circuits learn a task in one transient of ngspice each, with no computation outside of it.

    Weights are voltages of capacitors; while beta is on, a current of presynaptic rate times change of the postsynaptic
    membrane charges them. Every seed draws the weights at time 0, and every seed is told: what share of circuits learns
    is a result. The same circuits learn as differential equations too (--no-twin leaves that out).

    Writes learning.csv (one row a seed and epoch), learning.png, of the first seed net.cir with its map and
    net.safetensors (as learnt), and summary.json.

    Example: eqprop-field learn-in-circuit --task xor --seeds 20 --out learning
    """

    task: Literal["xor", "regression", "digits"] = "xor"
    """Exclusive or (2-6-1), a parabola through nine points (1-8-1), or digits 0 to 3 of 4 x 4 pixels (16-8-4)."""
    level: Literal["behavioural", "transistor"] = "behavioural"
    """Ideal neurons and synapses, or MOS transistors in weak inversion."""
    multiplier: Literal["behavioural", "transistor"] = "behavioural"
    """What multiplies rate and change: an ideal source or, with --level transistor, a Gilbert cell."""
    model: Literal["level3", "bsim3"] = "level3"
    """The MOS model."""
    seeds: int = 1
    """Circuits: from --seed on."""
    epochs: Annotated[int | None, tyro.conf.arg(metavar="N", help_behavior_hint="(default: the task's)")] = None
    """How often every sample is shown."""
    workers: Annotated[int | None, tyro.conf.arg(metavar="N", help_behavior_hint="(default: one a core)")] = None
    """How many simulators run at once."""
    no_twin: bool = False
    """Leave the differential equations out."""
    out: Path = tyro.MISSING
    """The folder for the results."""

    def run(self) -> Outcome:
        self.choose_precision(1e-8)
        self._check()
        import jax

        from ..circuits import TASK_SCHEDULES, Batch, compile_plastic, learn_side_by_side, twin
        from ..datasets import voltages
        from .files import folder_for
        from .progress import bar, stages

        folder, task, lesson = folder_for(self.out), voltages(self.task), TASK_SCHEDULES[self.task]
        lesson = dataclasses.replace(lesson, epochs=self.epochs or lesson.epochs)
        seeds = range(self.seed, self.seed + self.seeds)
        order = lesson.order(len(task.x))
        networks = [lesson.network(jax.random.key(seed)) for seed in seeds]
        plastics = [
            compile_plastic(network, task.x, task.y, order, plasticity=lesson.plasticity, tests=task.test_x)
            for network in networks
        ]
        level = self._level()
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        with bar(f"{self.task} in {len(seeds)} circuits") as tell:
            end = level.scaling.second(plastics[0].circuit.total_time)
            watch = (lambda t: tell(round(1000 * t / end), 1000)) if len(seeds) == 1 else None
            engine = Batch(timeout_s=_LONGEST_S, watch=watch)
            courses = learn_side_by_side(
                plastics,
                level=level,
                multiplier=self.multiplier,
                engine=engine,
                workers=self.workers,
                progress=None if len(seeds) == 1 else tell,
            )
        seconds = (resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before) / len(seeds)
        twins = None
        if not self.no_twin:
            with stages([f"ODE twin of seed {seed}" for seed in seeds]) as done:
                twins = [_done(twin(plastic, edge=level.edge), done) for plastic in plastics]
        summary = _told(lesson, task, list(seeds), courses, twins)
        summary |= {"task": self.task, "level": self.level, "multiplier": self.multiplier, "epochs": lesson.epochs}
        summary |= {"cpu_seconds": seconds, "out": str(folder)}
        summary["files"] = _write(folder, self, lesson, task, networks[0], plastics[0], courses, twins, summary)
        return Outcome(summary, _lines(summary), _failure(summary))

    def _level(self) -> Any:
        from ..circuits import LEARNING, Behavioural, Transistor

        if self.level == "behavioural":
            return Behavioural(accuracy=LEARNING)
        return Transistor(accuracy=LEARNING, cell="gilbert", model=self.model)

    def _check(self) -> None:
        for option, count in (("--seeds", self.seeds), ("--epochs", self.epochs), ("--workers", self.workers)):
            if count is not None and count < 1:
                raise Refused(f"{option} {count}: give at least 1")
        if self.level == "behavioural" and (self.multiplier, self.model) != ("behavioural", "level3"):
            raise Refused("--multiplier transistor and --model are options of --level transistor")


def _done(course: "TrainingRecord", tell: Any) -> "TrainingRecord":
    tell()
    return course


def _told(
    lesson: "TaskSchedule",
    task: "Voltages",
    seeds: list[int],
    courses: "list[TrainingRecord | SimulatorFailed]",
    twins: "list[TrainingRecord] | None",
) -> dict[str, Any]:
    """What became of every seed."""
    import numpy as np

    from ..circuits import SimulatorFailed

    rows = []
    for k, (seed, course) in enumerate(zip(seeds, courses, strict=True)):
        if isinstance(course, SimulatorFailed):
            rows.append({"seed": seed, "failed": str(course).splitlines()[0], "learnt": False})
            continue
        loss = course.unlearnt(len(task.x))
        row = {"seed": seed, "loss": float(loss[-1]), "learnt": bool(loss[-1] <= lesson.learnt)}
        if task.y.shape[1] > 1:
            row["test_accuracy"] = float(np.mean(course.tested.argmax(axis=1) == task.test_y.argmax(axis=1)))
        else:
            spread = np.mean((task.test_y - task.test_y.mean()) ** 2)
            row["test_loss"] = float(np.mean((course.tested - task.test_y) ** 2) / spread)
        if twins is not None:
            equations = twins[k].unlearnt(len(task.x))
            row["twin_loss"] = float(equations[-1])
            compared = equations > _COMPARED_ABOVE
            apart = np.abs(loss - equations)[compared] / equations[compared]
            row |= {"twin_apart_median": float(np.median(apart)), "twin_apart": float(apart.max())}
        rows.append(row)
    return {"seeds": rows, "learnt": sum(row["learnt"] for row in rows), "circuits": len(rows)}


def _lines(summary: dict[str, Any]) -> list[str]:
    rows = [row for row in summary["seeds"] if "loss" in row]
    lines = [
        f"learnt            {summary['learnt']} of {summary['circuits']} circuits, in {summary['epochs']} epochs",
        f"ngspice           {summary['cpu_seconds']:.1f} CPU seconds a circuit",
    ]
    for key, name, form in (
        ("loss", "loss / variance", ".2g"),
        ("test_accuracy", "test accuracy", ".0%"),
        ("test_loss", "loss of the tests", ".2g"),
        ("twin_apart", "farthest from ODE", ".2%"),
    ):
        values = sorted(row[key] for row in rows if key in row)
        if len(values) == 1:
            lines.append(f"{name:18s}{values[0]:{form}}")
        elif values:
            middle = values[len(values) // 2]
            lines.append(f"{name:18s}median {middle:{form}}, from {values[0]:{form}} to {values[-1]:{form}}")
    lines += [f"seed {row['seed']} failed    {row['failed']}" for row in summary["seeds"] if "failed" in row]
    return [*lines, f"written to        {summary['out']}: {', '.join(summary['files'])}"]


def _failure(summary: dict[str, Any]) -> str | None:
    if 2 * summary["learnt"] >= summary["circuits"]:
        return None
    return f"{summary['learnt']} of {summary['circuits']} circuits learnt: give more --epochs, or another --seed"


def _write(
    folder: Path,
    command: LearnInCircuit,
    lesson: "TaskSchedule",
    task: "Voltages",
    network: Any,
    plastic: "PlasticCircuit",
    courses: "list[TrainingRecord | SimulatorFailed]",
    twins: "list[TrainingRecord] | None",
    summary: dict[str, Any],
) -> list[str]:
    """Writes the files; returns their names."""
    import numpy as np

    from .. import plotting
    from ..circuits import SimulatorFailed, plastic_netlist
    from ..storage import save_network
    from .files import write_summary, write_table

    size, nothing = len(task.x), np.full(lesson.epochs, np.nan)
    losses = np.stack([nothing if isinstance(c, SimulatorFailed) else c.unlearnt(size) for c in courses])
    equations = None if twins is None else np.stack([one.unlearnt(size) for one in twins])
    columns = {"loss": losses} if equations is None else {"loss": losses, "twin_loss": equations}
    write_table(
        folder / "learning.csv",
        (
            {"seed": row["seed"], "epoch": epoch + 1, **{name: table[k, epoch] for name, table in columns.items()}}
            for k, row in enumerate(summary["seeds"])
            for epoch in range(lesson.epochs)
        ),
    )
    netlist = plastic_netlist(plastic, command._level(), multiplier=command.multiplier)
    files = ["learning.csv", *(path.name for path in netlist.write(folder / "net.cir"))]
    first = courses[0]
    if not isinstance(first, SimulatorFailed):
        save_network(folder / "net.safetensors", first.field(network))
        layers, names = first.plastic.kinds
        shown = first.weights[: first.learning]
        axes = plotting.in_circuit(losses, shown, layers, names, twins=equations, learnt=lesson.learnt)
        plotting.save(axes[0].figure, folder / "learning.png")
        files += ["net.safetensors", "learning.png"]
    files.append("summary.json")
    write_summary(folder, summary | {"files": files})
    return files
