"""`export` and `circuit`: netlists that ngspice runs by itself, and the agreement with the ODE."""

import csv
import dataclasses
import json
import subprocess
from typing import ClassVar

import numpy as np
import pytest

from eqprop_field.circuits import Behavioural, Scaling, levels, playground, register_level


def test_the_netlist_runs_as_it_is(run, folder, sample, ngspice):
    said = run("export", *sample, "--sample", 1, "--out", folder / "n" / "net.cir", "--json")
    assert said.code == 0
    netlist = (folder / "n" / "net.cir").read_text()
    assert ".control" not in netlist
    assert json.loads((folder / "n" / "net.map.json").read_text())
    raw = subprocess.run(
        [ngspice, "-n", "-b", "net.cir", "-r", "out.raw"], cwd=folder / "n", capture_output=True, timeout=120
    )
    assert raw.returncode == 0
    header = (folder / "n" / "out.raw").read_bytes().split(b"Binary:")[0].decode()
    assert int(header.split("No. Points:")[1].split()[0]) > 100


def test_samples_have_their_own_netlists(run, folder, sample):
    for k in (0, 1):
        assert run("export", *sample, "--sample", k, "--out", folder / f"{k}.cir").code == 0
    assert (folder / "0.cir").read_text() != (folder / "1.cir").read_text()


def test_a_page_is_written_beside_the_netlist(run, folder, sample, monkeypatch):
    to = ["--out", folder / "net.cir", "--html"]
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "nothing"))
    said = run("export", *sample, *to, folder / "net.html")
    assert said.code == 2 and "get it with `npm install" in said.err and not (folder / "net.cir").exists()
    said = run("export", *sample, *to, folder / "net.txt")
    assert said.code == 2 and "--html" in said.err and "name a file that ends in .html" in said.err
    monkeypatch.setattr(playground, "find_engine", lambda: playground.Engine(b"", ""))
    said = run("export", *sample, *to, folder / "net.html", "--json")
    assert said.code == 0 and said.json["page"] == str(folder / "net.html")
    assert "Vx3 x3 0" in (folder / "net.cir").read_text() and "Vx3 x3 0" in (folder / "net.html").read_text()


def test_circuit_and_ode_agree(run, folder, sample, ngspice):
    said = run("circuit", *sample, "--beta", 0.1, "--out", folder / "o", "--json")
    assert said.code == 0
    agreement = json.loads((folder / "o" / "agreement.json").read_text())
    named = {"max_abs_trajectory", "max_abs_free", "max_abs_nudged", "update_cosine", "update_signs", "verdict"}
    seconds, joules = (
        {"settling_free_second", "settling_nudged_second"},
        {"energy_inference_joule", "energy_update_joule"},
    )
    assert set(agreement) == named | seconds | joules | {"power_watt"}
    assert agreement["power_watt"] is None and 0 < agreement["settling_free_second"] < 60e-6
    assert agreement["verdict"] == "agrees"
    assert agreement["max_abs_free"] < 1e-6
    assert agreement["max_abs_trajectory"] < 1e-4
    assert {path.name for path in (folder / "o").iterdir()} == set(said.json["files"])
    assert {"phases.npz", "agreement.json", "net.cir", "ngspice.log", "agreement.png"} <= set(said.json["files"])

    assert run("simulate", *sample, "--beta", 0.1, "--out", folder / "s").code == 0
    with np.load(folder / "o" / "phases.npz") as circuit, np.load(folder / "s" / "phases.npz") as ode:
        assert set(circuit.files) == set(ode.files)
        for name in ("s0_0", "s0_1", "sbeta_0", "sbeta_1"):
            np.testing.assert_allclose(circuit[name], ode[name], atol=1e-6)
        np.testing.assert_allclose(circuit["update_path_W_0_1"], ode["update_path_W_0_1"], atol=2e-3)
        at = np.interp(circuit["t_free"], ode["t_free"], ode["free_0"][:, 0, 0])
        np.testing.assert_allclose(circuit["free_0"][:, 0, 0], at, atol=1e-3)


