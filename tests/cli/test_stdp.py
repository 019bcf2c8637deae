"""`stdp`: the files it leaves, and the figures that the theory asks for."""

import csv

import pytest


def test_stdp_is_odd_and_follows_the_rate_rule(run, folder):
    said = run("stdp", "--trials", 1500, "--out", folder / "o", "--json")
    assert said.code == 0
    assert said.json["oddness"] < 1e-6
    assert said.json["slope"] == pytest.approx(1.0, abs=0.1)
    assert said.json["r_squared"] > 0.9
    assert {path.name for path in (folder / "o").iterdir()} == set(said.json["files"])
    with open(folder / "o" / "stdp.csv", newline="", encoding="utf-8") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    assert all(row["change"] * row["interval_ms"] > 0 for row in rows if row["interval_ms"])
    assert all(row["change"] == pytest.approx(row["closed_form"], abs=1e-4) for row in rows)


def test_too_few_trials_are_refused(run, folder):
    said = run("stdp", "--trials", 1, "--out", folder / "o")
    assert said.code == 2
    assert "--trials" in said.err and "at least 2" in said.err
