"""Circuits: how much of ngspice's own speed is left to those who call it from here."""

import pathlib
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import jax
import numpy as np

from ..activations import ACTIVATIONS
from ..circuits import (
    Batch,
    Behavioural,
    Netlist,
    NgspiceMissing,
    Shared,
    compile_each,
    find_library,
    measure,
    run_all,
    schedule,
)
from ..vector_fields import AbstractVectorField, field_class
from .paired import Ratio, paired

_TANH = ACTIVATIONS["tanh"]
_WINDOWS = schedule(20.0, 15.0, [0.5])
_FOUR = 4


def circuits(turns: int) -> Iterator[Ratio]:
    """Runs through the shared engine against the bare library; export and reading back against ngspice's own time."""
    name = "bare libngspice v. shared engine"
    try:
        library = find_library()
        Shared().close()
        Batch().klu  # noqa: B018  raises where there is no ngspice
    except NgspiceMissing as error:
        yield Ratio.left_out(name, str(error))
        return
    for sizes, runs in (((2, 4, 1), 100), ((64, 32, 10), 12)):
        netlists = _netlists(field_class("layered").create(jax.random.key(0), sizes, activation=_TANH), runs)
        what = f"{'-'.join(map(str, sizes))} free and nudged, {runs} runs"
        for processes in (1, _FOUR):
            yield _against_the_library(
                f"{name}, {what}, {processes} process{'es' * (processes > 1)}", library, netlists, processes, turns
            )
        with _Raw(library, netlists[:1]) as raw:
            raw.ask("begin alter")
            yield paired(
                f"weights by alter v. loading anew, {what.split(',')[0]}",
                lambda raw=raw: raw.ask("alter"),
                lambda raw=raw: raw.ask("load"),
                turns=turns,
            )
    yield _around_a_run(turns)


def _netlists(field: AbstractVectorField, count: int) -> list[Netlist]:
    random = np.random.default_rng(0)
    x, y = random.random((count, field.n_inputs)), random.random((count, field.n_outputs))
    return [Behavioural().emit(circuit) for circuit in compile_each(field, x, y, _WINDOWS)]


def _against_the_library(name: str, library: str, netlists: list[Netlist], processes: int, turns: int) -> Ratio:
    """The same netlists by as many processes, all vectors read, on both sides."""
    raws = [_Raw(library, netlists[k::processes]) for k in range(processes)]
    engine = Shared(workers=processes)
    try:

        def bare() -> None:
            for raw in raws:
                raw.begin("run")
            for raw in raws:
                raw.finish()

        return paired(name, bare, lambda: run_all(engine, netlists, processes), turns=turns, goal=0.8)
    finally:
        engine.close()
        for raw in raws:
            raw.close()


def _around_a_run(turns: int) -> Ratio:
    """Writing the netlist and reading the states back, against ngspice's own run, for a dense network of 100."""
    field = field_class("graph").create(jax.random.key(0), neurons=100, inputs=10, outputs=10, activation=_TANH)
    random = np.random.default_rng(0)
    level, engine = Behavioural(), Batch()
    x, y = random.random(10), random.random(10)
    (circuit,) = compile_each(field, x, y, _WINDOWS)
    netlist = level.emit(circuit)
    found = engine.run(netlist)

    def around() -> None:
        level.emit(compile_each(field, x, y, _WINDOWS)[0])
        measure(circuit, level.scaling, found)

    name = "export and reading back v. ngspice, dense graph of 100"
    return paired(name, around, lambda: engine.run(netlist), turns=turns, goal=0.1, at_least=False)


class _Raw:
    """A process with the bare library and its netlists, in an empty folder of its own."""

    def __init__(self, library: str, netlists: list[Netlist]) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(pathlib.Path(__file__).with_name("raw_ngspice.py")), library],
            cwd=self.folder.name,
            env={"HOME": self.folder.name, "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self.process.stdin is not None and self.process.stdout is not None
        self.stdin, self.stdout = self.process.stdin, self.process.stdout
        pickle.dump([netlist.text for netlist in netlists], self.stdin)

    def __enter__(self) -> "_Raw":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def begin(self, request: str) -> None:
        self.stdin.write(f"{request}\n".encode("ascii"))
        self.stdin.flush()

    def finish(self) -> None:
        if self.stdout.readline() != b"done\n":
            raise RuntimeError("the bare library died: the benchmark of circuits has nothing to compare with")

    def ask(self, request: str) -> None:
        self.begin(request)
        self.finish()

    def close(self) -> None:
        self.stdin.close()
        self.process.wait()
        self.stdout.close()
        self.folder.cleanup()
