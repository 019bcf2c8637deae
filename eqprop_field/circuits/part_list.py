"""What a netlist is made of: elements by kind, capacitance and gate area, with every subcircuit expanded."""

import collections
import dataclasses
import math
import re
from collections.abc import Mapping, Sequence

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
    top, definitions = _read(text)
    elements: collections.Counter[str] = collections.Counter()
    farad, area = _expand(top, {}, definitions, elements)
    return PartList(dict(elements.most_common()), farad, area)


def _read(text: str) -> tuple[list[str], dict[str, _Definition]]:
    """The elements outside of subcircuits, and these."""
    lines: list[str] = []
    for line in map(str.strip, text.lower().splitlines()[1:]):
        if line.startswith("+") and lines:
            lines[-1] += " " + line[1:]
        elif line and line[0] != "*":
            lines.append(line)
    outside = _Definition({}, [])
    open_, definitions = [outside], {}
    for line in lines:
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


def _expand(
    lines: Sequence[str],
    parameters: Mapping[str, str],
    definitions: Mapping[str, _Definition],
    elements: collections.Counter[str],
) -> tuple[float, float]:
    """Counts the elements, and gives their capacitance and gate area."""
    farad = area = 0.0
    for line in lines:
        given = dict(ASSIGNED.findall(line))
        if line[0] == "x":
            called = ASSIGNED.sub("", line).replace("params:", "").split()[-1]
            if called not in definitions:
                raise ValueError(f"the netlist calls {called}, which it does not define")
            part = definitions[called]
            handed = {name: repr(_number(value, parameters)) for name, value in given.items()}
            more = _expand(part.lines, part.parameters | handed, definitions, elements)
            farad, area = farad + more[0], area + more[1]
            continue
        elements[_KINDS.get(line[0], "sources")] += 1
        if line[0] == "c" and (value := _VALUE.match(line)):
            farad += _number(value[1], parameters)
        elif line[0] == "m":
            size = (
                _number(given.get(name, default), parameters) for name, default in (("w", ""), ("l", ""), ("m", "1"))
            )
            area += math.prod(size)
    return farad, area


def _number(text: str, parameters: Mapping[str, str]) -> float:
    try:
        return evaluate(text, parameters)
    except ValueError:
        return math.nan
