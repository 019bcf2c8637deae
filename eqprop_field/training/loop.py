"""The training loop: one compiled step, checkpoints, the best epoch chosen on the validation samples."""

import contextlib
import dataclasses
import functools
import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool
from tqdm import tqdm

from .._files import locked_folder
from ..datasets import Dataset, Samples, batch_order
from ..learning.base import AbstractLearningRule
from ..storage import describe
from ..substrates.solution import NotSettledError
from ..vector_fields.base import AbstractVectorField
from .checkpoint import CHECKPOINT, Checkpoint, RunState
from .data import fitted
from .metrics import ErrorMeasure, error_rate
from .records import write_records
from .run import TrainingRun
from .settings import Settings
from .sharding import device_mesh, everywhere, here
from .step import Fixed, Moving, advance, begin, copied

_LOOK_SECONDS = 0.5  # between two looks at how far the device is


def train(
    field: AbstractVectorField,
    rule: AbstractLearningRule,
    dataset: Dataset,
    settings: Settings,
    *,
    out: str | os.PathLike | None = None,
    resume: bool = False,
    overwrite: bool = False,
    checkpoint_seconds: float = 20.0,
    devices: int | None = None,
    measure: Callable[[AbstractVectorField], dict[str, Any]] | None = None,
    progress: bool = True,
) -> TrainingRun:
    """Trains a network with any learning rule on any substrate.

    With `out`, the files `checkpoint.safetensors`, `history.jsonl` and `history.csv` there are replaced after every
    epoch, the first of them every `checkpoint_seconds` too. A run that was stopped at any time and resumed ends in
    bit-identical parameters. More `epochs` may be asked for when resuming a run with a constant schedule; all else, the
    first weights and all data included, must be as it was. While it trains, the folder is this run's alone.

    Args:
        field: the network to start from; its architecture and dtype stay as they are.
        rule: what it learns by. Samples that do not settle are left out of the gradient and counted.
        dataset: what it learns from.
        settings: how; `RECIPES` holds what is known to work.
        out: the folder of the checkpoint; without one, none is kept.
        resume: whether to go on from the checkpoint in `out`, if there is one.
        overwrite: whether to start anew where `out` holds a checkpoint, which is lost.
        checkpoint_seconds: the time after which a checkpoint is written within an epoch, at the next look at the device
            (every half second, or a step if that takes longer).
        devices: how many devices share a batch, over all processes (`join_processes`); the first alone by default.
            Results agree with those of one device up to the order of sums. Only the first process writes files.
        measure: what else to record of the network after every epoch, in JSON's types, such as `snapshot`'s summary.
        progress: whether to show a bar with the time left on stderr.

    Raises:
        ValueError: if the data do not fit the network, a learning rate is missing, resume is asked without `out`,
            another run is writing to `out`, or it holds a run and neither `resume` nor `overwrite` is asked.
        CheckpointError: if the checkpoint is damaged, belongs to another run, or has more epochs behind it.
        NotFiniteError: if the parameters become NaN or infinite; the checkpoint of the epoch before stays.
        OSError: if the checkpoint cannot be written.
    """
    dataset = fitted(dataset, field, rule.cost)
    settings.repair.check(field)
    field = settings.repair.kept(field)
    if resume and out is None:
        raise ValueError("resume=True needs out, the folder of the checkpoint to go on from")
    mesh = None if devices is None else device_mesh(devices)
    fixed, first = begin(field, rule, dataset, settings, mesh)
    first, errors = here(mesh, (first, fixed.measure))
    state = RunState(first.field, first.optimiser, best=field, visited=first.visited, history=[])
    path = None if out is None else Path(out) / CHECKPOINT
    checkpoint = path and Checkpoint(path, _identity(field, rule, dataset, settings), checkpoint_seconds)
    validate = functools.partial(error_rate, rule, samples=dataset.validation, measure=errors)
    keep = checkpoint if jax.process_index() == 0 else None
    with contextlib.nullcontext() if keep is None else locked_folder(keep.path.parent):
        if checkpoint is not None and resume:
            state = checkpoint.load(state, settings.epochs, len(fixed.order))
        elif keep is not None and keep.path.exists() and not overwrite:
            raise ValueError(f"{out} holds a run already: resume it, ask to overwrite it, or name another folder")
        order_key = jax.random.fold_in(jax.random.key(settings.seed), 1)  # the key itself draws the network
        done, total = len(state.history) * len(fixed.order) + state.batch, settings.epochs * len(fixed.order)
        with tqdm(total=total, initial=done, desc=dataset.name, unit="batch", disable=not progress) as bar:
            for epoch in range(len(state.history), settings.epochs):
                order = batch_order(order_key, epoch, len(dataset.train), settings.batch_size)
                _run_epoch(state, fixed, order, bar, keep)
                _end_epoch(state, validate, errors, measure, bar, keep)
    test_error = error_rate(rule, state.best, dataset.test, errors)
    return TrainingRun(state.best, state.field, state.history, state.best_epoch, test_error, settings, errors.kind)


