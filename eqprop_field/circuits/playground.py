"""A page that runs a netlist in the browser: ngspice as WebAssembly, sliders for what is clamped, both phases."""

import base64
import gzip
import hashlib
import html
import importlib.resources
import os
import pathlib
import re
from typing import Any, NamedTuple

from .._files import PathLike, json_text, write_text
from .._page import STYLE
from ..activations import ACTIVATIONS
from .ir import AbstractCircuit, Circuit
from .netlist import Netlist

ENGINE = "eecircuit-engine"  # npm's package of ngspice 45 as WebAssembly, under the MIT licence
VERSION = "1.8.0"
_SHA256 = "fa5127d1bd2ebf731395a5d890d12166dcc6288808d44d53a8a1d09c707b7fff"
_PROGRAM = "dist/eecircuit-engine.umd.js"


class Engine(NamedTuple):
    """The simulator that a page carries: its program, and the text of its licence."""

    program: bytes
    licence: str


def find_engine() -> Engine:
    """The engine in the user's cache folder, where `make playground` or npm has put it.

    Raises:
        ValueError: where it is not there, or is another one; with the command that gets it.
    """
    base = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    folder = base / "eqprop-field" / "playground"
    package = folder / "node_modules" / ENGINE
    get_it = f"get it with `npm install --prefix {folder} {ENGINE}@{VERSION}` (20 MB)"
    try:
        program, licence = (package / _PROGRAM).read_bytes(), (package / "LICENSE").read_text(encoding="utf-8")
    except OSError:
        raise ValueError(f"ngspice for the browser, npm's {ENGINE} {VERSION}, is not in {folder}: {get_it}") from None
    if hashlib.sha256(program).hexdigest() != _SHA256:
        raise ValueError(f"{package / _PROGRAM} is damaged, or not that of {ENGINE} {VERSION}: {get_it}")
    return Engine(program, licence)


def write_playground(path: PathLike, netlist: Netlist, circuit: AbstractCircuit) -> None:
    r"""Writes a netlist as one HTML page of 8 MB that runs it, without a network and without an installation.

    Sliders set the influence parameter, the targets, and the inputs where they are explicit; each changes the numbers
    of its sources in the netlist, which is shown and can be edited. States are read where the phases end. Networks with
    nodes for firing rates show the update of every synapse, $\rho(s_j^0)\,(s_i^\beta - s_i^0)/\beta$; others the
    displacement alone.

    Args:
        path: the page to write.
        netlist: of one sample in its free phase and one nudged phase, or two at beta and -beta.
        circuit: what it was made of.

    Raises:
        ValueError: for several samples, and without the engine (`find_engine`).
        OSError: for a file that cannot be written.
    """
    if (count := 1 + max(phase["sample"] for phase in netlist.map["phases"])) > 1:
        raise ValueError(f"a page runs one sample, and this netlist clamps {count}: export one")
    engine = find_engine()
    fields = {
        "style": STYLE,
        "title": html.escape(f"{circuit.n_neurons} neurons, {netlist.map['level']} level"),
        "data": json_text(_data(netlist, circuit)).replace("<", "\\u003c"),
        "engine": base64.b64encode(gzip.compress(engine.program, 6, mtime=0)).decode("ascii"),
        "engine-name": ENGINE,
        "engine-version": VERSION,
        "licence": html.escape(engine.licence),
    }
    template = importlib.resources.files("eqprop_field.circuits").joinpath("playground.html").read_text("utf-8")
    write_text(path, re.sub("@([a-z-]+)@", lambda field: fields[field[1]], template))


def _data(netlist: Netlist, circuit: AbstractCircuit) -> dict[str, Any]:
    """What the page's program reads."""
    synapses = (circuit.synapses, circuit.input_synapses) if isinstance(circuit, Circuit) else ((), ())
    low, high = ([], []) if circuit.limits is None else circuit.limits
    activation = ACTIVATIONS.get(netlist.map["activation"])
    return {
        "netlist": netlist.text,
        "map": netlist.map,
        "limits": {"low": low, "high": high},  # an infinite one becomes null
        "lowest": 0 if activation is not None and activation.range[0] >= 0 else -1,  # of a slider
        **{
            name: [(post, pre) for post, pre, _ in among]
            for name, among in zip(("synapses", "input_synapses"), synapses, strict=True)
        },
    }
