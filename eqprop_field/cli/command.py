"""What every command has: its common options, an outcome, and a place for its results."""

import abc
import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from .numbers import Seed

if TYPE_CHECKING:
    from ..results import AbstractResult


class Refused(ValueError):
    """An argument, a file or a machine that a command cannot work with; the message says what to change."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a command ended.

    Attributes:
        summary: what `--json` prints, made of JSON's own types.
        lines: what people read instead.
        failure: one sentence if the run failed its own verdict (exit code 1), else None.
    """

    summary: Mapping[str, Any]
    lines: Sequence[str]
    failure: str | None = None

    @classmethod
    def saved(
        cls, result: "AbstractResult", folder: Path | None, *, notes: Sequence[str] = (), **context: Any
    ) -> "Outcome":
        """How most commands end: the result is saved, with what else its summary shall hold, and its lines are shown.

        Args:
            result: what the command found.
            folder: where to; nothing is written without one.
            notes: lines to show after the result's.
            context: what else the summary shall hold.

        Raises:
            OSError: for files that cannot be written.
        """
        if folder is None:
            return cls(result.summary() | context, [*result.lines(), *notes], result.failure)
        summary = result.save(folder, **context)
        written = f"written to {folder}: {', '.join(summary['files'])}"
        return cls(summary, [*result.lines(), *notes, written], result.failure)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AbstractCommand(abc.ABC):
    """A command: its fields are its options, its docstring is its help."""

    seed: Seed = 0
    """Seed of every random draw."""
    x64: bool = False
    """Compute in float64."""
    json: bool = False
    """Print one JSON object on stdout, and everything else on stderr."""

    @abc.abstractmethod
    def run(self) -> Outcome:
        """Does the work.

        Raises:
            ValueError: for anything the user can mend (exit code 2).
            OSError: for files that cannot be read or written (exit code 2).
            NotSettledError: for phases that did not settle and left nothing worth writing (exit code 1).
        """

    def choose_precision(self, tol: float | None = None) -> None:
        """Switches JAX to float64 where it was asked for, or where float32 cannot reach the tolerance."""
        import jax

        if self.x64 or (tol is not None and tol < 1e-6):
            jax.config.update("jax_enable_x64", True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AbstractExperiment(AbstractCommand):
    """A command that writes a folder."""

    out: Path = tyro.MISSING
    """The folder for the results."""

    def folder(self) -> Path:
        """--out, as far as can be known before the work; raises Refused as `folder_for`."""
        return folder_for(self.out)


def folder_for(path: Path) -> Path:
    """The folder for results, as far as can be known before the work; it is made when the first file is written.

    Raises:
        Refused: where a file is in the way, or the place is not writable.
    """
    if path.exists() and not path.is_dir():
        raise Refused(f"--out {path} is a file: name a folder")
    _must_be_writable(path)
    return path


def place_for(path: Path, suffix: str, option: str = "--out") -> Path:
    """The path of a single result file, as far as can be known before the work.

    Raises:
        Refused: for a folder, another ending than `suffix`, or a place that is not writable.
    """
    if path.is_dir():
        raise Refused(f"{option} {path} is a folder: name a file, such as {path / ('net' + suffix)}")
    if path.suffix != suffix:
        raise Refused(f"{option} {path}: name a file that ends in {suffix}")
    _must_be_writable(path.parent, option)
    return path


def _must_be_writable(folder: Path, option: str = "--out") -> None:
    there = next((place for place in (folder, *folder.absolute().parents) if place.exists()), None)
    if there is not None and not there.is_dir():
        raise Refused(f"{option}: {there} is a file, and no folder can be made in it: choose another place")
    if there is None or not os.access(there, os.W_OK | os.X_OK):
        raise Refused(f"{option}: {folder} is not writable: choose a place you may write to")
