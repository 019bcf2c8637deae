"""Paired ratios: of known sleeps, refused where a side does not settle; and each part's cheapest line."""

import itertools
import json
import math
import time

import equinox as eqx
import jax
import numpy as np
import pytest

import eqprop_field as epf
from eqprop_field.benchmarks import PARTS, Benchmark, Ratio, machine, paired, peers, reservoirs
from eqprop_field.benchmarks.settling import by, checked, layered
from eqprop_field.cli import main
from eqprop_field.cli.bench import Bench


def test_a_ratio_of_sleeps():
    calls = []

    def slow():
        calls.append("slow")
        time.sleep(0.12)

    def quick():
        calls.append("quick")
        time.sleep(0.03)

    ratio = paired("sleeps", slow, quick, turns=3, goal=3.0)
    assert [name for name, _ in itertools.groupby(calls)] == ["slow", "quick"] * 4  # one turn to warm up
    assert calls.count("slow") == 4 and calls.count("quick") > 4 * 8  # 0.3 s of the quick one in every turn
    assert ratio.low <= ratio.ratio <= ratio.high
    assert ratio.ratio == pytest.approx(4.0, rel=0.5) and ratio.milliseconds == pytest.approx(30, rel=0.5)


@pytest.mark.parametrize(
    ("ratio", "goal", "at_least", "met"),
    [(5.0, 4.0, True, True), (3.0, 4.0, True, False), (3.0, 4.0, False, True), (3.0, None, True, None)],
)
def test_a_goal_is_met_from_its_own_side(ratio, goal, at_least, met):
    assert Ratio("a", ratio, ratio, ratio, goal, at_least).met is met


def test_what_was_not_measured_is_named_and_null():
    left_out = Ratio.left_out("a", "torch is not installed")
    found = Benchmark([left_out], machine())
    (row,) = found.rows()
    assert left_out.met is None and row["ratio"] is None and math.isnan(left_out.ratio)
    assert "torch is not installed" in found.table()[-1]


def test_a_side_that_stops_above_the_residual_is_no_comparison():
    with pytest.raises(peers.NotReached, match=r"euler stopped at a residual of 1.0e-02"):
        checked("euler", lambda: 1e-2)()
    checked("euler", lambda: 0.9e-4)()


def test_a_missing_library_is_named():
    with pytest.raises(peers.Missing, match=r"no_such_library is not installed: pip install"):
        peers.library("no_such_library")


@pytest.mark.parametrize("make", ["torchdiffeq", "scipy", "torchdeq", "torch_sweeps"])
@pytest.mark.parametrize("kind", ["layered", "graph"])
def test_every_peer_settles_where_we_do(make, kind):
    if make != "scipy":
        pytest.importorskip("torch", reason="needs the extra [bench]")
        pytest.importorskip(make.replace("torch_sweeps", "torch"), reason="needs the extra [bench]")
    if kind == "layered":
        field, x = layered(3, (6, 5, 4, 2))
    else:
        tanh = epf.activation("tanh")
        field = epf.GraphField.create(jax.random.key(0), neurons=6, inputs=3, outputs=2, activation=tanh)
        field = jax.tree.map(lambda leaf: leaf.astype(np.float32) if eqx.is_inexact_array(leaf) else leaf, field)
        x = jax.random.uniform(jax.random.key(1), (3, 3), np.float32)
    assert getattr(peers, make)(field, x, 1e-4)() <= 1.01e-4
    assert by(epf.Equilibrium(tol=1e-4), field, x)() <= 1e-4


def test_the_machine_is_described():
    assert {"processor", "cores", "load", "device", "jax", "python"} <= set(machine())


def test_the_command_names_the_parts_there_are(capsys):
    assert Bench().parts == PARTS
    assert main(["bench", "--parts", "settling,cooking"]) == 2
    assert "unknown part 'cooking'" in capsys.readouterr().err


@pytest.mark.slow
def test_reservoirs_err_no_more_than_reservoirpys():
    pytest.importorskip("reservoirpy", reason="needs the extra [bench]")
    fit, run, error = reservoirs(1, (100,))
    assert fit.ratio > 0 and run.ratio > 0
    assert error.ratio < 2.0


def test_results_are_written(tmp_path):
    results = [Ratio("a", 2.0, 1.0, 3.0, 1.5), Ratio.single("b", 0.3, "s", 1.0), Ratio.left_out("c", "no d")]
    summary = Benchmark(results, machine()).save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(summary["files"])
    assert len((tmp_path / "bench.csv").read_text().splitlines()) == 4
    assert [row["met"] for row in json.loads((tmp_path / "summary.json").read_text())["results"]] == [True, True, None]