def _run_epoch(state: RunState, fixed: Fixed, order: np.ndarray, bar: tqdm, keep: Checkpoint | None) -> None:
    """What is left of an epoch; `state` is as it was last kept if this raises."""
    began = time.perf_counter() - state.seconds
    steps = jnp.asarray(len(state.history) * len(order) + state.batch, jnp.int32)
    fixed = dataclasses.replace(fixed, order=everywhere(fixed.mesh, jnp.asarray(order)))
    moving = copied(Moving(state.field, state.optimiser, state.tally, steps, state.visited))
    moving = everywhere(fixed.mesh, moving)
    shown, looked = state.batch, time.perf_counter()
    for done in range(state.batch + 1, len(order) + 1):
        moving = advance(fixed, moving)
        last, due = done == len(order), keep is not None and keep.due
        if last or due or time.perf_counter() - looked > _LOOK_SECONDS:
            _check_finite(moving.field, len(state.history) + 1, done)  # waits: the bar shows what is computed
            bar.update(done - shown)
            shown, looked = done, time.perf_counter()
            if last or due:  # copied, for the next step takes the buffers
                _take(state, copied(here(fixed.mesh, moving)), done, time.perf_counter() - began)
            if keep is not None and due:
                keep.save(state)


def _take(state: RunState, moving: Moving, batch: int, seconds: float) -> None:
    """Makes `state` what the epoch has come to."""
    state.field, state.optimiser, state.visited, state.tally = (
        moving.field, moving.optimiser, moving.visited, moving.tally,
    )  # fmt: skip
    state.batch, state.seconds = batch, seconds


def _end_epoch(
    state: RunState,
    validate: Callable[..., float],
    errors: ErrorMeasure,
    measure: Callable[[AbstractVectorField], dict[str, Any]] | None,
    bar: tqdm,
    keep: Checkpoint | None,
) -> None:
    """Chooses by the validation samples, and adds the epoch to the history and to the files."""
    began = time.perf_counter() - state.seconds
    error = validate(field=state.field)
    seconds = time.perf_counter() - began
    entry = {"epoch": len(state.history) + 1, **state.tally.read(errors), "validation_error": error, "seconds": seconds}
    state.record(entry | ({} if measure is None else measure(state.field)))
    bar.set_postfix_str(f"validation error {errors.kind.text(error)}", refresh=False)
    if keep is not None:
        keep.save(state)
        write_records(keep.path.parent, state.history)


class NotFiniteError(NotSettledError):
    """The parameters became NaN or infinite; the message names the batch, and the last checkpoint is untouched."""


def _check_finite(field: AbstractVectorField, epoch: int, batch: int) -> None:
    if not bool(_all_finite(field)):
        raise NotFiniteError(
            f"the parameters became NaN or infinite in epoch {epoch}, by batch {batch}: lower the learning rates"
        )


@eqx.filter_jit
def _all_finite(field: AbstractVectorField) -> Bool[Array, ""]:
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(field.parameters())]))


def _identity(
    field: AbstractVectorField, rule: AbstractLearningRule, dataset: Dataset, settings: Settings
) -> dict[str, Any]:
    """What must be the same for a run to go on, by the names that a refusal gives."""
    identity = dataclasses.asdict(settings)
    if settings.schedule == "constant":
        del identity["epochs"]
    identity["learning_rates"] = list(identity["learning_rates"])
    arrays = [np.asarray(leaf) for leaf in jax.tree.leaves(eqx.filter(field, eqx.is_array))]
    return {
        **identity,
        "network": describe(field),
        "first weights": f"{field.dtype} {_digest(*arrays)}",
        "rule": eqx.tree_pformat(rule, short_arrays=False),
        "data": f"{dataset.name} {_told(dataset.train)}",
        "validation data": _told(dataset.validation),
        "test data": _told(dataset.test),
    }


def _told(samples: Samples) -> str:
    return f"{samples.x.shape} {_digest(samples.x, samples.y)}"


def _digest(*arrays: np.ndarray) -> str:
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()[:16]
