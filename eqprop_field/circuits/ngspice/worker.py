"""The process that holds one libngspice; started by path, so that it loads neither JAX nor this package.

Run as `python worker.py FD LIBRARY` with a connection's file descriptor. It answers each netlist text with
("done", vectors, log) or ("failed", reason, log), and ends when the connection does.
"""

import logging
import sys
from multiprocessing.connection import Connection

import numpy as np
from PySpice.Spice.NgSpice.Shared import NgSpiceCircuitError, NgSpiceCommandError, NgSpiceShared

# PySpice turns any word on stderr into an error, so ordinary notes too; this one means what it says.
_ABORTED = "aborted"


def _vectors(library: NgSpiceShared) -> dict[str, np.ndarray]:
    plot = library.plot(None, library.last_plot)
    return {_as_in_a_raw_file(name.lower()): vector._data for name, vector in plot.items()}


def _as_in_a_raw_file(name: str) -> str:
    if name == "time" or "(" in name:
        return name
    return f"i({name.removesuffix('#branch')})" if name.endswith("#branch") else f"v({name})"


def _run(library: NgSpiceShared, text: str) -> tuple[str, object, str]:
    """One transient; the library's memory of it is given back."""
    log = ""
    try:
        try:
            library.load_circuit(text)
        except NgSpiceCircuitError:
            return "failed", "libngspice refused the netlist", library.stdout + library.stderr
        try:
            library.run()
        except NgSpiceCommandError:
            log = library.stdout + "\n" + library.stderr
            if _ABORTED in log:
                return "failed", "libngspice gave the simulation up", log
        log = log or library.stdout + "\n" + library.stderr
        if not library.last_plot.startswith("tran"):
            return "failed", "libngspice ran no transient", log
        return "done", _vectors(library), log
    except NameError as error:  # PySpice's own kind, for "ngSpice_Circ returned 1"
        return "failed", f"libngspice: {error}", log


def main() -> None:
    """Serves netlists until the connection closes."""
    logging.disable(logging.CRITICAL)
    connection = Connection(int(sys.argv[1]))
    # Not through `format`, as PySpice would: a path may hold braces.
    NgSpiceShared.LIBRARY_PATH = sys.argv[2].replace("{", "{{").replace("}", "}}")
    library = NgSpiceShared()
    connection.send("ready")
    while True:
        try:
            text = connection.recv()
        except EOFError:
            return
        answer = _run(library, text)
        connection.send(answer)
        if answer[0] == "failed":
            return  # a failed netlist may have poisoned the library
        library.destroy()
        library.remove_circuit()


if __name__ == "__main__":
    main()
