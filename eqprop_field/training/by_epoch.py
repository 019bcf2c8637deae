"""A training run to look into: the network after every epoch."""

import dataclasses
import tempfile
from collections.abc import Iterator

from ..datasets import Dataset
from ..learning.base import AbstractLearningRule
from ..vector_fields.base import AbstractVectorField
from .loop import TrainingRun, train
from .settings import Settings


def train_by_epoch(
    field: AbstractVectorField, rule: AbstractLearningRule, dataset: Dataset, settings: Settings
) -> Iterator[TrainingRun]:
    """The run that `train` makes, stopped after every epoch: the last of these runs is that of `train`, bit by bit.

    Args:
        field: the network to start from.
        rule: what it learns by.
        dataset: what it learns from.
        settings: how; with a constant schedule, for the cosine one must know the end.

    Yields:
        The run so far, after 1, 2, ... `settings.epochs` epochs; `last_field` is the network.

    Raises:
        ValueError: for a schedule that is not constant, and as `train`.
    """
    if settings.schedule != "constant":
        raise ValueError(f"schedule={settings.schedule!r}: a run to be stopped after every epoch needs a constant one")
    with tempfile.TemporaryDirectory() as folder:  # of the checkpoint that each epoch goes on from
        for epochs in range(1, settings.epochs + 1):
            so_far = dataclasses.replace(settings, epochs=epochs)
            yield train(field, rule, dataset, so_far, out=folder, resume=True, progress=False)
