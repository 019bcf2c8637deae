"""The netlist of a circuit that learns: a level's own neurons and nudges, with plastic synapses among them."""

import dataclasses
from collections.abc import Iterator
from typing import Literal

import numpy as np

from ..ir import Synapses
from ..levels import AbstractLevel, Netlist, Transistor
from ..levels.base import number
from ..processes.fabrication import fabricated
from .plan import PlasticCircuit, gate_corners
from .wiring import AbstractWiring, wiring_for

Multiplier = Literal["behavioural", "transistor"]

_NOTHING = Synapses(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
_CORNERS_PER_LINE = 8
_SAVED_PER_LINE = 20


def plastic_netlist(
    plastic: PlasticCircuit, level: AbstractLevel, *, multiplier: Multiplier = "behavioural", klu: bool = False
) -> Netlist:
    """The circuit as ONE transient in which it learns; nothing is computed outside of it.

    The weight of synapse k is v(w<k>), u in state units beside `wref`, and stands behind the states in the netlist's
    `state_nodes`. One half of every membrane's capacitor is the one that senses its change.

    Args:
        plastic: the circuit, from `compile_plastic`.
        level: what neurons, synapses and nudges are made of: `Behavioural()` or `Transistor(cell="gilbert")`.
        multiplier: what multiplies rate and change: an ideal source or, for transistors, a Gilbert cell.
        klu: whether to ask for the KLU solver.

    Raises:
        ValueError: for a level or a multiplier that there is no plastic synapse for, and as `emit`.
    """
    wiring = wiring_for(level, multiplier)
    circuit = plastic.circuit
    bare = dataclasses.replace(circuit, tau=0.5 * circuit.tau, synapses=_NOTHING, input_synapses=_NOTHING)
    plain = level.emit(bare, klu=klu, edge=plastic.edge(level.edge))
    lines = plain.text.splitlines()
    weights = tuple(f"w{k}" for k in range(len(plastic.bounds)))
    at = next(k for k, line in enumerate(lines) if line.startswith(".options"))
    learning = [*wiring.parts(), *_gate(plastic, wiring), *wiring.senses(circuit), *_synapses(plastic, wiring)]
    if isinstance(level, Transistor) and level.process.key is not None:
        learning = fabricated(learning, level.process)
    lines[at:at] = [line for line in learning if "\n" not in line or line not in plain.text]  # each part once
    end = next(k for k, line in enumerate(lines) if line.startswith(".tran"))
    saved = (*(f"v({node})" for node in weights), *(f"i({source})" for source in wiring.supplies))
    lines[end:end] = [*_saved(saved), *wiring.initial(plastic)]
    return dataclasses.replace(
        plain,
        text="\n".join(lines) + "\n",
        state_nodes=(*plain.state_nodes, *weights),
        supplies={**plain.supplies, **wiring.supplies},
        map={**plain.map, "plasticity": dataclasses.asdict(plastic.plasticity), "weights": _map(plastic)},
    )


def _synapses(plastic: PlasticCircuit, wiring: AbstractWiring) -> Iterator[str]:
    circuit, k = plastic.circuit, 0
    for source, synapses in ((wiring.rate, circuit.synapses), ("x", circuit.input_synapses)):
        for i, j, _ in synapses:
            yield from wiring.synapse(k, f"{source}{j}", i, float(plastic.bounds[k]), plastic.plasticity.rate)
            k += 1


def _gate(plastic: PlasticCircuit, wiring: AbstractWiring) -> Iterator[str]:
    times, opened = gate_corners(plastic)
    for node, shut_v, open_v in wiring.gate_levels:
        volts = shut_v + (open_v - shut_v) * opened
        seconds = wiring.level.scaling.tau_s * times
        corners = [f"{number(t)} {number(v)}" for t, v in zip(seconds.tolist(), volts.tolist(), strict=True)]
        yield f"V{node} {node} 0 PWL("
        for first in range(0, len(corners), _CORNERS_PER_LINE):
            yield f"+ {' '.join(corners[first : first + _CORNERS_PER_LINE])}"
        yield "+ )"


def _saved(vectors: tuple[str, ...]) -> Iterator[str]:
    for first in range(0, len(vectors), _SAVED_PER_LINE):
        yield f".save {' '.join(vectors[first : first + _SAVED_PER_LINE])}"


def _map(plastic: PlasticCircuit) -> list[dict[str, object]]:
    circuit, found = plastic.circuit, []
    for source, synapses in (("neuron", circuit.synapses), ("input", circuit.input_synapses)):
        for i, j, _ in synapses:
            k = len(found)
            found.append({"node": f"w{k}", "to": i, "from": source, "index": j, "bound": float(plastic.bounds[k])})
    return found
