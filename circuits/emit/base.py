"""What every fidelity gives: a netlist and the map that reads it back."""

import abc
import dataclasses
import importlib.resources
import math
import os
import pathlib
from typing import Any

from eqprop_field.storage import write_json, write_text

from ..ir import Circuit

MAP_FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """How closely the simulator is to follow the circuit's differential equations.

    Attributes:
        reltol: ngspice's relative tolerance a step; the absolute ones follow from it.
        max_step: the longest time step, in multiples of the SMALLEST time constant. It is what bounds the error
            where a firing rate has a kink, which step-size control does not see.

    Raises:
        ValueError: for values outside (0, 0.1] and (0, 1].
    """

    reltol: float = 1e-5
    max_step: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.reltol <= 0.1:
            raise ValueError(f"reltol={self.reltol!r} must be above 0 and at most 0.1")
        if not 0 < self.max_step <= 1:
            raise ValueError(f"max_step={self.max_step!r} must be above 0 and at most 1 time constant")


@dataclasses.dataclass(frozen=True, eq=False)
class Netlist:
    """A netlist that `ngspice -n -b net.cir -r out.raw` runs as it is, and how to read its voltages.

    Attributes:
        text: the netlist, with its analysis card and without a control section.
        state_nodes: the node of every neuron's state, in the order of `flatten_state`.
        end_s: when the transient ends, in seconds.
        map: what `net.map.json` holds: nodes to neurons, scales, the times of the phases.
    """

    text: str
    state_nodes: tuple[str, ...]
    end_s: float
    map: dict[str, Any]

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


class AbstractLevel(abc.ABC):
    """A fidelity: one way to build every neuron and synapse of a circuit."""

    @abc.abstractmethod
    def emit(self, circuit: Circuit, *, klu: bool = False) -> Netlist:
        """The circuit as a netlist.

        Args:
            circuit: what to build.
            klu: whether to ask for the KLU solver; only for an ngspice that has it (see `find_ngspice`).

        Raises:
            ValueError: for an activation that the library has no neuron for.
        """


def number(value: float) -> str:
    """A number as SPICE reads it back bit for bit.

    Raises:
        ValueError: for NaN and infinity.
    """
    value = float(value)
    if not math.isfinite(value):
        raise ValueError(f"a circuit element would get the value {value!r}; check the weights, inputs and scales")
    return repr(value)


def subcircuit(name: str) -> str:
    """The text of a subcircuit of the library.

    Raises:
        ValueError: if the library has none of that name.
    """
    folder = importlib.resources.files("circuits").joinpath("library")
    known = sorted(entry.name.removesuffix(".sub") for entry in folder.iterdir() if entry.name.endswith(".sub"))
    if name not in known:
        raise ValueError(f"the circuit library has no subcircuit {name!r}; it has {', '.join(known)}")
    return folder.joinpath(f"{name}.sub").read_text(encoding="ascii").strip()
