"""What commands that run many circuits have in common."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from .arguments import NetworkFile, NudgeOptions, OptionalFile
from .command import AbstractCommand, Refused
from .level import LevelOptions

if TYPE_CHECKING:
    from ..circuits import Cell, Conditions

MEASURES = (
    "eqprop",
    "own",
    "nominal",
    "worst",
    "settling_free",
    "settling_nudged",
    "joules_inference",
    "joules_update",
    "settled",
    "failed",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AbstractCampaign(AbstractCommand):
    """A command that runs a network on many circuits."""

    net: NetworkFile
    """The network file."""
    input: OptionalFile = None
    """x.npy, as for `simulate`; without it, samples are random."""
    target: OptionalFile = None
    """y.npy, as for `simulate`."""
    samples: int = 4
    """Random samples."""
    nudge: NudgeOptions = dataclasses.field(default_factory=lambda: NudgeOptions(nudging="symmetric"))
    time: float = 40.0
    """Length of every phase, in time constants."""
    circuit: LevelOptions = dataclasses.field(default_factory=LevelOptions)
    engine: Literal["batch", "shared"] = "batch"
    """What runs ngspice in every worker: a process of its own for every sample, or libngspice through PySpice."""
    workers: int = 0
    """Processes on this machine; 0 for one for each core."""
    scheduler: Annotated[str | None, tyro.conf.arg(metavar="ADDRESS", help_behavior_hint="")] = None
    """Dask scheduler whose workers do it instead, such as tcp://host:8786."""
    out: Path = tyro.MISSING
    """The folder for the results; a campaign that was broken off is taken up there."""

    def conditions(self, **more: Any) -> "Conditions":
        """What the options say about the circuit.

        Raises:
            ValueError: for options without meaning.
        """
        from ..circuits import FAST, Conditions

        level = self.circuit.build()
        if self.circuit.explicit_inputs:
            raise Refused("--explicit-inputs: campaigns fold the inputs; leave it away")
        if level.ideal:  # campaigns ask for settled states, not for the last digits of the way there
            level = dataclasses.replace(level, accuracy=dataclasses.replace(FAST, reltol=1e-5))
        symmetric = self.nudge.nudging == "symmetric"
        return Conditions(level=level, beta=self.nudge.beta, symmetric=symmetric, time=self.time, **more)

    def work(self, name: str, cells: "list[Cell]") -> tuple[Path, list[dict[str, Any]]]:
        """Runs the cells, keeps the rows in `NAME.h5` while they come and in `NAME.csv`; returns the folder and them.

        Raises:
            ValueError: as the library does.
            OSError: for files that cannot be written.
        """
        from ..circuits import FidelityCampaign, TaskFailed, WorkerDied, run_campaign
        from . import inputs
        from .files import folder_for, write_table
        from .progress import bar

        if self.workers < 0:
            raise Refused(f"--workers {self.workers}: give the number of processes, or 0 for one for each core")
        field = inputs.read_network(self.net)
        x, y = inputs.samples_or_random(field, self.input, self.target, self.seed, self.samples)
        folder = folder_for(self.out)
        task = FidelityCampaign(field, x, y, cells, seed=self.seed, engine=self.engine)
        with bar(f"{len(cells)} circuits") as told:
            try:
                rows = run_campaign(
                    task,
                    folder / f"{name}.h5",
                    workers=self.workers or None,
                    scheduler=self.scheduler,
                    progress=told,
                )
            except (TaskFailed, WorkerDied) as error:
                raise Refused(f"{error}; what was done is kept in {folder}") from error
        rows = [dict(row) for row in rows]
        write_table(folder / f"{name}.csv", rows)
        return folder, rows


def failure(rows: list[dict[str, Any]]) -> str | None:
    """One sentence if ngspice failed anywhere."""
    failed = sum(row["failed"] for row in rows)
    return f"ngspice gave no result for {failed} samples: the other samples' numbers stand" if failed else None
