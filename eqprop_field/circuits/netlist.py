"""A netlist: the text that a simulator runs, the map that reads it back, and the same as a PySpice circuit."""

import dataclasses
import math
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from .._files import write_json, write_text

_CORNERS_PER_LINE = 8


@dataclasses.dataclass(frozen=True, eq=False)
class Netlist:
    """A netlist that `ngspice -n -b net.cir -r out.raw` runs as it is, and how to read its voltages.

    Attributes:
        text: the netlist, with its analysis card and without a control section.
        state_nodes: the node of every neuron's state, in the order of `flatten_state`.
        end_s: when the transient ends, in seconds.
        map: what `net.map.json` holds: nodes to neurons, scales, the times of the phases.
        supplies: the volts of the sources whose currents are saved, by name.
    """

    text: str
    state_nodes: tuple[str, ...]
    end_s: float
    map: dict[str, Any]
    supplies: dict[str, float] = dataclasses.field(default_factory=dict)

    def write(self, path: str | os.PathLike[str]) -> tuple[pathlib.Path, pathlib.Path]:
        """Writes the netlist and, beside it, the map (`net.cir` gives `net.map.json`), each whole or not at all.

        Raises:
            OSError: where the folder cannot be written to, with one sentence that says how to mend it.
        """
        path = pathlib.Path(path)
        beside = path.with_suffix(".map.json")
        write_json(beside, self.map)
        write_text(path, self.text)
        return path, beside

    def to_pyspice(self) -> Any:
        """The same circuit as a `PySpice.Spice.Netlist.Circuit`, whose elements can be looked up, changed and added to.

        Neurons, synapses and sources are elements of it (`circuit["Xn0"]`); subcircuits, device models, options,
        initial states and elements of other kinds are its `raw_spice`. The analysis is PySpice's to ask for, such as
        `circuit.simulator().transient(step_time=..., end_time=netlist.end_s, use_initial_condition=True)`; leave
        `use_initial_condition` out where the netlist's own `.tran` card has no `uic`.

        Raises:
            ModuleNotFoundError: if PySpice is not installed.
        """
        from PySpice.Spice.Netlist import Circuit

        title, *lines = self.text.splitlines()
        circuit, raw = Circuit(title), []
        for line, is_element in _sorted_out(lines):
            name, *words = line.split()
            kind, label = name[0].upper(), name[1:]
            if not is_element or kind not in "XGRVI":
                raw.append(line)
                continue
            if kind == "X":
                pairs = dict(word.split("=", 1) for word in words if "=" in word)
                *nodes, called = (word for word in words if "=" not in word)
                circuit.X(label, called, *nodes, **pairs)
            elif kind == "G":
                circuit.VCCS(label, *words[:4], transconductance=words[4])
            else:
                {"R": circuit.R, "V": circuit.V, "I": circuit.I}[kind](label, *words[:2], " ".join(words[2:]))
        circuit.raw_spice += "\n".join(raw) + "\n"
        return circuit


def _sorted_out(lines: list[str]) -> Iterator[tuple[str, bool]]:
    """Lines without comments and the analysis; whether each is an element of the circuit itself."""
    inside = False
    for line in "\n".join(lines).replace("\n+", "").splitlines():
        card = line.lower().split()[0] if line.split() else "*"
        inside = inside or card == ".subckt"
        if not card.startswith("*") and (inside or card not in (".tran", ".save", ".end")):
            yield line, not inside and card[0] not in ".+"
        inside = inside and card != ".ends"


def number(value: float) -> str:
    """A number as SPICE reads it back bit for bit.

    Raises:
        ValueError: for NaN and infinity.
    """
    value = float(value)
    if not math.isfinite(value):
        raise ValueError(f"a circuit element would get the value {value!r}; check the weights, inputs and scales")
    return repr(value)


def piecewise_linear(source: str, seconds: Sequence[float], values: Sequence[float]) -> Iterator[str]:
    """The lines of a source, given by its name and nodes, that runs through these corners."""
    corners = [f"{number(t)} {number(value)}" for t, value in zip(seconds, values, strict=True)]
    yield f"{source} PWL("
    for first in range(0, len(corners), _CORNERS_PER_LINE):
        yield f"+ {' '.join(corners[first : first + _CORNERS_PER_LINE])}"
    yield "+ )"
