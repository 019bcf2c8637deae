"""`align`: its table, and a summary that can be recomputed from it."""

import csv
import json

import numpy as np
import pytest

import eqprop_field as epf

HEADER = "rule,symmetry,seed,sample,layer,cosine,jacobian_asymmetry,weight_symmetry,beta,verdict,network"
SWEEP = ["--symmetry", "-1:1:3", "--seeds", "2", "--samples", "3"]


def table(folder) -> list[dict[str, str]]:
    with (folder / "alignment.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_table_and_summary_agree(run, tmp_path):
    said = run("align", "--sizes", "5,6,4", "--activation", "tanh", *SWEEP, "--out", tmp_path / "o", "--json")
    assert said.code == 0
    assert (tmp_path / "o" / "alignment.csv").read_text().splitlines()[0] == HEADER
    rows = table(tmp_path / "o")
    assert len(rows) == 1 * 3 * 2 * 3 * 3  # rules, symmetries, seeds, samples, layers with `all`
    assert {row["layer"] for row in rows} == {"all", "0", "1"}
    for entry in said.json["means"]:
        here = [r for r in rows if float(r["symmetry"]) == entry["symmetry"] and r["layer"] == entry["layer"]]
        cosines = [float(r["cosine"]) for r in here if r["verdict"] == "converged"]
        assert entry["samples"] == len(cosines)
        assert entry["mean_cosine"] == pytest.approx(np.mean(cosines))
        assert entry["samples"] + sum(entry["left_out"].values()) == len(here)
    assert json.loads((tmp_path / "o" / "summary.json").read_text())["means"] == said.json["means"]
    assert (tmp_path / "o" / "alignment.png").stat().st_size > 10_000


def test_symmetric_feedback_of_clipped_neurons_points_along_the_gradient(run, tmp_path):
    run("align", "--sizes", "5,6,4", "--symmetry", "1", "--seeds", "4", "--samples", "4", "--out", tmp_path / "o")
    used = [row for row in table(tmp_path / "o") if row["layer"] == "all" and row["verdict"] == "converged"]
    assert len(used) > 8
    assert np.median([1 - float(row["cosine"]) for row in used]) < 1e-8
    assert all(float(row["weight_symmetry"]) == pytest.approx(1.0) for row in used)


def test_a_network_file_gives_the_architecture(run, folder, sample):
    said = run("align", folder / "net.safetensors", *SWEEP, "--out", folder / "o", "--json")
    assert said.code == 0
    assert {row["layer"] for row in table(folder / "o")} == {"all", "0", "1"}
    assert said.json["network"] == "drawn" and {row["network"] for row in table(folder / "o")} == {"drawn"}
    both = run("align", folder / "net.safetensors", "--sizes", "3,2", "--out", folder / "p")
    assert both.code == 2


def test_a_network_file_alone_is_measured_itself(run, folder):
    said = run("align", folder / "net.safetensors", "--samples", "3", "--out", folder / "own")
    assert said.code == 0 and "this network, with its own weights" in said.out
    rows = table(folder / "own")
    assert len(rows) == 1 * 1 * 3 * 3 and {(row["network"], row["seed"]) for row in rows} == {("file", "")}
    own = float(epf.weight_symmetry(epf.load_network(folder / "net.safetensors")))
    assert all(float(row[name]) == pytest.approx(own) for row in rows for name in ("symmetry", "weight_symmetry"))


def test_rules_follow_the_cost_that_is_asked_for(run, folder):
    exact = ("align", folder / "net.safetensors", "--rules", "aep", "--samples", "2", "--cost", "huber")
    said = run(*exact, "--out", folder / "huber", "--json")
    assert said.code == 0 and said.json["cost"] == "huber"
    cosines = [float(row["cosine"]) for row in table(folder / "huber") if row["layer"] == "all"]
    np.testing.assert_allclose(cosines, 1, atol=1e-4)
    assert "unknown cost 'cake'" in run(*exact[:-1], "cake", "--out", folder / "no").err


def test_a_sweep_in_which_nothing_settles_is_no_success(run, tmp_path):
    said = run("align", "--sizes", "3,4,2", "--tol", "1e-30", *SWEEP, "--out", tmp_path / "o", "--json")
    assert said.code == 1
    assert said.json["samples_used"] == 0
    assert said.json["left_out"]["not_settled"] > 9
    assert sum(said.json["left_out"].values()) == 3 * 2 * 3
    assert {row["cosine"] for row in table(tmp_path / "o")} == {""}


def test_circuits_are_measured_beside_the_ode(run, ngspice, tmp_path):
    options = ("--sizes", "2,3,1", "--activation", "tanh", "--symmetry", "1", "--seeds", "1", "--samples", "1")
    options = ("align", *options, "--beta", "0.1", "--out", tmp_path / "o", "--json")
    said = run(*options, "--substrate", "circuit", "--level", "ota,transistor", "--rules", "eqprop,aep")
    assert said.code == 0
    cosines = {row["rule"]: row["mean_cosine"] for row in said.json["means"] if row["layer"] == "all"}
    assert list(cosines) == ["eqprop", "aep", "eqprop, ota", "eqprop, transistor"]
    assert all(cosine > 0.99 for cosine in cosines.values())
    refused = run(*options, "--level", "ota")
    assert refused.code == 2 and "belong to --substrate circuit" in refused.err
