"""`learn-in-circuit`: the files it leaves, what it reports of every seed, and what it refuses."""

import csv

import pytest

import eqprop_field as epf


def test_every_seed_is_reported_and_a_short_schedule_fails_its_verdict(ngspice, run, folder):
    said = run("learn-in-circuit", "--seeds", 2, "--epochs", 2, "--workers", 1, "--out", folder / "o", "--json")
    assert said.code == 1
    assert "circuits learnt" in said.err
    assert [row["seed"] for row in said.json["seeds"]] == [0, 1]
    assert all(row["ode_difference"] < 0.02 and not row["learnt"] for row in said.json["seeds"])
    assert {path.name for path in (folder / "o").iterdir()} == set(said.json["files"])
    with open(folder / "o" / "learning.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["seed"], row["epoch"]) for row in rows] == [("0", "1"), ("0", "2"), ("1", "1"), ("1", "2")]
    assert epf.load_network(folder / "o" / "net.safetensors").sizes == (2, 6, 1)


@pytest.mark.parametrize(
    "options, says",
    [
        (("--seeds", 0), "--seeds"),
        (("--epochs", 0), "--epochs"),
        (("--multiplier", "transistor"), "--level transistor"),
        (("--task", "nothing"), "task"),
    ],
)
def test_options_without_meaning_are_refused(run, folder, options, says):
    said = run("learn-in-circuit", *options, "--out", folder / "o")
    assert said.code == 2
    assert says in said.err
