"""`fidelity` and `montecarlo`: what they write, that they go on where they were broken off, and what they refuse."""

import csv
import json

import pytest

pytest.importorskip("h5py")


@pytest.mark.slow
def test_montecarlo_shows_how_chips_spread(run, folder, sample, ngspice):
    options = [*sample, "--chips", 6, "--workers", 1, "--engine", "shared", "--out", folder / "o", "--json"]
    said = run("montecarlo", *options)
    assert said.code == 0, said.err
    assert {path.name for path in (folder / "o").iterdir()} == set(said.json["files"])
    rows = list(csv.DictReader((folder / "o" / "montecarlo.csv").open()))
    cosines = [float(row["cosine_to_ideal_eqprop"]) for row in rows]
    assert [int(row["chip"]) for row in rows] == list(range(6)) and len(set(cosines)) == 6
    measure = said.json["measures"]["cosine_to_ideal_eqprop"]
    assert measure["min"] == min(cosines) and measure["mean"] == pytest.approx(sum(cosines) / 6)
    assert said.json["measures"]["joules_update"]["mean"] is None  # ideal parts take no power
    assert said.json["passed"] == sum(cosine >= 0.95 for cosine in cosines) / 6
    assert json.loads((folder / "o" / "summary.json").read_text()).items() <= said.json.items()

    again = run("montecarlo", *options)  # nothing left to do: no worker is started
    assert again.code == 0 and again.json == said.json
    other = run("montecarlo", *options, "--seed", 1)
    assert other.code == 2 and "another campaign" in other.err


@pytest.mark.slow
def test_fidelity_sweeps_parameters(run, folder, sample, ngspice):
    said = run(
        "fidelity", *sample, "--knobs", "time,mismatch", "--chips", 2, "--workers", 1, "--out", folder / "o", "--json"
    )
    assert said.code == 0, said.err
    assert {path.name for path in (folder / "o").iterdir()} == set(said.json["files"])
    assert {"fidelity_time.png", "fidelity_mismatch.png"} <= set(said.json["files"])
    rows = {(row["parameter"], row["value"]): row for row in said.json["rows"]}
    assert rows["time", 1.0]["settled"] == 0.0 and rows["time", 32.0]["settled"] == 1.0
    assert rows["time", 1.0]["cosine_to_ideal_eqprop"] < rows["time", 32.0]["cosine_to_ideal_eqprop"]
    assert rows["mismatch", 0.2]["chips"] == 2 and rows["time", 1.0]["chips"] == 1
    assert rows["mismatch", 0.2]["cosine_to_ideal_eqprop"] < rows["mismatch", 0.005]["cosine_to_ideal_eqprop"]


@pytest.mark.slow
@pytest.mark.parametrize("command", ["montecarlo --chips 2", "fidelity --knobs beta --values 0.1"])
def test_chips_that_do_not_settle_do_not_pass(run, folder, sample, ngspice, command):
    name, *options = command.split()
    said = run(name, *sample, *options, "--time", 4, "--workers", 1, "--out", folder / "o", "--json")
    assert said.code == 1 and "not at rest" in said.err and not said.json["ok"]
    found = said.json if name == "montecarlo" else said.json["rows"][0]
    assert found["passed"] == found["passed_by_chip_gradient"] == 0.0


def test_simulators_that_fail_are_a_failed_run(run, folder, sample, monkeypatch):
    (folder / "bin").mkdir()
    (folder / "bin" / "ngspice").write_text('#!/bin/sh\n[ "$1" = --version ] && echo ngspice-0 || exit 3\n')
    (folder / "bin" / "ngspice").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:/bin:/usr/bin")
    said = run("montecarlo", *sample, "--chips", 1, "--workers", 1, "--out", folder / "o", "--json")
    assert said.code == 1 and "no result for 2 samples" in said.err
    assert said.json["failed_samples"] == 2 and said.json["measures"]["cosine_to_chip_gradient"]["mean"] is None


@pytest.mark.parametrize(
    ("command", "options", "says"),
    [
        ("montecarlo", ["--chips", "0"], "at least 1"),
        ("montecarlo", ["--mismatch", "-1"], "spread"),
        ("montecarlo", ["--mismatch", "1e300"], "from 0 to 10"),
        ("montecarlo", ["--bits", "60"], "bits=60"),
        ("montecarlo", ["--noise", "nan"], "noise"),
        ("montecarlo", ["--beta", "1.5"], "beta"),
        ("montecarlo", ["--time", "0"], "time"),
        ("montecarlo", ["--time", "1,2,3"], "time"),
        ("montecarlo", ["--workers", "0"], "--workers"),
        ("montecarlo", ["--explicit-inputs"], "fold the inputs"),
        ("montecarlo", ["--mismatch", "foundry"], "the behavioural level has none"),
        ("montecarlo", ["--scheduler", "nonsense"], "no Dask scheduler"),
        ("fidelity", ["--knobs", "beta,colour"], "colour"),
        ("fidelity", ["--values", "1,2"], "one parameter"),
        ("fidelity", ["--knobs", "beta", "--values", "0"], "beta"),
        ("fidelity", ["--knobs", "beta", "--values", "a"], "list of values"),
        ("fidelity", ["--knobs", "bits", "--values", "inf"], "finite"),
        ("fidelity", ["--knobs", "bits", "--values", "nan"], "finite"),
        ("fidelity", ["--knobs", "bits", "--values", "1.5"], "whole number"),
    ],
)
def test_what_has_no_meaning_is_refused(run, folder, sample, command, options, says):
    said = run(command, *sample, *options, "--out", folder / "o")
    assert said.code == 2 and says in said.err and "internal" not in said.err
    assert len(said.err.strip().splitlines()) == 1
    assert not (folder / "o").exists()


def test_a_datasheet_of_two_circuits(run, folder, ngspice):
    net = folder / "tanh.safetensors"
    assert run("init", "--sizes", "2,3,1", "--activation", "tanh", "--gain", 0.4, "--out", net).code == 0
    options = ("--samples", 1, "--level", "ota,transistor", "--chips", 0, "--time", "60,50")
    said = run("datasheet", net, *options, "--out", folder / "o", "--json")
    assert said.code == 0, said.err
    assert {path.name for path in (folder / "o").iterdir()} == set(said.json["files"])
    assert {"datasheet.html", "datasheet.json", "agreement.png", "net.cir"} <= set(said.json["files"])
    assert [row["verdict"] for row in said.json["corners"]] == ["agrees", "agrees"]
    assert said.json["circuit"] == "ota" and said.json["chips"] == 0 and said.json["power_watt"] is None
