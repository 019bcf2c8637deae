"""One file from which a run goes on exactly where it was, after an epoch or within one."""

import dataclasses
import math
import time
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from .._files import write_atomically
from .._tensor_file import TensorFileError, described_tensors, tensor_file
from ..vector_fields.base import AbstractVectorField
from .metrics import Tally

CHECKPOINT = "checkpoint.safetensors"
_KEY = "eqprop_field_checkpoint"
_FORMAT = 1
_PARTS = ("field", "optimiser", "best", "visited", "tally")


class CheckpointError(ValueError):
    """A checkpoint is damaged, or belongs to another run; the message names which, and the file is untouched."""


@dataclasses.dataclass
class RunState:
    """Everything a run needs to go on, after an epoch or within one.

    Attributes:
        field: the network as learnt so far.
        optimiser: the optimiser's state.
        best: the network of the best epoch so far.
        visited: the free state of every sample's last visit, for warm starts; or None.
        history: one entry a finished epoch.
        batch: how many batches of the next epoch are done.
        tally: what their samples did.
        seconds: how long they took.
    """

    field: AbstractVectorField
    optimiser: PyTree
    best: AbstractVectorField
    history: list[dict[str, Any]]
    visited: PyTree | None = None
    batch: int = 0
    tally: Tally = dataclasses.field(default_factory=Tally.empty)
    seconds: float = 0.0

    @property
    def best_epoch(self) -> int:
        """The epoch with the lowest validation error, the last of equals: it has learnt more."""
        return min(reversed(self.history), key=lambda entry: entry["validation_error"])["epoch"]

    def record(self, entry: dict[str, Any]) -> None:
        """Ends an epoch: adds it to the history, and keeps its network if it is the best."""
        self.history.append(entry)
        if self.best_epoch == entry["epoch"]:
            self.best = self.field
        self.batch, self.tally, self.seconds = 0, Tally.empty(), 0.0

    def tensors(self) -> dict[str, np.ndarray]:
        """Every array, named by its place."""
        return {
            part + jax.tree_util.keystr(path): np.asarray(leaf)
            for part in _PARTS
            for path, leaf in jax.tree_util.tree_leaves_with_path(eqx.filter(getattr(self, part), eqx.is_array))
        }


@dataclasses.dataclass
class Checkpoint:
    """The checkpoint file of one run.

    Attributes:
        path: the file.
        run: what the run is (settings, network, first weights, rule, data), a JSON object; only an equal run may go on.
        every: seconds between two savings within an epoch.
        saved: when it was saved last, by `time.perf_counter`; at first, when the run began.
    """

    path: Path
    run: dict[str, Any]
    every: float
    saved: float = dataclasses.field(default_factory=time.perf_counter)

    @property
    def due(self) -> bool:
        """Whether it is time to save."""
        return time.perf_counter() - self.saved >= self.every

    def save(self, state: RunState) -> None:
        """Writes the file, whole or not at all.

        Raises:
            OSError: with one sentence, if it cannot be written.
        """
        place = {"batch": state.batch, "seconds": state.seconds}
        description = {"format": _FORMAT, "run": self.run, "history": state.history, **place}
        write_atomically(self.path, tensor_file(_KEY, description, state.tensors()))
        self.saved = time.perf_counter()

    def load(self, like: RunState, epochs: int, batches: int) -> RunState:
        """Where the run was; `like`, its beginning, if there is no file yet.

        A checkpoint of a version that had no checksums is read too; what it does not say of its run is not compared.

        Args:
            like: the beginning.
            epochs: how many the run is to have in the end, of so many `batches`.

        Raises:
            CheckpointError: if the file is damaged, belongs to another run, or is further than `epochs`.
        """
        if not self.path.exists():
            return like
        try:
            said, tensors = described_tensors(self.path, _KEY)
            history, batch, seconds = _place(said, batches)
        except TensorFileError as error:
            raise CheckpointError(f"{self.path} {error}; start without resuming, or put back a good copy") from error
        self._check_same_run(said["run"])
        expected = like.tensors()
        if "batch" not in said:  # of a version that saved between epochs only
            tensors |= {name: tensor for name, tensor in expected.items() if name.startswith("tally")}
        for name in sorted(expected.keys() | tensors.keys()):
            if name not in tensors or name not in expected or _form(tensors[name]) != _form(expected[name]):
                raise CheckpointError(f"{self.path} does not fit this network and optimiser at {name}; {_MEND}")
            if name.startswith(("field", "best")) and not np.isfinite(tensors[name]).all():
                raise CheckpointError(f"{self.path} is damaged: {name} holds NaN or infinity; put back a good copy")
        if len(history) + (batch > 0) > epochs:
            begun = f"has {len(history)} epochs behind it" + (" and has begun another" if batch else "")
            raise CheckpointError(f"{self.path} {begun}, and epochs={epochs} are asked for: ask for more")
        parts = {part: _filled(getattr(like, part), part, tensors) for part in _PARTS}
        return RunState(**parts, history=history, batch=batch, seconds=seconds)

    def _check_same_run(self, other: dict[str, Any]) -> None:
        for name, theirs in other.items():
            ours = self.run.get(name)
            if theirs != ours:
                short = len(f"{theirs!r}{ours!r}") < 200
                difference = f"{name}={theirs!r}, not {name}={ours!r}" if short else f"another {name}"
                mend = _LONGER if name == "epochs" else _MEND
                raise CheckpointError(f"{self.path} belongs to a run with {difference}; {mend}")


_MEND = "resume with what the run was started with, or start a new one in another folder"
_LONGER = "a cosine schedule is planned for its epochs, and only a run with the constant schedule can be given more"


def _place(said: dict[str, Any], batches: int) -> tuple[list[dict[str, Any]], int, float]:
    """The history, the batches done since, and the seconds they took, all of them sane."""
    if said.get("format") != _FORMAT or not isinstance(said.get("run"), dict):
        raise TensorFileError(f"is not a checkpoint of format {_FORMAT}")
    history, batch, seconds = said.get("history"), said.get("batch", 0), said.get("seconds", 0.0)
    if not isinstance(history, list) or not all(_is_epoch(entry, k) for k, entry in enumerate(history, 1)):
        raise TensorFileError("has a history that is none")
    if type(batch) is not int or not 0 <= batch <= batches or not _is_number(seconds):
        raise TensorFileError(f"is at batch {batch!r:.40} of {batches}, after {seconds!r:.40} seconds")
    return history, batch, seconds


def _is_epoch(entry: Any, number: int) -> bool:
    needed = ("train_error", "validation_error", "seconds")
    return (
        isinstance(entry, dict)
        and entry.get("epoch") == number
        and all(_is_number(entry.get(name)) for name in needed)
        and isinstance(entry.get("train_objective"), float)
        and isinstance(entry.get("verdicts"), dict)
    )


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < math.inf


def _form(tensor: np.ndarray) -> tuple[Any, ...]:
    return tensor.shape, tensor.dtype


def _filled(like: PyTree, part: str, tensors: dict[str, np.ndarray]) -> PyTree:
    """`like` with its arrays replaced by those of the file."""

    def leaf(path: tuple[Any, ...], old: Any) -> Any:
        return jnp.asarray(tensors[part + jax.tree_util.keystr(path)]) if eqx.is_array(old) else old

    return jax.tree_util.tree_map_with_path(leaf, like)
