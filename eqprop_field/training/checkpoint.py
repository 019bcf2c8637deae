"""One file from which a run goes on exactly where it was: network, optimiser, best network, history."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from jaxtyping import PyTree

from .._files import write_atomically
from .._tensor_file import TensorFileError, read_tensor_file
from ..vector_fields.base import AbstractVectorField

CHECKPOINT = "checkpoint.safetensors"
_KEY = "eqprop_field_checkpoint"
_FORMAT = 1
_PARTS = ("field", "optimiser", "best", "visited")


class CheckpointError(ValueError):
    """A checkpoint is damaged, or belongs to another run; the message names which, and the file is untouched."""


@dataclasses.dataclass
class RunState:
    """Everything a run needs to go on after an epoch.

    Attributes:
        field: the network as learnt so far.
        optimiser: the optimiser's state.
        best: the network of the best epoch so far.
        visited: the free state of every sample's last visit, for warm starts; or None.
        history: one entry an epoch.
    """

    field: AbstractVectorField
    optimiser: PyTree
    best: AbstractVectorField
    history: list[dict[str, Any]]
    visited: PyTree | None = None

    @property
    def best_epoch(self) -> int:
        """The epoch with the lowest validation error, the last of equals: it has learnt more."""
        return min(reversed(self.history), key=lambda entry: entry["validation_error"])["epoch"]

    def record(self, entry: dict[str, Any]) -> None:
        """Adds an epoch to the history, and keeps its network if it is the best."""
        self.history.append(entry)
        if self.best_epoch == entry["epoch"]:
            self.best = self.field

    def tensors(self) -> dict[str, np.ndarray]:
        """Every array, named by its place."""
        return {
            part + jax.tree_util.keystr(path): np.asarray(leaf)
            for part in _PARTS
            for path, leaf in jax.tree_util.tree_leaves_with_path(eqx.filter(getattr(self, part), eqx.is_array))
        }


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """The checkpoint file of one run.

    Attributes:
        path: the file.
        run: what the run is (settings, network, rule, data), a JSON object; only an equal run may go on.
    """

    path: Path
    run: dict[str, Any]

    def save(self, state: RunState) -> None:
        """Writes the file, whole or not at all.

        Raises:
            OSError: with one sentence, if it cannot be written.
        """
        metadata = {"format": _FORMAT, "run": self.run, "history": state.history}
        write_atomically(self.path, safetensors.numpy.save(state.tensors(), {_KEY: json.dumps(metadata)}))

    def load(self, like: RunState) -> RunState:
        """Where the run was; `like`, its beginning, if there is no file yet.

        Raises:
            CheckpointError: if the file is damaged or belongs to another run.
        """
        if not self.path.exists():
            return like
        try:
            texts, tensors = read_tensor_file(self.path)
            metadata = _metadata(texts)
        except TensorFileError as error:
            raise CheckpointError(f"{self.path} {error}; start without resuming, or put back a good copy") from error
        self._check_same_run(metadata["run"])
        expected = like.tensors()
        for name in sorted(expected.keys() | tensors.keys()):
            if name not in tensors or name not in expected or _form(tensors[name]) != _form(expected[name]):
                raise CheckpointError(f"{self.path} does not fit this network and optimiser at {name}; {_MEND}")
        return RunState(
            **{part: _filled(getattr(like, part), part, tensors) for part in _PARTS}, history=metadata["history"]
        )

    def _check_same_run(self, other: dict[str, Any]) -> None:
        for name in sorted(self.run.keys() | other.keys()):
            theirs, ours = other.get(name), self.run.get(name)
            if theirs != ours:
                short = len(f"{theirs!r}{ours!r}") < 200
                difference = f"{name}={theirs!r}, not {name}={ours!r}" if short else f"another {name}"
                raise CheckpointError(f"{self.path} belongs to a run with {difference}; {_MEND}")


_MEND = "resume with what the run was started with, or start a new one in another folder"


def _metadata(texts: dict[str, str]) -> dict[str, Any]:
    try:
        found = json.loads(texts[_KEY])
        complete = found["format"] == _FORMAT and isinstance(found["run"], dict) and isinstance(found["history"], list)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise TensorFileError("is not a checkpoint") from error
    if not complete:
        raise TensorFileError(f"is not a checkpoint of format {_FORMAT}")
    return found


def _form(tensor: np.ndarray) -> tuple[Any, ...]:
    return tensor.shape, tensor.dtype


def _filled(like: PyTree, part: str, tensors: dict[str, np.ndarray]) -> PyTree:
    """`like` with its arrays replaced by those of the file."""

    def leaf(path: tuple[Any, ...], old: Any) -> Any:
        return jnp.asarray(tensors[part + jax.tree_util.keystr(path)]) if eqx.is_array(old) else old

    return jax.tree_util.tree_map_with_path(leaf, like)
