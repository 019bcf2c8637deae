"""The options that put a circuit into the loop of training."""

import dataclasses
import math
import os
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from .command import Refused

if TYPE_CHECKING:
    from ..circuits import NgspiceSubstrate
    from ..training import Recipe

_RELTOL, _MAX_STEP = 1e-3, 0.5  # phases are judged by where they end, not by their way there
_Time = Annotated[float | None, tyro.conf.arg(metavar="TIME", help_behavior_hint="(default: 40, 30 where nudged)")]
_Workers = Annotated[int | None, tyro.conf.arg(metavar="N", help_behavior_hint="(default: one a core)")]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CircuitInTheLoop:
    """Where the phases run."""

    substrate: Literal["equilibrium", "circuit"] = "equilibrium"
    """A fixed-point solver, or ngspice."""
    level: Literal["behavioural", "crossbar", "opamp", "ota", "transistor"] = "behavioural"
    """With --substrate circuit: what the circuit is built of."""
    free_time: _Time = None
    """With --substrate circuit: duration of a free phase, in time constants."""
    nudged_time: _Time = None
    """With --substrate circuit: duration of a nudged phase."""
    workers: _Workers = None
    """With --substrate circuit: how many simulators run at once."""

    def build(self, recipe: "Recipe") -> "NgspiceSubstrate | None":
        """The circuit as a substrate, with the recipe's tolerance; None without one.

        Raises:
            Refused: for options of the circuit without it, and for numbers without meaning.
            NgspiceMissing: if there is no ngspice.
        """
        if self.substrate != "circuit":
            if self != CircuitInTheLoop():
                raise Refused("--level, --free-time, --nudged-time and --workers belong to --substrate circuit")
            return None
        for option, time in (("--free-time", self.free_time), ("--nudged-time", self.nudged_time)):
            if time is not None and not 0 < time < math.inf:
                raise Refused(f"{option} {time:g}: give a positive number of time constants")
        if self.workers is not None and self.workers < 1:
            raise Refused(f"--workers {self.workers}: give at least 1")
        from ..circuits import LEVELS, Accuracy, NgspiceSubstrate, find_ngspice

        find_ngspice()
        workers = self.workers or os.cpu_count() or 1
        level = LEVELS[self.level]
        return NgspiceSubstrate(
            level=level(accuracy=Accuracy(_RELTOL, _MAX_STEP)),  # pyright: ignore[reportCallIssue]  every level is a dataclass that has it
            free_time=self.free_time or 40.0,
            nudged_time=self.nudged_time or 30.0,
            tol=recipe.tol,
            workers=workers,
            samples_per_run=math.ceil(recipe.settings.batch_size / workers),
        )

    def told(self) -> str:
        """The substrate in a word or two, for the summary."""
        return self.substrate if self.substrate != "circuit" else f"circuit, {self.level}"
