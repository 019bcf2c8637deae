"""What a user waits for: commands on a network of four neurons, as a first one and again."""

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ..circuits import NgspiceMissing, find_ngspice
from .paired import Ratio

LIBRARIES = ("-c", "import jax, equinox")
_RUNS = 5
_WHEN = ("nothing compiled", "again")
_GOALS_S = {
    "--help": (0.5, 0.5),
    "init": (1.2, 1.2),
    "export": (2.5, 2.5),
    "simulate": (3.5, 2.5),
    "circuit": (5.0, 3.0),
}


def waiting(turns: int) -> Iterator[Ratio]:
    """Processor seconds of the commands, medians: without a kept compilation, and with those of the run before.

    They are what an idle machine takes, for next to nothing runs on several cores at once.

    Args:
        turns: how often, at most 5.
    """
    turns = min(turns, _RUNS)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        prepare(place)
        pairs = [(seconds(place, ("-c", "import eqprop_field")), seconds(place, LIBRARIES)) for _ in range(turns)]
        yield _line("import eqprop_field v. import jax, equinox", np.divide(*np.transpose(pairs)), 1.1, "x")
        for name, goals in _GOALS_S.items():
            if name == "circuit" and (why := _no_ngspice()) is not None:
                yield from (Ratio.left_out(f"{name}, {when}", why) for when in _WHEN)
                continue
            taken = [[seconds(place, command(name), f"{name}-{turn}") for _ in _WHEN] for turn in range(turns)]
            for when, goal, of_turns in zip(_WHEN, goals, np.transpose(taken), strict=True):
                yield _line(f"{name}, {when}", of_turns, goal, "s")


def prepare(place: Path) -> None:
    """Writes what the commands read into that folder."""
    for name in "xy":
        np.save(place / f"{name}.npy", np.array([[0.3, 0.7]]))
    seconds(place, command("init"))


def command(name: str) -> list[str]:
    """Python's arguments for a command, in the folder that was prepared."""
    started = ["-m", "eqprop_field", name]
    if name == "--help":
        return started
    if name == "init":
        return [*started, "--sizes", "2,2,2", "--symmetry", "0.5", "--out", "net.safetensors"]
    out = "net.cir" if name == "export" else name
    return [*started, "net.safetensors", "--input", "x.npy", "--target", "y.npy", "--beta", "0.1", "--out", out]


def seconds(place: Path, arguments: Sequence[str], cache: str = "other") -> float:
    """The processor seconds that Python takes for these arguments in that folder, with a cache folder of that name."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "EQX_", "EQPROP_"))}
    own = {"PYTHONPATH": os.pathsep.join(sys.path), "XDG_CACHE_HOME": str(place / "caches" / cache)}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], cwd=place, env=kept | own, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _no_ngspice() -> str | None:
    try:
        find_ngspice()
    except NgspiceMissing as error:
        return str(error)
    return None


def _line(name: str, taken: np.ndarray, goal: float, unit: str) -> Ratio:
    low, median, high = (float(of(taken)) for of in (np.min, np.median, np.max))
    return Ratio(name, median, low, high, goal, at_least=False, unit=unit)
