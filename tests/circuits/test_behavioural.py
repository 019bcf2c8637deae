"""The netlist as text: what it says, what it never holds, and that it reads back bit for bit."""

import dataclasses
import json
import re
import subprocess

import jax.numpy as jnp
import numpy as np
import pytest

import eqprop_field as epf
from eqprop_field.circuits import (
    LEVELS,
    Accuracy,
    Behavioural,
    compile_circuit,
    compile_each,
    parse_raw,
    schedule,
)
from eqprop_field.circuits.levels.base import number
from eqprop_field.circuits.library import subcircuit


@pytest.mark.parametrize("rho", epf.ACTIVATIONS.values(), ids=list(epf.ACTIVATIONS))
def test_library_neurons_compute_the_activation_of_the_field(rho, ngspice, tmp_path):
    """Rate against state over the whole range, by ngspice's own DC sweep of the library's text."""
    unit = 0.5
    deck = f"""t
{subcircuit(rho.name).text}
{subcircuit(f"rate_{rho.name}").text}
Vs s 0 0
Xn s r {rho.name} capacitance=1n leak=1k unit={unit} start=0
Xr s loaded rate unit={unit}
Rload loaded 0 1k
.options reltol=1e-12 vntol=1e-14
.dc Vs -4 4 0.01
.end
"""
    (tmp_path / "d.cir").write_text(deck)
    subprocess.run([ngspice, "-n", "-b", "d.cir", "-r", "d.raw"], cwd=tmp_path, check=True, capture_output=True)
    vectors = parse_raw((tmp_path / "d.raw").read_bytes())
    expected = unit * np.asarray(rho(jnp.asarray(vectors["v(s)"] / unit)))
    np.testing.assert_allclose(vectors["v(r)"], expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(vectors["v(loaded)"], expected, rtol=1e-9, atol=1e-9)


def test_text_is_generated_names_and_numbers_only(netlist):
    lines = netlist.text.splitlines()
    assert lines[0].startswith("eqprop-field netlist")
    assert not re.search(r"^\s*\.(control|include|lib)", netlist.text, re.MULTILINE | re.IGNORECASE)
    assert netlist.text.isascii()
    assert sum(line.startswith(".tran") for line in lines) == 1
    assert [line for line in lines if line.startswith("Gg")] == [
        "Gg0_1 0 s0 r1 0 0.0004",
        "Gg1_0 0 s1 r0 0 -0.0003",
    ]


def test_the_netlist_says_which_dynamics_it_realises(pair):
    projected = dataclasses.replace(pair, activation="hard_sigmoid", bounds=(0.0, 1.0))
    above = dataclasses.replace(pair, activation="relu", bounds=(0.0, float("inf")))
    assert "dynamics: plain" in Behavioural().emit(pair).text
    assert "clamped to [0.0, 1.0]" in Behavioural().emit(projected).text
    assert "clamp_above low=0.0 stiffness" in Behavioural().emit(above).text


def test_klu_is_asked_for_only_where_it_is_there(pair):
    assert "klu" not in Behavioural().emit(pair).text
    assert ".options klu\n" in Behavioural().emit(pair, klu=True).text


@pytest.mark.parametrize("level", ["behavioural", "crossbar", "opamp", "ota"])
def test_unknown_activation_says_how_to_make_it_known(pair, level):
    with pytest.raises(ValueError, match=r"activation 'swish': give its Activation a SPICE expression.*ACTIVATIONS"):
        LEVELS[level]().emit(dataclasses.replace(pair, activation="swish"))


@pytest.mark.parametrize("value", [1.0, -1.8e-4, 5e-324, 1.7976931348623157e308, 0.1 + 0.2])
def test_numbers_read_back_bit_for_bit(value):
    assert float(number(value)) == value


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_none_are_refused(value):
    with pytest.raises(ValueError, match="circuit element"):
        number(value)


@pytest.mark.parametrize("bad", [{"reltol": 0.0}, {"reltol": 1.0}, {"max_step": 0.0}, {"max_step": float("nan")}])
def test_accuracy_has_limits(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        Accuracy(**bad)


def test_written_files_run_as_they_are(netlist, ngspice, tmp_path):
    path, beside = netlist.write(tmp_path / "net.cir")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.cir", "net.map.json"]
    subprocess.run([ngspice, "-n", "-b", "net.cir", "-r", "out.raw"], cwd=tmp_path, check=True, capture_output=True)
    vectors = parse_raw((tmp_path / "out.raw").read_bytes())
    said = json.loads(beside.read_text())
    assert set(vectors) == {"time", *(f"v({node['state']})" for node in said["nodes"])}
    assert [(n["state"], n["layer"], n["index"]) for n in said["nodes"]] == [("s0", 0, 0), ("s1", 1, 0)]
    assert [p["beta"] for p in said["phases"]] == [0.0, 0.5]
    assert vectors["time"][-1] == pytest.approx(said["phases"][-1]["end_s"], rel=1e-12)
    assert said["scales"] == {"volt_per_unit": 1.0, "tau_s": 1e-6, "leak_ohm": 1e3}
    assert said["format"] == 1 and path.read_text() == netlist.text


def test_a_place_that_cannot_be_written_to_is_named(netlist, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="cannot write"):
        netlist.write(tmp_path / "file" / "net.cir")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_circuits_of_a_batch_are_those_of_its_samples(field, batch):
    x, y = (np.asarray(data) for data in batch)
    windows = schedule(10.0, 5.0, [0.3])
    starts = np.random.default_rng(0).uniform(-1, 1, (len(x), field.n_neurons))
    together = compile_each(field, x, y, windows, starts=starts, fold_inputs=False)
    for k, circuit in enumerate(together):
        alone = compile_circuit(field, x[k], y[k], windows, start=starts[k], fold_inputs=False)
        assert Behavioural().emit(circuit).text == Behavioural().emit(alone).text
    with pytest.raises(ValueError, match="3 starts for 4 samples"):
        compile_each(field, x, y, windows, starts=starts[:3])
