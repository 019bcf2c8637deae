"""`train` and `doctor`."""

import dataclasses
import json

import numpy as np
import pytest

from eqprop_field.cli.train import Train
from eqprop_field.storage import load_network
from eqprop_field.training import RECIPES


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


def test_a_run_is_overwritten_only_when_asked(run, tmp_path):
    arguments = ("train", "--sizes", "64,10", "--epochs", 1, "--follow", 0, "--out", tmp_path / "o")
    run(*arguments)
    network = (tmp_path / "o" / "net.safetensors").read_bytes()
    said = run(*arguments, "--seed", 1)
    assert (said.code, len(said.err.splitlines())) == (2, 1) and "holds a run already" in said.err
    assert (tmp_path / "o" / "net.safetensors").read_bytes() == network
    assert run(*arguments, "--seed", 1, "--overwrite").code == 0
    assert (tmp_path / "o" / "net.safetensors").read_bytes() != network


def test_training_that_runs_away_fails_its_own_verdict(run, tmp_path):
    said = run("train", "--sizes", "64,16,10", "--epochs", 1, "--gain", 8, "--out", tmp_path / "o", "--json")
    assert said.code == 1
    assert "did not settle" in said.json["error"]


def test_feature_maps_are_an_option_like_another(run, tmp_path):
    said = run(
        "train", "--sizes", "64,10", "--convolutions", "4x3/2", "--learning-rates", "0.1,0.3", "--input-noise", "0.1",
        "--shift", "1", "--flip", "--symmetry", "1", "--epochs", 2, "--follow", 5, "--out", tmp_path / "o", "--json"
    )  # fmt: skip
    assert said.code == 0
    assert said.json["convolutions"] == [[4, 3, 2]] and said.json["settings"]["input_noise"] == 0.1
    assert (said.json["settings"]["shift"], said.json["settings"]["flip"]) == (1, True)
    assert set(said.json["history"][-1]["cosine"]) == {"all", "0", "1"}
    assert load_network(tmp_path / "o" / "net.safetensors").shapes == ((10,), (3, 3, 4), (8, 8, 1))


@pytest.mark.parametrize(
    ("options", "repair"),
    [
        ([], ("kolen_pollack", 1e-4, None)),
        (["--homeostasis", 0.5], ("learned", None, 0.5)),
        (["--homeostasis", 0], ("learned", None, None)),
    ],
)
def test_the_repair_of_a_recipe_stands_unless_another_is_given(run, tmp_path, options, repair):
    said = run(
        "train", "--recipe", "mnist-cnn", "--data", "digits", "--sizes", "64,10", "--convolutions", "4x3/2",
        "--epochs", 1, "--follow", 0, *options, "--out", tmp_path / "o", "--json"
    )  # fmt: skip
    assert tuple(said.json["settings"]["repair"][name] for name in ("feedback", "decay", "homeostasis")) == repair


@pytest.mark.parametrize(
    ("options", "about"),
    [
        (["--devices", 1000], "JAX sees"),
        (["--devices", 2, "--coordinator", "here"], "HOST:PORT"),
        (["--coordinator", "here:1"], "--devices"),
        (["--processes", 2], "--coordinator"),
        (["--follow", -1], "--follow"),
        (["--rule", "magic"], "unknown rule"),
        (["--recipe", "cake"], "unknown recipe"),
        (["--symmetry", 2], "symmetry"),
        (["--input-noise", -1], "input_noise"),
        (["--shift", -1], "shift=-1: give a whole number of pixels"),
    ],
)
def test_options_of_training_that_cannot_be(run, tmp_path, options, about):
    said = run("train", "--sizes", "64,10", "--epochs", 1, *options, "--out", tmp_path / "o")
    assert (said.code, len(said.err.splitlines())) == (2, 1)
    assert about in said.err


def test_doctor_says_what_is_there(run, tmp_path, ngspice):
    said = run("doctor", "--out", tmp_path / "o", "--json")
    assert said.code == 0
    assert said.json["packages"]["numpy"] == np.__version__
    assert ngspice in said.json["simulators"]["ngspice"]["found"]
    assert said.json["data"]["digits"]["found"].startswith("1297")
    assert json.loads((tmp_path / "o" / "summary.json").read_text())["python"] == said.json["python"]


def test_doctor_says_how_to_get_what_is_missing(run, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("EQPROP_FIELD_DATA", raising=False)
    said = run("doctor")
    assert said.code == 0  # all but the circuits works without
    assert "apt install ngspice" in said.out
    assert "IDX files" in said.out


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_without_options_is_itself(name, tmp_path):
    command = Train(recipe=name, data="table.csv" if name == "own" else RECIPES[name].data, out=tmp_path)
    assert dataclasses.replace(command._recipe(rule=None), data=RECIPES[name].data) == RECIPES[name]