@pytest.mark.parametrize("options", [("--cost", "huber"), ("--beta", "inf")])
def test_any_nudge_of_an_ode_is_one_of_a_circuit(run, folder, sample, ngspice, options):
    assert run("circuit", *sample, *options, "--keep-raw", folder / "k", "--out", folder / "o").code == 0
    decks = {path.read_text() for path in (folder / "k").glob("*.cir")}
    assert decks == {path.read_text() for path in (folder / "o").glob("*.cir")} and len(decks) == 2
    assert run("circuit", *sample, "--engine", "shared", "--keep-raw", folder / "k", "--out", folder / "p").code == 2
    assert run("simulate", *sample, *options, "--substrate", "equilibrium", "--out", folder / "s").code == 0
    with np.load(folder / "o" / "phases.npz") as circuit, np.load(folder / "s" / "phases.npz") as ode:
        np.testing.assert_allclose(circuit["update_W_0_1"], ode["update_W_0_1"], atol=1e-5)
        assert np.abs(ode["update_W_0_1"]).max() > 1e-2
    said = run("export", *sample, *options, "--level", "opamp", "--out", folder / "net.cir")
    assert said.code == 2 and not (folder / "net.cir").exists()


def test_corners_and_temperatures_are_one_table_with_a_verdict_a_row(run, folder, ngspice):
    assert run("init", "--sizes", "2,3,1", "--activation", "tanh", "--out", folder / "tanh.safetensors").code == 0
    np.save(folder / "x2.npy", [[0.6, -0.4]])
    np.save(folder / "y1.npy", [[0.5]])
    one = ("circuit", folder / "tanh.safetensors", "--input", folder / "x2.npy", "--target", folder / "y1.npy")
    options = ("--level", "ota,transistor", "--celsius", "27,85", "--beta", "0.5", "--time", "40,30")
    said = run(*one, *options, "--out", folder / "o", "--json")
    assert said.code == 0
    with (folder / "o" / "agreements.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["circuit"] for row in rows] == ["ota", "generic 27C", "generic 85C"]
    assert {row["verdict"] for row in rows} == {"agrees"} and rows[0]["vdd"] == ""
    assert float(rows[1]["vdd"]) > float(rows[2]["vdd"]) > 0.3
    written = {str(path.relative_to(folder / "o")) for path in (folder / "o").rglob("*") if path.is_file()}
    assert written == set(said.json["files"]) and "generic_85C/net.cir" in written
    refused = run("export", *one[1:], *options, "--out", folder / "net.cir")
    assert refused.code == 2 and "one circuit, not 3" in refused.err


def test_symmetric_nudging_has_two_nudged_phases(run, folder, sample, ngspice):
    said = run("circuit", *sample, "--nudging", "symmetric", "--out", folder / "o", "--json")
    assert said.code == 0 and said.json["nudging"] == "symmetric" and said.json["verdict"] == "agrees"
    phases = json.loads((folder / "o" / "net.map.json").read_text())["phases"]
    assert [phase["beta"] for phase in phases] == [0.0, 0.1, 0.0, -0.1]


def test_both_engines_measure_the_same(run, folder, sample, ngspice):
    measured = []
    for engine in ("batch", "shared"):
        assert run("circuit", *sample, "--engine", engine, "--out", folder / engine).code == 0
        measured.append(np.load(folder / engine / "phases.npz"))
    for name in ("s0_0", "s0_1", "sbeta_0", "sbeta_1"):
        np.testing.assert_array_equal(measured[0][name], measured[1][name])


def test_a_simulator_that_dies_is_a_verdict(run, folder, sample, monkeypatch):
    (folder / "bin").mkdir()
    (folder / "bin" / "ngspice").write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo ngspice-0 && exit\necho out of luck\nexit 3\n'
    )
    (folder / "bin" / "ngspice").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:/bin:/usr/bin")
    said = run("circuit", *sample, "--out", folder / "o", "--json")
    assert said.code == 1
    assert said.json["verdict"] == "simulator_failed"
    assert json.loads((folder / "o" / "agreement.json").read_text())["max_abs_free"] is None
    assert "out of luck" in (folder / "o" / "ngspice.log").read_text()


@pytest.mark.parametrize(
    "options", [["crossbar", "--conductance-bits", 8], ["opamp", "--gain-bandwidth", 60], ["ota"]], ids=str
)
def test_levels_are_judged_by_what_they_learn(run, folder, sample, ngspice, options):
    said = run("circuit", *sample, "--level", *options, "--out", folder / "o", "--json")
    assert said.code == 0, said.err
    assert said.json["level"] == options[0] and said.json["verdict"] == "agrees"
    assert said.json["update_cosine"] > 0.9999 and said.json["max_abs_free"] > 1e-6
    assert json.loads((folder / "o" / "net.map.json").read_text())["level"] == options[0]


def test_a_level_too_poor_to_learn_with_fails(run, folder, sample, ngspice):
    said = run("circuit", *sample, "--level", "opamp", "--amplifier-gain", 3, "--out", folder / "o", "--json")
    assert said.code == 1 and said.json["verdict"] == "disagrees"


