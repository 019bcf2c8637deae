"""What commands that run many circuits have in common."""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from .arguments import NetworkFile, NudgeOptions, OptionalFile, Times
from .command import AbstractExperiment, Outcome, Refused
from .level import LevelOptions
from .numbers import AtLeastOne, Workers

if TYPE_CHECKING:
    from ..circuits import AbstractLevel, Conditions
    from ..results import AbstractResult


@dataclasses.dataclass(frozen=True, kw_only=True)
class AbstractCampaign(AbstractExperiment):
    """A command that runs a network on many circuits; one that was broken off goes on in its folder."""

    net: NetworkFile
    """The network file."""
    input: OptionalFile = None
    """Firing rates, as for `simulate`: .npy, .npz[:NAME], .csv, or - for CSV on stdin; random by default."""
    target: OptionalFile = None
    """Target states, likewise."""
    samples: AtLeastOne = 4
    """Random samples."""
    nudge: NudgeOptions = dataclasses.field(default_factory=lambda: NudgeOptions(nudging="symmetric"))
    time: Times = (40.0, 40.0)
    """Duration of the free phase and of a nudged one, in time constants."""
    passing: float = 0.95
    """A chip at rest passes if its update has at least this cosine with that of ideal equilibrium propagation."""
    circuit: LevelOptions = dataclasses.field(default_factory=LevelOptions)
    engine: Literal["batch", "shared"] = "batch"
    """What runs ngspice in every worker: a process of its own for every sample, or libngspice through PySpice."""
    workers: Workers = None
    """Processes on this machine."""
    scheduler: Annotated[str | None, tyro.conf.arg(metavar="ADDRESS", help_behavior_hint="")] = None
    """Dask scheduler whose workers do it instead, such as tcp://host:8786; who reaches it can run code there."""

    @property
    def settling(self) -> LevelOptions:
        """The options of the circuit: campaigns ask for settled states, not for the last digits of the way there."""
        return dataclasses.replace(self.circuit, accuracy=self.circuit.accuracy or "normal")

    def conditions(self, level: "AbstractLevel | None" = None, **more: Any) -> "Conditions":
        """What the options say about a circuit, of this level where one is given.

        Raises:
            ValueError: for options without meaning.
        """
        from ..circuits import Conditions

        level = self.settling.build() if level is None else level
        if self.circuit.explicit_inputs:
            raise Refused("--explicit-inputs: campaigns fold the inputs; leave it away")
        times = {"time": self.time[0], "nudged_time": self.time[-1]}
        return Conditions(
            level=level, beta=self.nudge.beta, symmetric=self.nudge.nudging == "symmetric", **times, **more
        )

    def campaign(self, experiment: "Callable[..., AbstractResult]", *what: Any, **options: Any) -> Outcome:
        """Runs `fidelity` or `montecarlo` with the options that both have, keeps its rows in OUT, and saves its result.

        Raises:
            ValueError: as the library does.
            OSError: for files that cannot be written.
        """
        from .._progress import bar
        from ..circuits import TaskFailed, WorkerDied
        from . import inputs

        field = inputs.read_network(self.net)
        x, y = inputs.samples_or_random(field, self.input, self.target, self.seed, self.samples)
        folder = self.folder()
        options |= {"seed": self.seed, "path": folder / f"{experiment.__name__}.h5", "engine": self.engine}
        options["passing"] = self.passing
        options |= {"workers": self.workers, "scheduler": self.scheduler}
        try:
            with bar("circuits") as progress:
                result = experiment(field, x, y, *what, **options, progress=progress)
        except (TaskFailed, WorkerDied) as error:
            raise Refused(f"{error}; what was done is kept in {folder}") from error
        summary = {"level": self.circuit.level, **dataclasses.asdict(self.nudge), "time": list(self.time)}
        return Outcome.saved(result, folder, **summary)
