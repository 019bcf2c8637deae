"""A worker of `pool.work_through`. Run as `python -m eqprop_field.circuits.pool_worker FD FOLDER`.

FOLDER holds two pickles in the file `task`: the files to import first, for the names that they register, and the
task. On the connection with the file descriptor FD the worker says
("ready", None), is sent numbers, and answers each with ("done", row) or ("failed", message). It ends when the
connection does, with FOLDER, where it keeps what is temporary.
"""

import pathlib
import pickle
import shutil
import signal
import sys
import traceback
from multiprocessing.connection import Connection
from typing import Any

from ..extensions import import_file


def _unwind(number: int, frame: Any) -> None:
    """A request to end unwinds like Ctrl-C, so that simulators end and temporary files go."""
    del frame
    signal.signal(number, signal.SIG_IGN)  # once is enough
    raise KeyboardInterrupt


def main() -> None:
    """Serves numbers until the connection closes."""
    signal.signal(signal.SIGTERM, _unwind)
    connection = Connection(int(sys.argv[1]))
    try:
        with pathlib.Path(sys.argv[2], "task").open("rb") as file:
            for path in pickle.load(file):
                import_file(path)
            task = pickle.load(file)
        connection.send(("ready", None))
        while True:
            index = connection.recv()
            try:
                answer = "done", task(index)
            except Exception as error:  # noqa: BLE001  it is sent to the parent, which raises it
                where = traceback.extract_tb(error.__traceback__)[-1]
                answer = "failed", f"{type(error).__name__}: {error} ({where.filename}, line {where.lineno})"
            connection.send(answer)
    except (EOFError, OSError, KeyboardInterrupt):
        shutil.rmtree(sys.argv[2], ignore_errors=True)


if __name__ == "__main__":
    main()