def test_transistors_refuse_a_hard_sigmoid(run, folder, sample):
    said = run("export", *sample, "--level", "transistor", "--out", folder / "net.cir")
    assert said.code == 2 and "activation tanh" in said.err
    assert not (folder / "net.cir").exists()


def test_levels_of_the_users_own_have_names(run, folder, sample):
    @dataclasses.dataclass(frozen=True)
    class Slow(Behavioural):
        """A level whose time constants are ten times as long."""

        name: ClassVar[str] = "slow"
        scaling: Scaling = dataclasses.field(default_factory=lambda: Scaling(tau_s=1e-5))

    before = dict(levels.LEVELS)
    try:
        register_level(Slow)
        with pytest.raises(ValueError, match="level 'slow' already"):
            register_level(
                dataclasses.make_dataclass("Other", [], bases=(Slow,), namespace={"name": "slow"}, frozen=True)
            )
        with pytest.raises(ValueError, match="no `name` of its own"):
            register_level(dataclasses.make_dataclass("Nameless", [], bases=(Behavioural,), frozen=True))
        said = run("export", *sample, "--level", "slow", "--out", folder / "net.cir", "--json")
        assert said.code == 0 and said.json["level"] == "slow"
    finally:
        levels.LEVELS.clear()
        levels.LEVELS.update(before)
    said = run("export", *sample, "--level", "slow", "--out", folder / "net.cir")
    assert said.code == 2 and "there are behavioural" in said.err


def test_options_of_other_levels_are_refused(run, folder, sample):
    said = run("export", *sample, "--level", "ota", "--amplifier-gain", 100, "--out", folder / "net.cir")
    assert said.code == 2 and "--amplifier-gain is an option of --level crossbar or opamp" in said.err


def test_several_samples_follow_one_another(run, folder, sample, ngspice):
    run("export", *sample, "--sequence", 2, "--explicit-inputs", "--out", folder / "net.cir")
    said = json.loads((folder / "net.map.json").read_text())
    assert [(phase["sample"], phase["beta"]) for phase in said["phases"]] == [(0, 0), (0, 0.1), (1, 0), (1, 0.1)]
    done = subprocess.run([ngspice, "-n", "-b", "net.cir", "-r", "o.raw"], cwd=folder, capture_output=True, timeout=60)
    assert done.returncode == 0
    assert run("export", *sample, "--sequence", 3, "--out", folder / "net.cir").code == 2


def test_own_neuron_is_built_in_and_a_hostile_one_is_not(run, folder, sample, ngspice):
    own = folder / "ne\nuron $(touch gone) .control.sub"
    own.write_text(
        ".subckt mine s r capacitance=1n leak=1k unit=1 start=0\nC1 s 0 {capacitance} ic={start}\nR1 s 0 {leak}\n"
        "Br r 0 V=unit*min(max(v(s)/unit,0),1)\n.ends\n"
    )
    said = run("circuit", *sample, "--neuron", own, "--out", folder / "o", "--json")
    assert said.code == 0 and said.json["verdict"] == "agrees"
    netlist = (folder / "o" / "net.cir").read_text()
    assert ".subckt mine" in netlist and ".control" not in netlist and "touch" not in netlist
    own.write_text(own.read_text() + ".control\nshell touch gone\n.endc\n")
    said = run("circuit", *sample, "--neuron", own, "--out", folder / "p")
    assert said.code == 2 and ".control" in said.err and not (folder / "p").exists()
    assert run("circuit", *sample, "--synapse", folder / "none.sub", "--out", folder / "p").code == 2


def test_devices_are_ranked(run, folder, ngspice):
    run("init", "--sizes", "2,3,1", "--activation", "tanh", "--gain", "0.5", "--out", folder / "tanh.safetensors")
    np.save(folder / "x2.npy", [[0.6, -0.4]])
    np.save(folder / "y1.npy", [[0.5]])
    one = ("sensitivity", folder / "tanh.safetensors", "--input", folder / "x2.npy", "--target", folder / "y1.npy")
    said = run(*one, "--level", "transistor", "--time", "30,20", "--out", folder / "o", "--json")
    assert said.code == 0, said.err
    assert {path.name for path in (folder / "o").iterdir()} == set(said.json["files"])
    with open(folder / "o" / "devices.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [rows[0][name] for name in ("device", "parameter")] == list(said.json["first"][0].values())[:2]
    assert float(rows[0]["relative"]) == float(rows[0]["value"]) * float(rows[0]["sensitivity"])
    assert json.loads((folder / "o" / "sensitivity.json").read_text())["cosine_ode_gradient"] > 0.99
    said = run(*one, "--level", "transistor", "--time", "1,1", "--out", folder / "p")
    assert said.code == 1 and "not_settled" in said.err
