"""The history of a run as files that other programs read: a table, JSON lines, TensorBoard events."""

import json
import os
from pathlib import Path
from typing import Any

from .._files import write_csv, write_text

RECORDS = ("history.jsonl", "history.csv")


def records(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The history as rows of equal columns: {"verdicts": {"converged": 3}} becomes verdicts.converged = 3.

    A verdict that an epoch did not have counts 0 there; any other entry that is missing is None.
    """
    rows = [_flat(entry) for entry in history]
    columns = dict.fromkeys(name for row in rows for name in row)
    return [{name: row.get(name, 0 if name.startswith("verdicts.") else None) for name in columns} for row in rows]


def write_records(folder: str | os.PathLike, history: list[dict[str, Any]]) -> None:
    """Writes the history as JSON lines and as CSV, each whole or not at all.

    Raises:
        OSError: with one sentence, if they cannot be written.
    """
    write_text(Path(folder) / "history.jsonl", "".join(json.dumps(entry) + "\n" for entry in history))
    write_csv(Path(folder) / "history.csv", records(history))


def write_tensorboard(folder: str | os.PathLike, history: list[dict[str, Any]]) -> None:
    """Writes the history as TensorBoard events, one scalar a column, below `folder/tensorboard`.

    Raises:
        ValueError: where tensorboardX is not installed.
    """
    try:
        from tensorboardX import SummaryWriter  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ValueError("tensorboardX is not installed: pip install 'eqprop-field[tensorboard]'") from error
    with SummaryWriter(os.fspath(Path(folder) / "tensorboard")) as writer:
        for entry in history:
            for name, value in _flat(entry).items():
                if name != "epoch":
                    writer.add_scalar(name, value, entry["epoch"])


def _flat(entry: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in entry.items():
        flat |= {f"{name}.{part}": inner for part, inner in value.items()} if isinstance(value, dict) else {name: value}
    return flat
