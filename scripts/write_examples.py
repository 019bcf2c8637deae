"""Writes the netlists of circuits/examples: one small network at every level. Usage: write_examples.py [FOLDER]"""

import pathlib
import sys

import numpy as np

_ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(_ROOT))

from eqprop_field.circuits import (  # noqa: E402
    AbstractLevel,
    Behavioural,
    Circuit,
    Crossbar,
    OpAmp,
    OtaC,
    Synapses,
    Transistor,
    schedule,
)

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
LEVELS: dict[str, AbstractLevel] = {
    "behavioural": Behavioural(),
    "crossbar": Crossbar(bits=6, wire_ohm=1.0),
    "opamp": OpAmp(gain=1e3, gain_bandwidth=60.0),
    "ota": OtaC(),
    "transistor": Transistor(),
    "transistor_gilbert": Transistor(cell="gilbert"),
    "transistor_bsim3": Transistor(model="bsim3"),
}


def write(folder: pathlib.Path) -> None:
    """Writes every netlist with its map."""
    for name, level in LEVELS.items():
        level.emit(CIRCUIT).write(folder / f"{name}.cir")


if __name__ == "__main__":
    write(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else _ROOT / "circuits" / "examples")
