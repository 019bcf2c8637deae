"""What a netlist is made of: elements by kind, capacitance and gate area, with every subcircuit expanded."""

import collections
import dataclasses
import math
import re
from collections.abc import Iterator, Mapping, Sequence

from .processes.cards import ASSIGNED
from .processes.values import evaluate

_KINDS = {
    "m": "transistors",
    "q": "transistors",
    "j": "transistors",
    "c": "capacitors",
    "r": "resistors",
    "d": "diodes",
}
_VALUE = re.compile(r"\S+\s+\S+\s+\S+\s+(?:c\s*=\s*)?(\{[^}]*\}|'[^']*'|\S+)")


@dataclasses.dataclass(frozen=True)
class PartList:
    """What a netlist is made of.

    Attributes:
        elements: how many there are by kind: transistors, capacitors, resistors, diodes, and sources.
        capacitance_farad: of all capacitors together, those of the transistors themselves apart.
        gate_area_square_metre: W L of all MOS transistors together; NaN, as the other one, for a value that is no
            expression of parameters.
    """

    elements: Mapping[str, int]
    capacitance_farad: float
    gate_area_square_metre: float


@dataclasses.dataclass(frozen=True)
class Element:
    """An element of a netlist, with the subcircuits that it is in expanded.

    Attributes:
        name: what ngspice calls it: `ibg0_1`, or `m.xg0_1.m1` within a subcircuit.
        kind: its first letter.
        line: its line in lower case.
        parameters: the text of the parameters that it is written with, by their names.
    """

    name: str
    kind: str
    line: str
    parameters: Mapping[str, str]

    @property
    def given(self) -> dict[str, str]:
        """What it is given by name, such as `w` and `l`, as it is written."""
        return dict(ASSIGNED.findall(self.line))

    def number(self, text: str) -> float:
        """What an expression of its parameters is; NaN for one that is none."""
        return number_of(text, self.parameters)


@dataclasses.dataclass
class _Definition:
    """A subcircuit: the text of its parameters by name, and its lines."""

    parameters: dict[str, str]
    lines: list[str]


def part_list(text: str) -> PartList:
    """The parts of a netlist.

    Args:
        text: a whole netlist, its title as the first line; what it calls is defined in it.

    Raises:
        ValueError: for a call of a subcircuit that is not defined in it.
    """
    count: collections.Counter[str] = collections.Counter()
    farad = area = 0.0
    for element in elements(text):
        count[_KINDS.get(element.kind, "sources")] += 1
        if element.kind == "c" and (value := _VALUE.match(element.line)):
            farad += element.number(value[1])
        elif element.kind == "m":
            given = {"w": "", "l": "", "m": "1"} | element.given
            area += math.prod(element.number(given[name]) for name in "wlm")
    return PartList(dict(count.most_common()), farad, area)


def elements(text: str) -> Iterator[Element]:
    """Every element of a netlist, with all subcircuits expanded; arguments and errors as `part_list`."""
    top, definitions = _read(text)
    return _expanded(top, {}, definitions, "")


def statements(text: str) -> list[str]:
    """The lines of a netlist in lower case, without its title, comments and blanks, continuations joined."""
    lines: list[str] = []
    for line in map(str.strip, text.lower().splitlines()[1:]):
        if line.startswith("+") and lines:
            lines[-1] += " " + line[1:]
        elif line and line[0] != "*":
            lines.append(line)
    return lines


def _read(text: str) -> tuple[list[str], dict[str, _Definition]]:
    """The elements outside of subcircuits, and these."""
    outside = _Definition({}, [])
    open_, definitions = [outside], {}
    for line in statements(text):
        word, *rest = line.split()
        if word == ".subckt":
            open_.append(_Definition(dict(ASSIGNED.findall(line)), []))
            definitions[rest[0]] = open_[-1]
        elif word == ".ends":
            open_.pop()
        elif word == ".param":
            open_[-1].parameters |= dict(ASSIGNED.findall(line))
        elif word[0] != ".":
            open_[-1].lines.append(line)
    return outside.lines, definitions


def _expanded(
    lines: Sequence[str], parameters: Mapping[str, str], definitions: Mapping[str, _Definition], within: str
) -> Iterator[Element]:
    for line in lines:
        word = line.split()[0]
        if word[0] != "x":
            yield Element(f"{word[0]}.{within}{word}" if within else word, word[0], line, parameters)
            continue
        called = ASSIGNED.sub("", line).replace("params:", "").split()[-1]
        if called not in definitions:
            raise ValueError(f"the netlist calls {called}, which it does not define")
        part = definitions[called]
        handed = {name: repr(number_of(value, parameters)) for name, value in ASSIGNED.findall(line)}
        yield from _expanded(part.lines, part.parameters | handed, definitions, f"{within}{word}.")


def number_of(text: str, parameters: Mapping[str, str]) -> float:
    """What an expression of these parameters is; NaN for one that is none."""
    try:
        return evaluate(text, parameters)
    except ValueError:
        return math.nan
