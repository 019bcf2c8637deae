"""The training loop: one compiled step, a checkpoint an epoch, the best epoch chosen on the validation samples."""

import dataclasses
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

from ..datasets import Dataset, batch_order
from ..learning.base import AbstractLearningRule
from ..storage import describe
from ..substrates.solution import NotSettledError
from ..vector_fields.base import AbstractVectorField
from .checkpoint import CHECKPOINT, Checkpoint, RunState
from .metrics import Tally, error_rate
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
    devices: int | None = None,
    measure: Callable[[AbstractVectorField], dict[str, Any]] | None = None,
    progress: bool = True,
) -> TrainingRun:
    """Trains a network with any learning rule on any substrate.

    With `out`, the files `checkpoint.safetensors`, `history.jsonl` and `history.csv` there are replaced after every
    epoch. A run that was stopped at any time and resumed ends in bit-identical parameters. More `epochs` may be asked
    for when resuming a run with a constant schedule; all else must be as it was.

    Args:
        field: the network to start from; its architecture and dtype stay as they are.
        rule: what it learns by. Samples that do not settle are left out of the gradient and counted.
        dataset: what it learns from.
        settings: how; `RECIPES` holds what is known to work.
        out: the folder of the checkpoint; without one, none is kept.
        resume: whether to go on from the checkpoint in `out`, if there is one.
        devices: how many devices share a batch, over all processes (`join_processes`); the first alone by default.
            Results agree with those of one device up to the order of sums. Only the first process writes files.
        measure: what else to record of the network after every epoch, in JSON's types, such as `snapshot`'s summary.
        progress: whether to show a bar with the time left on stderr.

    Raises:
        ValueError: if the data do not fit the network, a learning rate is missing, or resume is asked without `out`.
        CheckpointError: if the checkpoint is damaged or belongs to another run.
        NotFiniteError: if the parameters become NaN or infinite; the checkpoint of the epoch before stays.
        OSError: if the checkpoint cannot be written.
    """
    _check_fit(field, dataset)
    settings.repair.check(field)
    field = settings.repair.kept(field)
    if resume and out is None:
        raise ValueError("resume=True needs out, the folder of the checkpoint to go on from")
    mesh = None if devices is None else device_mesh(devices)
    fixed, first = begin(field, rule, dataset, settings, mesh)
    first = here(mesh, first)
    state = RunState(first.field, first.optimiser, best=field, visited=first.visited, history=[])
    checkpoint = None if out is None else Checkpoint(Path(out) / CHECKPOINT, _identity(field, rule, dataset, settings))
    if checkpoint is not None and resume:
        state = checkpoint.load(like=state)
    order_key = jax.random.fold_in(jax.random.key(settings.seed), 1)  # the key itself draws the network
    samples, batches = len(dataset.train), len(fixed.order)
    done, total = len(state.history), settings.epochs * batches
    with tqdm(total=total, initial=done * batches, desc=dataset.name, unit="batch", disable=not progress) as bar:
        for epoch in range(done, settings.epochs):
            began = time.perf_counter()
            tally = _run_epoch(state, fixed, batch_order(order_key, epoch, samples, settings.batch_size), bar)
            error = error_rate(rule, state.field, dataset.validation)
            seconds = time.perf_counter() - began
            entry = {"epoch": epoch + 1, **tally.read(), "validation_error": error, "seconds": seconds}
            state.record(entry | ({} if measure is None else measure(state.field)))
            bar.set_postfix_str(f"validation error {100 * error:.1f} %", refresh=False)
            if checkpoint is not None and jax.process_index() == 0:
                checkpoint.save(state)
                write_records(checkpoint.path.parent, state.history)
    test_error = error_rate(rule, state.best, dataset.test)
    return TrainingRun(state.best, state.field, state.history, state.best_epoch, test_error, settings)


def _run_epoch(state: RunState, fixed: Fixed, order: np.ndarray, bar: tqdm) -> Tally:
    """Every batch of the order once; `state` is as it was if this raises."""
    steps = jnp.asarray(len(state.history) * len(order), jnp.int32)
    fixed = dataclasses.replace(fixed, order=everywhere(fixed.mesh, jnp.asarray(order)))
    moving = copied(Moving(state.field, state.optimiser, Tally.empty(), steps, state.visited))
    moving = everywhere(fixed.mesh, moving)
    shown, looked = 0, time.perf_counter()
    for done in range(1, len(order) + 1):
        moving = advance(fixed, moving)
        if done == len(order) or time.perf_counter() - looked > _LOOK_SECONDS:
            _check_finite(moving.field, len(state.history) + 1, done)  # waits: the bar shows what is computed
            bar.update(done - shown)
            shown, looked = done, time.perf_counter()
    moving = here(fixed.mesh, moving)
    state.field, state.optimiser, state.visited = moving.field, moving.optimiser, moving.visited
    return moving.tally


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


def _check_fit(field: AbstractVectorField, dataset: Dataset) -> None:
    inputs, classes = dataset.train.x.shape[1], dataset.train.y.shape[1]
    if (field.n_inputs, field.n_outputs) != (inputs, classes):
        raise ValueError(
            f"{dataset.name} has {inputs} inputs and {classes} classes, but the network has {field.n_inputs} inputs "
            f"and {field.n_outputs} outputs; give sizes that begin with {inputs} and end with {classes}"
        )


def _identity(
    field: AbstractVectorField, rule: AbstractLearningRule, dataset: Dataset, settings: Settings
) -> dict[str, Any]:
    """What must be the same for a run to go on."""
    identity = dataclasses.asdict(settings)
    if settings.schedule == "constant":
        del identity["epochs"]
    identity["learning_rates"] = list(identity["learning_rates"])
    digest = hashlib.sha256(dataset.train.x.tobytes() + dataset.train.y.tobytes()).hexdigest()[:16]
    return {
        **identity,
        "network": describe(field),
        "rule": eqx.tree_pformat(rule, short_arrays=False),
        "data": f"{dataset.name} {dataset.train.x.shape} {digest}",
    }
