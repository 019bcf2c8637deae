"""libngspice by ctypes and nothing else: what an engine is measured against. Started by path.

Run as `python raw_ngspice.py LIBRARY`, with a pickled list of netlists on stdin. Each further line asks for one thing,
and "done" is printed when it is: `run` simulates all of them and reads their vectors, `load` loads and removes the
first one, `alter` sets every conductance of the first one, which is loaded then.
"""

import ctypes
import pickle
import sys

import numpy as np

_PRINT = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_void_p)
_EXIT = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_bool, ctypes.c_bool, ctypes.c_int, ctypes.c_void_p)


class _Vector(ctypes.Structure):
    """ngspice's `vector_info`."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("type", ctypes.c_int),
        ("flags", ctypes.c_short),
        ("real", ctypes.POINTER(ctypes.c_double)),
        ("complex", ctypes.c_void_p),
        ("length", ctypes.c_int),
    )


class Library:
    """libngspice in this process."""

    def __init__(self, path: str) -> None:
        self.library = ctypes.CDLL(path)
        self.library.ngGet_Vec_Info.restype = ctypes.POINTER(_Vector)
        self.library.ngSpice_CurPlot.restype = ctypes.c_char_p
        self.library.ngSpice_AllVecs.restype = ctypes.POINTER(ctypes.c_char_p)
        # Kept, or the library would call what is no longer there.
        self.callbacks = _PRINT(lambda *_: 0), _PRINT(lambda *_: 0), _EXIT(lambda *_: 0)
        self.library.ngSpice_Init(*self.callbacks, None, None, None, None)

    def command(self, text: str) -> None:
        self.library.ngSpice_Command(text.encode("ascii"))

    def load(self, netlist: str) -> None:
        lines = [line.encode("ascii") for line in netlist.splitlines()]
        self.library.ngSpice_Circ((ctypes.c_char_p * (len(lines) + 1))(*lines, None))

    def run(self, netlist: str) -> dict[str, np.ndarray]:
        self.load(netlist)
        self.command("run")
        plot, found = self.library.ngSpice_CurPlot(), {}
        names = self.library.ngSpice_AllVecs(plot)
        for name in iter(iter(names).__next__, None):
            vector = self.library.ngGet_Vec_Info(plot + b"." + name).contents
            found[name.decode("ascii")] = np.ctypeslib.as_array(vector.real, (vector.length,)).copy()
        self.command("destroy all")
        self.command("remcirc")
        return found


def main() -> None:
    """Serves requests until stdin ends."""
    library, netlists = Library(sys.argv[1]), pickle.load(sys.stdin.buffer)
    conductances = [line.split() for line in netlists[0].splitlines() if line.startswith("G")]
    for request in sys.stdin.buffer:
        if request == b"run\n":
            points = [len(library.run(netlist)["time"]) for netlist in netlists]
            assert min(points) > 10
        elif request == b"load\n":
            library.load(netlists[0])
            library.command("remcirc")
        else:
            if request == b"begin alter\n":
                library.load(netlists[0])
            for words in conductances:
                library.command(f"alter {words[0]} = {words[-1]}")
        print("done", flush=True)


if __name__ == "__main__":
    main()
