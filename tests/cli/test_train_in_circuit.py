"""`train --substrate circuit`: ngspice does every phase, and the network learns what it learns on the ODE."""

import numpy as np
import pytest

from eqprop_field.storage import load_network

XOR = ("train", "--data", "xor", "--sizes", "2,4,2", "--epochs", 1)


def test_a_circuit_in_the_loop_learns_as_the_fixed_point_solver_does(ngspice, run, tmp_path):
    said = run(*XOR, "--substrate", "circuit", "--workers", 2, "--out", tmp_path / "c", "--json")
    assert said.code == 0
    assert said.json["substrate"] == "circuit"
    assert said.json["history"][0]["verdicts"] == {"converged": 4}
    assert run(*XOR, "--out", tmp_path / "o").code == 0
    circuit, ode = (load_network(tmp_path / name / "net.safetensors") for name in "co")
    for name, tensor in ode.tensors().items():
        np.testing.assert_allclose(circuit.tensors()[name], tensor, atol=2e-3)


@pytest.mark.filterwarnings("error")
def test_phases_that_are_too_short_are_told_to_take_longer(ngspice, run, tmp_path):
    said = run(*XOR, "--substrate", "circuit", "--time", ".5,.5", "--out", tmp_path / "o")
    assert said.code == 1
    assert "100.0 % of the last epoch's samples did not settle" in said.err
    assert "4 not_settled" in said.err and "allow more time" in said.err


@pytest.mark.parametrize(
    "options, told",
    [
        (("--level", "opamp"), "--substrate circuit"),
        (("--substrate", "circuit", "--time", "0,30"), "--time"),
        (("--substrate", "circuit", "--workers", 0), "--workers"),
    ],
)
def test_options_without_meaning_are_refused(run, tmp_path, options, told):
    said = run(*XOR, *options, "--out", tmp_path / "o")
    assert said.code == 2
    assert told in said.err
