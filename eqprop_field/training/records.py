"""What a run wrote down, epoch by epoch, in forms that other programs read."""

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

from .._files import write_text

RECORDS = ("history.jsonl", "history.csv")


def write_records(folder: str | os.PathLike, history: list[dict[str, Any]]) -> None:
    """Writes the history as JSON lines and as CSV, each whole or not at all; nested entries are joined by a dot.

    Raises:
        OSError: with one sentence, if they cannot be written.
    """
    flat = [_flat(entry) for entry in history]
    columns = list(dict.fromkeys(name for row in flat for name in row))
    table = io.StringIO()
    writer = csv.DictWriter(table, columns, restval="0", lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    write_text(Path(folder) / "history.jsonl", "".join(json.dumps(entry) + "\n" for entry in history))
    write_text(Path(folder) / "history.csv", table.getvalue())


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
    """The entry with nested dictionaries spread out: {"verdicts": {"converged": 3}} has verdicts.converged = 3."""
    flat: dict[str, Any] = {}
    for name, value in entry.items():
        flat |= {f"{name}.{part}": inner for part, inner in value.items()} if isinstance(value, dict) else {name: value}
    return flat
