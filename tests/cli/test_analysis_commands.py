"""`budget`, `stability`, `good-parameters` and `align-training`: their files, figures and refusals."""

import csv

import numpy as np
import pytest

import eqprop_field as epf
from eqprop_field.analysis import AttractorType

NET = ["--graph", "9", "--inputs", "4", "--outputs", "3", "--activation", "tanh"]


def table(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def files_are_there(folder, said):
    assert {path.name for path in folder.iterdir()} == set(said.json["files"])


@pytest.mark.slow
def test_budget_divides_the_error_and_an_exact_rule_leaves_no_asymmetry(run, tmp_path):
    options = ["--samples", 3, "--betas", "0.05,0.2", "--time", 30, "--step", 0.25]
    said = run("budget", *NET, "--rule", "aep", *options, "--out", tmp_path / "o", "--json")
    assert said.code == 0
    files_are_there(tmp_path / "o", said)
    small, large = said.json["budgets"]
    assert sum(small["shares"].values()) == pytest.approx(1.0)
    assert small["contributions"]["asymmetry"] < 1e-6
    assert large["contributions"]["finite beta"] == pytest.approx(16 * small["contributions"]["finite beta"], rel=0.3)
    rows = table(tmp_path / "o" / "budget.csv")
    assert len(rows) == 2 * 5
    assert float(rows[0]["error"]) == pytest.approx(small["error"])


@pytest.mark.slow
def test_budget_of_a_network_file_on_its_own_samples(run, folder, sample):
    said = run("budget", *sample, "--betas", "0.1", "--out", folder / "o", "--json")
    assert said.code == 0
    assert said.json["samples"] == 2


@pytest.mark.parametrize(
    ("options", "about"),
    [
        (["--betas", "0"], "beta=0"),
        (["--betas", "small"], "influence parameters"),
        (["--time", "0"], "--time"),
        (["--step", "nan"], "--step"),
        (["--betas", "1e-12", "--x64"], "below what the equilibria of a budget resolve"),
        (["--rule", "magic"], "magic"),
        (["--rule", "bptt"], "steps of its own"),
        (["--samples", "0"], "--samples"),
        (["--input", "x.npy"], "belong together"),
    ],
)
def test_budgets_that_cannot_be_made(run, tmp_path, options, about):
    said = run("budget", *NET, *options, "--out", tmp_path / "o")
    assert (said.code, len(said.err.splitlines())) == (2, 1)
    assert about in said.err
    assert not (tmp_path / "o").exists()


def test_a_network_file_has_its_symmetry(run, folder, sample):
    said = run("budget", *sample, "--symmetry", 1, "--out", folder / "o")
    assert said.code == 2
    assert "leave it away" in said.err


def test_stability_names_a_limit_cycle(run, tmp_path):
    cycling = ["--graph", "30", "--inputs", "4", "--outputs", "3", "--activation", "tanh", "--gain", "4"]
    said = run("stability", *cycling, "--samples", 2, "--starts", 4, "--out", tmp_path / "o", "--json")
    assert said.code == 0
    files_are_there(tmp_path / "o", said)
    rows = table(tmp_path / "o" / "stability.csv")
    assert len(rows) == 2 * 4
    assert {row["attractor"] for row in rows} <= {attractor.name for attractor in AttractorType}
    cycles = [row for row in rows if row["attractor"] == "limit_cycle"]
    assert len(cycles) == said.json["attractors"]["limit_cycle"] > 0
    assert all(float(row["period"]) > 1 and float(row["amplitude"]) > 0.1 for row in cycles)


def test_stability_of_a_network_file_at_given_inputs(run, folder):
    said = run("stability", folder / "net.safetensors", "--input", folder / "x.npy", "--out", folder / "o", "--json")
    assert said.code == 0
    assert (said.json["samples"], said.json["attractors"]) == (2, {"stable_equilibrium": 40})
    assert said.json["largest_abscissa"] < 0


@pytest.mark.slow
def test_good_parameters_are_all_at_weak_weights_and_few_at_strong_ones(run, tmp_path):
    options = ["--gains", "0.3:6:2", "--symmetry", "0", "--seeds", 4, "--samples", 2, "--starts", 2]
    said = run("good-parameters", *NET, *options, "--out", tmp_path / "o", "--json")
    assert said.code == 0
    files_are_there(tmp_path / "o", said)
    weak, strong = table(tmp_path / "o" / "good_parameters.csv")
    assert (float(weak["good"]), float(weak["cycling"])) == (1.0, 0.0)
    assert float(strong["good"]) < 1.0
    assert float(strong["cycling"]) > 0.0


@pytest.mark.parametrize(
    ("command", "options", "about"),
    [
        ("stability", ["--starts", "0"], "--starts"),
        ("stability", ["--time", "inf"], "--time"),
        ("good-parameters", ["--gains", "-1:2:3"], "FIRST:LAST:COUNT"),
        ("good-parameters", ["--seeds", "0"], "--seeds"),
        ("good-parameters", ["--rule", "magic"], "magic"),
        ("good-parameters", ["--net"], "--net"),
    ],
)
def test_questions_without_an_answer(run, tmp_path, command, options, about):
    said = run(command, *NET, *options, "--out", tmp_path / "o")
    assert (said.code, len(said.err.splitlines())) == (2, 1)
    assert about in said.err


@pytest.mark.slow
def test_all_rules_are_taken_but_those_that_refuse_the_network(run, tmp_path):
    options = ["--symmetry", "0:1:2", "--seeds", 1, "--samples", 2, "--by-layer"]
    said = run("align", "--sizes", "4,5,3", "--rules", "all", *options, "--out", tmp_path / "o", "--json")
    assert said.code == 0
    assert "complex" in said.json["refused"]["eqprop-holomorphic"]
    assert "eqprop-holomorphic" not in said.json["rules"]
    assert len(said.json["rules"]) > 10
    assert "layer 1" in said.err
    assert "left out: eqprop-holomorphic" in said.err
    widths = {len(line) for line in said.err.splitlines() if line.startswith(("symmetry", "    0.00", "    1.00"))}
    assert len(widths) == 1  # every column is as wide as its name
    chl = [e for e in said.json["means"] if (e["rule"], e["symmetry"], e["layer"]) == ("chl", 0.0, "all")]
    assert chl[0]["left_out"] == {"not_defined": 2}


def test_a_rule_that_was_named_still_refuses(run, tmp_path):
    said = run("align", "--sizes", "4,5,3", "--rules", "eqprop,eqprop-holomorphic", "--out", tmp_path / "o")
    assert (said.code, len(said.err.splitlines())) == (2, 1)
    assert "complex" in said.err
    assert not (tmp_path / "o").exists()


def test_rules_with_an_error_of_rates_are_named(run, tmp_path):
    options = ["--symmetry", "1", "--seeds", 1, "--samples", 2, "--rules", "eqprop,chl"]
    said = run("align", *NET, *options, "--out", tmp_path / "o", "--json")
    assert said.json["error_of_rates"] == ["chl"]
    assert "RATES, not its states: chl" in said.err


def test_alignment_is_followed_over_training(run, tmp_path):
    options = ["--sizes", "64,8,10", "--rules", "eqprop,recurrent-backprop", "--epochs", 2, "--samples", 40]
    said = run("align-training", *options, "--out", tmp_path / "o", "--json")
    assert said.code == 0
    files_are_there(tmp_path / "o", said)
    rows = table(tmp_path / "o" / "training_alignment.csv")
    assert len(rows) == 2 * 3 * 3  # rules, epochs with the start, layers with `all`
    start = {row["rule"]: row for row in rows if (row["epoch"], row["layer"]) == ("0", "all")}
    assert start["eqprop"]["weight_symmetry"] == start["recurrent-backprop"]["weight_symmetry"]
    exact = [float(row["cosine"]) for row in rows if row["rule"] == "recurrent-backprop"]
    np.testing.assert_allclose(exact, 1.0, atol=1e-2)
    assert float(start["eqprop"]["cosine"]) < 0.99
    assert start["eqprop"]["validation_error"] == ""


def test_tied_weights_stay_symmetric_over_training(run, tmp_path):
    options = ["--sizes", "64,8,10", "--rules", "eqprop", "--epochs", 1, "--samples", 40, "--feedback", "tied"]
    said = run("align-training", *options, "--out", tmp_path / "o", "--json")
    assert [row["weight_symmetry"] for row in said.json["first_and_last"]] == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize(
    ("options", "about"),
    [(["--rules", "magic"], "magic"), (["--samples", "0"], "--samples"), (["--decay", "0.1"], "kolen_pollack")],
)
def test_trainings_that_cannot_be_followed(run, tmp_path, options, about):
    said = run("align-training", *options, "--out", tmp_path / "o")
    assert (said.code, len(said.err.splitlines())) == (2, 1)
    assert about in said.err


def test_error_processes_agree_where_the_jacobian_is_symmetric(run, tmp_path):
    drawn = ("--graph", 5, "--inputs", 2, "--outputs", 2, "--activation", "linear", "--gain", 0.3, "--symmetry", 1)
    said = run("error-processes", *drawn, "--samples", 2, "--points", 20, "--out", tmp_path / "o", "--json")
    assert said.code == 0
    assert said.json["error_difference"] < 1e-9 and said.json["cosine"] > 1 - 1e-9
    assert {"error_processes.csv", "error_processes.png", "summary.json"} == {
        p.name for p in (tmp_path / "o").iterdir()
    }
    short = run("error-processes", *drawn, "--samples", 2, "--points", 20, "--time", 1, "--out", tmp_path / "s")
    assert short.code == 1 and "give a longer time" in short.err
    endless = run("error-processes", *drawn, "--time", 1e12, "--out", tmp_path / "e")
    assert endless.code == 2 and "at most at 1e+06" in endless.err and not (tmp_path / "e").exists()


@pytest.mark.filterwarnings("error")
def test_error_processes_of_an_unstable_rest_say_what_it_is(run, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((1, 2)))
    np.save(tmp_path / "y.npy", np.ones((1, 2)))
    drawn = ("--sizes", "2,4,2", "--activation", "tanh", "--gain", 4, "--symmetry", 1, "--points", 3)
    files = ("--input", tmp_path / "x.npy", "--target", tmp_path / "y.npy")
    said = run("error-processes", *drawn, *files, "--out", tmp_path / "o")
    assert said.code == 1 and len(said.err.splitlines()) == 1
    assert "1 unstable_equilibrium" in said.err and "more time" not in said.err


def test_feedback_of_several_strengths_is_measured_as_python_does(run, tmp_path):
    options = ("--data", "xor", "--sizes", "2,8,8,2", "--activation", "tanh", "--symmetry", 1, "--beta", 1e-3)
    said = run("feedback", *options, "--gains", "1,0.1", "--samples", 3, "--out", tmp_path, "--json")
    assert said.code == 0
    files_are_there(tmp_path, said)
    recipe = epf.RECIPES["xor"].changed(sizes=(2, 8, 8, 2), activation="tanh", symmetry=1.0, beta=1e-3)
    here = epf.regulate_feedback(epf.xor(), (1.0, 0.1), recipe=recipe, samples=3)
    assert said.json["feedback_gains"] == here.summary()["feedback_gains"]
    refused = run("feedback", *options, "--gains", "1,0", "--out", tmp_path / "o")
    assert refused.code == 2 and "feedback_gain=0.0: give a number above 0" in refused.err
