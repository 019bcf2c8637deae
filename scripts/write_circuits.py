"""Writes what circuits/ holds: a netlist of one small network at every level, and the test benches of the library.

Usage: write_circuits.py [FOLDER]

Benches are tables in scripts/benches/*.toml, one a deck, by the deck's name:

    part      the subcircuit of the library that is tested; by default the one with the deck's name
    needs     further parts of the library that it calls, device cards among them
    title     what is measured, for the first line and the list of benches
    bench     what the circuit does, for a designer
    circuit   the circuit around the part, with one analysis; a `.param` line gives the numbers that formulas refer to
    expect    rows of [name, what follows `.meas` but the name, formula, unit, tolerance, what it is]; the tolerance is
              absolute, or in `%`, or `<=` or `>=` where the formula is a bound

A table whose name holds $activation stands for one deck each of the activations, or of those in its `only`.
"""

import dataclasses
import math
import pathlib
import re
import string
import sys
import textwrap
import tomllib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from scipy.optimize import root

_ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(_ROOT))

from eqprop_field._files import write_text  # noqa: E402
from eqprop_field.circuits import (  # noqa: E402
    AbstractLevel,
    Behavioural,
    Circuit,
    Crossbar,
    Netlist,
    OpAmp,
    OtaC,
    Process,
    Synapses,
    Transistor,
    schedule,
)
from eqprop_field.circuits.levels.base import number  # noqa: E402

