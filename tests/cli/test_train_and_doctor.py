"""`train` and `doctor`."""

import json

import numpy as np

from eqprop_field.storage import load_network


def test_training_learns_and_leaves_its_files(run, tmp_path):
    said = run("train", "--sizes", "64,16,10", "--epochs", 6, "--out", tmp_path / "o", "--json")
    assert said.code == 0
    assert {path.name for path in (tmp_path / "o").iterdir()} == set(said.json["files"])
    assert said.json["history"][-1]["train_objective"] < 0.5 * said.json["history"][0]["train_objective"]
    assert said.json["test_error"] < 0.3
    summary = json.loads((tmp_path / "o" / "summary.json").read_text())
    assert summary["test_error"] == said.json["test_error"]
    assert (summary["data"], summary["sizes"]) == ("digits", [64, 16, 10])
    assert load_network(tmp_path / "o" / "net.safetensors").sizes == (64, 16, 10)


def test_resuming_a_finished_run_changes_nothing(run, tmp_path):
    first = run("train", "--sizes", "64,10", "--epochs", 2, "--out", tmp_path / "o")
    network = (tmp_path / "o" / "net.safetensors").read_bytes()
    again = run("train", "--sizes", "64,10", "--epochs", 2, "--resume", "--out", tmp_path / "o")
    assert (first.code, again.code) == (0, 0)
    assert (tmp_path / "o" / "net.safetensors").read_bytes() == network


def test_resuming_another_run_is_refused(run, tmp_path):
    run("train", "--sizes", "64,10", "--epochs", 1, "--out", tmp_path / "o")
    said = run("train", "--sizes", "64,12,10", "--epochs", 1, "--resume", "--out", tmp_path / "o")
    assert (said.code, len(said.err.splitlines())) == (2, 1)


def test_training_that_runs_away_fails_its_own_verdict(run, tmp_path):
    said = run("train", "--sizes", "64,16,10", "--epochs", 1, "--gain", 8, "--out", tmp_path / "o", "--json")
    assert said.code == 1
    assert "did not settle" in said.json["error"]


def test_doctor_says_what_is_there(run, tmp_path, ngspice):
    said = run("doctor", "--out", tmp_path / "o", "--json")
    assert said.code == 0
    assert said.json["packages"]["numpy"] == np.__version__
    assert ngspice in said.json["simulators"]["ngspice"]["found"]
    assert said.json["data"]["digits"]["found"].startswith("1297")
    assert json.loads((tmp_path / "o" / "doctor.json").read_text())["python"] == said.json["python"]


def test_doctor_says_how_to_get_what_is_missing(run, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("EQPROP_FIELD_DATA", raising=False)
    said = run("doctor")
    assert said.code == 0  # all but the circuits works without
    assert "apt install ngspice" in said.out
    assert "IDX files" in said.out
