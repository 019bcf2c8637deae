"""`roessler`: the files it leaves, and the shapes of the paper's figure in the median of the networks."""

import csv
import json

import numpy as np
import pytest

from eqprop_field.cli import main


@pytest.fixture(scope="module")
def figure(tmp_path_factory):
    """The command as a user runs it."""
    folder = tmp_path_factory.mktemp("roessler")
    assert main(["roessler", "--out", str(folder)]) == 0
    return folder, json.loads((folder / "summary.json").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_errors_have_the_shape_of_the_figure(figure):
    """C15: APRL has a clear minimum and rises again, RTRL improves to the end, in the median of 8 networks."""
    _, said = figure
    aprl, rtrl = (np.array(said["rules"][name]["median_error"]) for name in ("aprl", "rtrl"))
    lowest = int(aprl.argmin())
    assert said["seeds"] == 8 and 3 <= lowest <= 30
    assert aprl[0] > 3 * aprl[lowest] and aprl[-1] > 2 * aprl[lowest]
    assert (np.diff(rtrl) < 1e-4).all() and rtrl[-1] < 0.5 * rtrl[0]
    assert aprl[lowest] < rtrl.min()
    assert all(epoch == -1 for rule in said["rules"].values() for epoch in rule["exploded"])


@pytest.mark.slow
def test_output_weights_move_faster_than_internal_ones_in_every_epoch(figure):
    """C16: more than three times as fast."""
    _, said = figure
    for name in ("aprl", "rtrl"):
        assert min(said["rules"][name]["median_ratio"]) > 3


@pytest.mark.slow
def test_the_table_holds_every_network_rule_and_epoch(figure):
    folder, said = figure
    assert {path.name for path in folder.iterdir()} == set(said["files"])
    with open(folder / "roessler.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 * 8 * 60
    errors = np.array([float(row["mean_squared_error"]) for row in rows if row["rule"] == "rtrl"]).reshape(8, 60)
    np.testing.assert_allclose(np.median(errors, axis=0), said["rules"]["rtrl"]["median_error"])


def test_networks_that_explode_are_told(run, tmp_path):
    said = run("roessler", "--seeds", 2, "--epochs", 2, "--samples", 60, "--spread", 50, "--rtrl-rate", 1e6,
               "--aprl-rate", 1e9, "--out", tmp_path / "o", "--json")  # fmt: skip
    lost = said.json["rules"]["rtrl"]["exploded"]
    assert said.code == (1 if said.json["error"] else 0)
    assert all(epoch >= 0 for epoch in lost) and "explode" in said.err


@pytest.mark.parametrize(
    "arguments", [("--seeds", 0), ("--samples", 2), ("--spread", -1), ("--step", 0), ("--seed", -1)]
)
def test_what_cannot_be_run_is_refused(run, tmp_path, arguments):
    said = run("roessler", *arguments, "--out", tmp_path / "o")
    assert said.code == 2 and "give" in said.err
    assert not (tmp_path / "o").exists()
