"""The reference netlists are what the code writes today, run as they are, and settle where the network does."""

import importlib.util
import json
import pathlib
import re
import subprocess
import types

import numpy as np
import pytest
from scipy.optimize import root

from eqprop_field.circuits import parse_raw

_ROOT = pathlib.Path(__file__).parents[2]
_FOLDER = _ROOT / "circuits" / "examples"
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e[+-]?\d+)?(?![\w.])")
# How far states may be from the ideal network's, in state units: what the example's devices do.
_APART = {
    "behavioural": 1e-6,
    "crossbar": 0.02,
    "opamp": 0.01,
    "ota": 0.02,
    "transistor": 0.03,
    "transistor_gilbert": 0.05,
    "transistor_bsim3": 0.05,
}


@pytest.fixture(scope="module")
def script() -> types.ModuleType:
    spec = importlib.util.spec_from_file_location("write_examples", _ROOT / "scripts" / "write_examples.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_examples_are_what_the_script_writes(script, tmp_path):
    script.write(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(p.name for p in _FOLDER.iterdir() if p.suffix != ".md")
    for path in tmp_path.iterdir():
        ours, theirs = path.read_text(), (_FOLDER / path.name).read_text()
        assert _NUMBER.sub("#", ours) == _NUMBER.sub("#", theirs), f"{path.name}: run scripts/write_examples.py"
        numbers = [[float(n) for n in _NUMBER.findall(text)] for text in (ours, theirs)]
        np.testing.assert_allclose(*numbers, rtol=1e-12, err_msg=path.name)


def equilibrium(script: types.ModuleType, beta: float) -> np.ndarray:
    """By scipy, from the numbers in the script."""
    circuit = script.CIRCUIT
    w = np.zeros((4, 4))
    w[circuit.synapses.post, circuit.synapses.pre] = circuit.synapses.weight
    win = np.zeros((4, 2))
    win[circuit.input_synapses.post, circuit.input_synapses.pre] = circuit.input_synapses.weight
    drive = circuit.drive + win @ circuit.input_rates
    nudge = np.array([beta, 0.0, 0.0, 0.0])
    return root(lambda s: w @ np.tanh(s) + drive - s + nudge * (0.6 - s), np.zeros(4), tol=1e-12).x


@pytest.mark.parametrize("name", list(_APART))
def test_examples_run_in_any_ngspice_as_they_are(ngspice, script, name, tmp_path):
    done = subprocess.run(
        [ngspice, "-n", "-b", str(_FOLDER / f"{name}.cir"), "-r", "out.raw"], cwd=tmp_path, capture_output=True
    )
    assert done.returncode == 0
    vectors = parse_raw((tmp_path / "out.raw").read_bytes())
    said = json.loads((_FOLDER / f"{name}.map.json").read_text())
    states = np.stack([vectors[f"v({node['state']})"] for node in said["nodes"]], axis=1)
    states /= said["scales"]["volt_per_unit"]
    for phase in said["phases"]:
        end = np.array([np.interp(phase["end_s"], vectors["time"], column) for column in states.T])
        assert np.abs(end - equilibrium(script, phase["beta"])).max() < _APART[name]
