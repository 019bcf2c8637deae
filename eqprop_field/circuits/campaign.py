"""Campaigns: thousands of runs whose results come into one file, on this machine or on a cluster."""

import contextlib
import io
import json
import os
import pathlib
import pickle
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Any

import numpy as np

from .._files import write_atomically
from .pool import AbstractTask, Row, WorkerDied, work_through

_FORMAT = 1
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
        scheduler: the address of a Dask scheduler, such as tcp://host:8786, whose workers do it instead.
        progress: called with the runs done and their number.

    Returns:
        The rows, in the order of the runs.

    Raises:
        ValueError: for a file of another campaign, no scheduler, or if h5py or Dask is not installed.
        WorkerDied: for a run that ends one worker after another.
        TaskFailed: for a run that raised an error.
        OSError: if the file cannot be written.
    """
    kept = {} if path is None else _kept(task, path)
    left = [index for index in range(len(task)) if index not in kept]
    report = progress or (lambda done, total: None)
    report(len(kept), len(task))
    if not left:
        return [kept[index] for index in range(len(task))]
    workers = min((os.cpu_count() or 1) if workers is None else workers, len(left))
    rows = work_through(task, left, workers=workers) if scheduler is None else _on_cluster(task, left, scheduler)
    written, cost, new = time.monotonic(), 0.05, 0
    try:
        with contextlib.closing(rows):
            for index, row in rows:
                kept[index], new = row, new + 1
                report(len(kept), len(task))
                if path is not None and time.monotonic() - written > cost / _SHARE:
                    begun = time.monotonic()
                    _write(task, path, kept)
                    written, new = time.monotonic(), 0
                    cost = written - begun
    finally:
        if new and path is not None:
            _write(task, path, kept)
    return [kept[index] for index in range(len(task))]


def read_campaign(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The description of a campaign, and its columns; the column `run` has the runs' numbers.

    Raises:
        ValueError: for a file that is no campaign's, or if h5py is not installed.
        OSError: for one that cannot be read.
    """
    h5py = _h5py()
    name = pathlib.Path(path).name
    with open(path, "rb") as stream:
        try:
            with h5py.File(stream, "r") as file:
                if file.attrs.get("format") != _FORMAT:
                    raise ValueError(f"{name} holds no campaign of this version: give another file")
                columns = {key: data.asstr()[:] if data.dtype.kind == "O" else data[:] for key, data in file.items()}
                return json.loads(file.attrs["task"]), columns
        except (OSError, KeyError) as error:
            raise ValueError(f"{name} is no HDF5 file of a campaign: give another file") from error


def _kept(task: AbstractTask, path: str | os.PathLike[str]) -> dict[int, Row]:
    """The rows that an earlier call has left."""
    _h5py()
    if not os.path.exists(path):
        return {}
    description, columns = read_campaign(path)
    if description != json.loads(json.dumps(task.describe())):
        raise ValueError(
            f"{pathlib.Path(path).name} holds another campaign, of another network, other samples or other conditions: "
            "give another file, or remove this one"
        )
    numbers = columns.pop("run").tolist()
    lists = {name: values.tolist() for name, values in columns.items()}
    return {number: {name: values[k] for name, values in lists.items()} for k, number in enumerate(numbers)}


def _write(task: AbstractTask, path: str | os.PathLike[str], rows: Mapping[int, Row]) -> None:
    numbers = sorted(rows)
    buffer = io.BytesIO()
    with _h5py().File(buffer, "w") as file:
        file.attrs["format"] = _FORMAT
        file.attrs["task"] = json.dumps(task.describe())
        file["run"] = np.array(numbers)
        for name in rows[numbers[0]]:
            column = [rows[number][name] for number in numbers]
            file[name] = np.array(column, object if isinstance(column[0], str) else None)
    write_atomically(path, buffer.getvalue())


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


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise ValueError("h5py is not installed: pip install 'eqprop-field[campaign]'") from error
    return h5py