# Two inputs, three hidden neurons (1 to 3) and one output (0), with forward and feedback weights of their own.
CIRCUIT = Circuit(
    activation="tanh",
    bounds=None,
    groups=(1, 3),
    tau=np.ones(4),
    drive=np.array([0.05, -0.1, 0.1, 0.0]),
    synapses=Synapses.from_matrix(
        np.array([[0.0, 0.6, -0.5, 0.4], [0.5, 0.0, 0.0, 0.0], [-0.3, 0.0, 0.0, 0.0], [0.6, 0.0, 0.0, 0.0]])
    ),
    start=np.zeros(4),
    target=np.array([0.6]),
    schedule=schedule(25.0, 20.0, [0.5]),
    input_rates=np.array([0.8, -0.4]),
    input_synapses=Synapses.from_matrix(np.array([[0.0, 0.0], [0.7, 0.4], [-0.6, 0.5], [0.3, -0.8]])),
)
# A level, how far its states may be from the ideal network's, in state units, and its updates, in percent: what its
# devices do.
EXAMPLES: dict[str, tuple[AbstractLevel, float, float]] = {
    "behavioural": (Behavioural(), 1e-6, 0.002),
    "crossbar": (Crossbar(bits=6, wire_ohm=1.0), 0.02, 10),
    "opamp": (OpAmp(gain=1e3, gain_bandwidth=60.0), 0.01, 5),
    "ota": (OtaC(), 0.02, 10),
    "transistor": (Transistor(), 0.03, 10),
    "transistor_gilbert": (Transistor(cell="gilbert"), 0.05, 15),
    "transistor_bsim3": (Transistor(process=Process.generic("bsim3")), 0.05, 10),
}
LIBRARY = _ROOT / "eqprop_field" / "circuits" / "library"
_INDEX = """# A test bench of every subcircuit

`ngspice -b opamp.cir` prints the figures that the header of opamp.cir lists, with what to expect and why;
[how to read, run and change one](../README.md). `python scripts/write_circuits.py` writes the decks and this list; a
test writes them again, runs them, and compares what they print with what they expect.

| deck | part | level | what it shows | figures |
|---|---|---|---|---|
"""
_PRINTED = (
    "* `ngspice -b` prints the figures below: what the ideal network has, and how far off this circuit may be. An",
    "* update is the presynaptic rate of the free phase times the shift of the postsynaptic state over beta.",
)
_SUFFIXES = {"": 1.0, "f": 1e-15, "p": 1e-12, "n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3, "meg": 1e6, "g": 1e9}


@dataclasses.dataclass(frozen=True)
class Expectation:
    """A figure that a deck measures, and what it is to be.

    Attributes:
        name: of the figure.
        card: `.meas` without the name.
        value: what it is to be, or its bound.
        unit: of the figure.
        tolerance: absolute, or in `%`; `<=` or `>=` where the value is a bound.
        meaning: what it is.
        formula: where the value comes from.
    """

    name: str
    card: str
    value: float
    unit: str
    tolerance: str
    meaning: str
    formula: str = ""

    @property
    def lines(self) -> list[str]:
        """What the header says, for people and for tests."""
        bound = self.tolerance in ("<=", ">=")
        value = f"{self.value + 0:.7g} {self.unit}".rstrip()  # no minus zero
        limits = f"{self.tolerance} {value}" if bound else f"= {value} +- {self.tolerance}"
        from_what = f" = {self.formula}" if re.search(r"[a-z]{2}|^[a-z]", self.formula) else ""
        says = f"* expect: {self.name} {limits} | {self.meaning}{from_what}"
        return textwrap.wrap(says, 118, subsequent_indent="*     ", break_long_words=False, break_on_hyphens=False)

    @property
    def measurement(self) -> str:
        """The card."""
        analysis, how = self.card.split(" ", 1)
        return f".meas {analysis} {self.name} {how}"


@dataclasses.dataclass(frozen=True)
class Bench:
    """A test bench of one subcircuit or of device cards; what its entries mean stands at the top of this file."""

    level: str
    name: str
    part: str
    needs: tuple[str, ...]
    title: str
    bench: str
    circuit: str
    expect: tuple[Expectation, ...]

    @property
    def text(self) -> str:
        """The deck."""
        comment, body = _split(_library(self.part))
        return "\n".join(
            [
                f"Test bench {self.name}: {self.title}",
                f"* `ngspice -b {self.name}.cir` prints the figures that the lines `expect` name.",
                "*",
                f"* THE PART: {self.part}",
                *comment,
                "*",
                "* THE BENCH",
                *(f"* {line}" for line in self.bench.strip().splitlines()),
                "*",
                "* WHAT TO EXPECT",
                *(line for expectation in self.expect for line in expectation.lines),
                "*",
                "* ---- the library's text ----",
                *(line for needed in self.needs for line in _library(needed)),
                *body,
                "* ---- the circuit of the bench ----",
                *self.circuit.strip().splitlines(),
                ".options reltol=1e-8 abstol=1e-15 vntol=1e-9",
                "* ---- what is measured ----",
                *(expectation.measurement for expectation in self.expect),
                ".end",
                "",
            ]
        )


def _file(name: str) -> str:
    """The library's file of a subcircuit, or of device cards."""
    return next(entry.name for entry in LIBRARY.iterdir() if entry.name in (f"{name}.sub", f"{name}.mod"))


def _library(name: str) -> list[str]:
    """The lines of a subcircuit, or of device cards."""
    return (LIBRARY / _file(name)).read_text(encoding="ascii").splitlines()


def _split(lines: list[str]) -> tuple[list[str], list[str]]:
    """The comment that a part begins with, and the rest."""
    first = next(k for k, line in enumerate(lines) if not line.startswith("*"))
    return lines[:first], lines[first:]


def benches() -> Iterator[Bench]:
    """All test benches, in the order of their files and tables."""
    for path in sorted((_ROOT / "scripts" / "benches").glob("*.toml")):
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        activations = tables.pop("activations", {})
        for name, table in tables.items():
            if "$activation" not in name:
                yield _bench(path.stem, name, table, {})
                continue
            for activation in table.get("only", activations):
                words = {"activation": activation, **activations[activation]}
                yield _bench(path.stem, _filled(name, words), _filled(table, words), words)


def _filled(value: Any, words: Mapping[str, str]) -> Any:
    """A table with the activation's words in the places of `$activation`, `$rho` and so on."""
    if isinstance(value, str):
        return string.Template(value).substitute(words)
    if isinstance(value, dict):
        return {key: _filled(entry, words) for key, entry in value.items()}
    return [_filled(entry, words) for entry in value]


def _bench(level: str, name: str, table: Mapping[str, Any], words: Mapping[str, str]) -> Bench:
    lines = re.findall(r"^\.param (.*)$", table["circuit"], re.MULTILINE)
    names: dict[str, Any] = {w: _spice(n) for line in lines for w, n in re.findall(r"(\w+)=(\S+)", line)}
    names |= {function: _function(words[function]) for function in ("rho", "slope") if function in words}
    expect = []
    for figure, card, formula, unit, tolerance, meaning in table["expect"]:
        names[figure] = _value(formula, names)
        expect.append(Expectation(figure, card, names[figure], unit, tolerance, meaning, formula))
    return Bench(
        level=level,
        name=name,
        part=table.get("part", name),
        needs=tuple(table.get("needs", ())),
        title=table["title"],
        bench=table["bench"],
        circuit=table["circuit"],
        expect=tuple(expect),
    )


def _value(formula: str, names: Mapping[str, Any]) -> float:
    """What a formula of a table comes to; it is written as in SPICE, with ^ for powers."""
    functions = {name: function for name, function in vars(math).items() if not name.startswith("_")}
    return float(eval(formula.replace("^", "**"), functions | {"max": max, "min": min} | dict(names)))


def _function(formula: str) -> Callable[[float], float]:
    return lambda x: _value(formula, {"x": x})


def _spice(number: str) -> float:
    """A number with a suffix of SPICE."""
    found = re.fullmatch(r"([-+]?[\d.]+(?:e[-+]?\d+)?)([a-z]*)", number)
    if not found:
        raise ValueError(f"{number!r} is no number of a .param line of a bench")
    return float(found[1]) * _SUFFIXES[found[2]]


def equilibrium(beta: float) -> np.ndarray:
    """The states in which the network of the examples rests."""
    weights, from_inputs = np.zeros((4, 4)), np.zeros((4, 2))
    for matrix, synapses in ((weights, CIRCUIT.synapses), (from_inputs, CIRCUIT.input_synapses)):
        matrix[synapses.post, synapses.pre] = synapses.weight
    drive = CIRCUIT.drive + from_inputs @ CIRCUIT.input_rates
    nudge = np.array([beta, 0.0, 0.0, 0.0])
    return root(lambda s: weights @ np.tanh(s) + drive - s + nudge * (0.6 - s), np.zeros(4), tol=1e-12).x


def example(name: str) -> Netlist:
    """The network of the examples at one level, with cards that measure its states and what they teach the synapses."""
    level, apart, percent = EXAMPLES[name]
    netlist, unit = level.emit(CIRCUIT), level.scaling.volt_per_unit
    figures, states, beta = [], [], CIRCUIT.schedule[1].beta
    for what, window in zip(("free", "nudged"), netlist.map["phases"], strict=True):
        at = number(window["end_s"] - 0.01 * level.scaling.tau_s)
        states.append(equilibrium(window["beta"]))
        for i, state in enumerate(states[-1].tolist()):
            card, says = f"tran find v(s{i}) at={at}", f"state of neuron {i} at the end of the {what} phase"
            figures.append(Expectation(f"{what}_{i}", card, unit * state, "V", f"{unit * apart:.2g}", says))
    for i, j in zip(CIRCUIT.synapses.post.tolist(), CIRCUIT.synapses.pre.tolist(), strict=True):
        card = f"tran param='tanh(free_{j}/{unit})*(nudged_{i}-free_{i})/{unit * beta}'"
        value, says = np.tanh(states[0][j]) * (states[1] - states[0])[i] / beta, f"weight to neuron {i} from neuron {j}"
        figures.append(Expectation(f"update_{i}_{j}", card, value, "", f"{percent:g} %", f"update of the {says}"))
    lines = netlist.text.splitlines()
    header = next(k for k, line in enumerate(lines) if line.startswith("* neurons:")) + 1
    lines[header:header] = [*_PRINTED, *(line for figure in figures for line in figure.lines)]
    lines[-1:-1] = [figure.measurement for figure in figures]
    return dataclasses.replace(netlist, text="\n".join(lines) + "\n")


def index() -> str:
    """The list of the benches, as Markdown."""
    library = "../../" + LIBRARY.relative_to(_ROOT).as_posix()
    rows = [
        f"| [{b.name}.cir]({b.name}.cir) | [{b.part}]({library}/{_file(b.part)}) | {b.level} | {b.title} | "
        f"{', '.join(expectation.name for expectation in b.expect)} |"
        for b in benches()
    ]
    return _INDEX + "\n".join(rows) + "\n"


def main(folder: pathlib.Path) -> None:
    """Writes everything."""
    for bench in benches():
        write_text(folder / "benches" / f"{bench.name}.cir", bench.text)
    write_text(folder / "benches" / "README.md", index())
    for name in EXAMPLES:
        example(name).write(folder / "examples" / f"{name}.cir")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else _ROOT / "circuits")
