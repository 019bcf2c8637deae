"""Campaigns: thousands of runs whose results come into one file, on this machine or on a cluster."""

import contextlib
import json
import os
import pathlib
import pickle
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Any

from .._files import locked_file
from .campaign_file import check_row, columns_of, read_campaign, require_h5py, rows_of, write_campaign
from .pool import AbstractTask, Row, WorkerDied, work_through

_SHARE = 0.05  # of the time that may go into writing the file


def run_campaign(
    task: AbstractTask,
    path: str | os.PathLike[str] | None = None,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Row]:
    """Does all runs of a task, and keeps what they gave in one HDF5 file while they come.

    The file is written whole every few seconds, and when the campaign ends or is broken off; called again, the campaign
    does what is missing. Rows do not depend on who did them, in which order, or how often the campaign was broken off.

    Args:
        task: what is done.
        path: the file, one dataset a column, one row a run, in the order of the runs' numbers; None keeps none.
        workers: how many processes on this machine; one for each core by default.
        scheduler: the address of a Dask scheduler, such as tcp://host:8786, whose workers do it instead. Tasks travel
            by pickle, and who reaches such a scheduler can run code on its workers: keep it within a network that you
            trust, or use tls:// with the certificates of Dask's configuration.
        progress: called with the runs done and their number.

    Returns:
        The rows, in the order of the runs.

    Raises:
        ValueError: for a file of another campaign, one that is damaged or that another run is writing to, rows that are
            no numbers and texts, no scheduler, or if h5py or Dask is not installed.
        WorkerDied: for a run that ends one worker after another.
        TaskFailed: for a run that raised an error.
        OSError: if the file cannot be written.
    """
    description = json.loads(json.dumps(task.describe()))
    with contextlib.nullcontext() if path is None else locked_file(path):
        kept = _Kept(path, description)
        left = [index for index in range(len(task)) if index not in kept.rows]
        report = progress or (lambda done, total: None)
        report(len(kept.rows), len(task))
        if left:
            workers = min((os.cpu_count() or 1) if workers is None else workers, len(left))
            there = (
                work_through(task, left, workers=workers) if scheduler is None else _on_cluster(task, left, scheduler)
            )
            with contextlib.closing(kept), contextlib.closing(there):
                for index, row in there:
                    kept.add(index, row)
                    report(len(kept.rows), len(task))
        return list(rows_of(columns_of(kept.rows)).values())


class _Kept:
    """The rows of a campaign as they come, and their file, which is written now and then."""

    def __init__(self, path: str | os.PathLike[str] | None, description: Mapping[str, Any]) -> None:
        if path is not None:
            require_h5py()  # now, and not after the first run
        self.path, self.description = path, description
        self.rows: dict[int, Row] = self._there()
        self._written, self._cost, self._new = time.monotonic(), 0.05, 0

    def add(self, index: int, row: Mapping[str, Any]) -> None:
        check_row(row, next(iter(self.rows.values()), row))
        self.rows[index], self._new = row, self._new + 1
        if time.monotonic() - self._written > self._cost / _SHARE:
            self.close()

    def close(self) -> None:
        """Writes what is new."""
        if self._new and self.path is not None:
            begun = time.monotonic()
            self.rows = self._there() | self.rows  # read again: where there are no locks, others may have written
            write_campaign(self.path, self.description, columns_of(self.rows))
            self._written, self._new = time.monotonic(), 0
            self._cost = self._written - begun

    def _there(self) -> dict[int, Row]:
        """The rows in the file.

        Raises:
            ValueError: for a file of another campaign.
        """
        if self.path is None or not os.path.exists(self.path):
            return {}
        description, columns = read_campaign(self.path)
        if description != self.description:
            raise ValueError(
                f"{pathlib.Path(self.path).name} holds another campaign, of another network, other samples or other "
                "conditions: give another file, or remove this one"
            )
        return rows_of(columns)


def _on_cluster(task: AbstractTask, indices: Iterable[int], scheduler: str) -> Generator[tuple[int, Row], None, None]:
    """The same as `work_through` on the workers of a Dask scheduler, whose nannies replace the dead."""
    try:
        from distributed import Client, KilledWorker, as_completed
    except ImportError as error:
        raise ValueError("Dask is not installed: pip install 'eqprop-field[cluster]'") from error
    try:
        client = Client(scheduler, timeout=10)
    except (OSError, ValueError) as error:
        raise ValueError(f"no Dask scheduler answers at {scheduler}: start one, or leave it away") from error
    with client:
        # Sent once and not with every run; unlike scattered data, it is made again where the worker that has it dies.
        there = client.submit(pickle.loads, pickle.dumps(task), pure=False)
        numbers = {client.submit(_call, there, index, pure=False): index for index in indices}
        for future in as_completed(numbers):
            try:
                yield numbers[future], future.result()
            except KilledWorker as error:
                raise WorkerDied(f"run {numbers[future]} ended one worker of the cluster after another") from error


def _call(task: AbstractTask, index: int) -> Row:
    return task(index)
