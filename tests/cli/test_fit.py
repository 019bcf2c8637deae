"""`fit` and `predict`: the files that they leave, against Python's own; hostile series."""

import csv
import json

import numpy as np
import pytest

from eqprop_field.datasets import read_series
from eqprop_field.sequence import fit, load, signal_model

U = np.random.default_rng(0).uniform(size=120)
Y = np.concatenate([[0.0], 5 * U[:-1] - 1])


@pytest.fixture
def series(tmp_path):
    """A file with an input, its delayed target, and a gap."""
    path = tmp_path / "series.csv"
    cells = [
        ["" if k == 50 else repr(float(y)), repr(float(u)), "text"] for k, (u, y) in enumerate(zip(U, Y, strict=True))
    ]
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([["y", " u", "name"], *cells])
    return path


def test_fit_and_predict_do_what_python_does(run, series, tmp_path):
    said = run("fit", "--data", series, "--inputs", "u", "--targets", "y", "--units", 10, "--washout", 5, "--seed", 3,
               "--out", tmp_path / "o", "--x64", "--json")  # fmt: skip
    assert said.code == 0 and said.json["nmse_test"] < 0.1
    assert set(said.json["files"]) == {"fit.csv", "fit.png", "outputs.csv", "summary.json"}
    assert json.loads((tmp_path / "o" / "summary.json").read_text())["learner"] == "ridge"
    holes = Y.copy()
    holes[50] = np.nan
    model = signal_model("esn", inputs=1, outputs=1, units=10, seed=3)
    here = fit(model, U[:, None], holes[:, None], washout=5, test=0.2)
    assert said.json["nmse_test"] == pytest.approx(here.report.nmse["test"], rel=1e-9)
    wrote = run("predict", tmp_path / "o" / "model.safetensors", "--data", series, "--inputs", "u", "--x64",
                "--out", tmp_path / "p.csv", "--json")  # fmt: skip
    assert wrote.code == 0 and wrote.json["samples"] == 120
    with open(tmp_path / "p.csv", newline="") as file:
        found = np.array([float(row["output_0"]) for row in csv.DictReader(file)])
    np.testing.assert_array_equal(found, load(tmp_path / "o" / "model.safetensors").predict(U))
    before = series.read_bytes()
    refused = run("predict", tmp_path / "o" / "model.safetensors", "--data", series, "--inputs", "u", "--out", series)
    assert refused.code == 2 and "is the data that are read" in refused.err and series.read_bytes() == before


def test_a_model_worse_than_the_mean_exits_with_1(run, tmp_path):
    random = np.random.default_rng(0)
    np.savez(tmp_path / "s.npz", u=random.normal(size=40), y=random.normal(size=(40, 1)))
    said = run(
        "fit", "--data", tmp_path / "s.npz", "--inputs", "u", "--targets", "y", "--units", 30, "--out", tmp_path / "o"
    )
    assert said.code == 1 and "worse than the mean target" in said.err
    assert (tmp_path / "o" / "model.safetensors").exists()


def test_a_fit_that_keeps_nothing_for_a_test_says_so(run, series, tmp_path):
    given = ("--data", series, "--inputs", "u", "--targets", "y", "--units", 5)
    said = run("fit", *given, "--validation", 0, "--test", 0, "--out", tmp_path / "o")
    assert said.err.startswith("eqprop-field: no part is kept for validation or test, ")
    assert len(said.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--inputs", "v"], "has no v: it has y, u, name"),
        (["--inputs", "name"], "column name, row 1 holds 'text'"),
        (["--inputs", "u,"], "name the columns"),
        (["--inputs", "y"], "NaN"),
        (["--data", "none.csv"], "does not exist"),
        (["--learner", "bptt"], "does not fit a EchoStateNetwork"),
        (["--validation", "2"], "leave something"),
    ],
)
def test_what_cannot_be_fitted_is_refused(run, series, tmp_path, options, sentence):
    given = {"--data": series, "--inputs": "u", "--targets": "y"} | dict(zip(options[::2], options[1::2], strict=True))
    said = run("fit", *(word for pair in given.items() for word in pair), "--out", tmp_path / "o")
    assert said.code == 2 and sentence in said.err and not (tmp_path / "o").exists()


def test_damaged_series_are_refused(tmp_path):
    path = tmp_path / "s.npz"
    np.savez(path, u=np.ones(3), y=np.ones(4))
    with pytest.raises(ValueError, match="samples: give all the same number"):
        read_series(path, ["u"], ["y"])
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"no sound \.npz file"):
        read_series(path, ["u"])
    (tmp_path / "b.csv").write_bytes(b"a\n\xff\n")
    with pytest.raises(ValueError, match="no CSV file in UTF-8"):
        read_series(tmp_path / "b.csv", ["a"])
    (tmp_path / "c.csv").write_text("a,b\n0.5,1\n0,5,1\n")
    with pytest.raises(ValueError, match="line 3 has more cells than there are names"):
        read_series(tmp_path / "c.csv", ["a"])
    (tmp_path / "e.csv").write_text("a\n")
    with pytest.raises(ValueError, match="holds no samples"):
        read_series(tmp_path / "e.csv", ["a"])
    with pytest.raises(ValueError, match="give a .csv file"):
        read_series(__file__, ["a"])


def test_signals_says_what_learners_make_of_the_tasks(run, tmp_path):
    said = run("signals", "--tasks", "delayed-xor,copy", "--learners", "linear-lags", "--samples", 400, "--seeds", 2,
               "--out", tmp_path / "o", "--json")  # fmt: skip
    assert said.code == 0 and said.json["median_nmse"]["copy"]["linear-lags"] < 1e-9
    assert said.json["median_nmse"]["delayed-xor"]["linear-lags"] > 0.9
    with open(tmp_path / "o" / "signals.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["task"], row["seed"]) for row in rows] == [(t, s) for t in ("delayed-xor", "copy") for s in "01"]
    refused = run("signals", "--tasks", "magic", "--out", tmp_path / "p")
    assert refused.code == 2 and "there is no task 'magic': choose of narma-10" in refused.err
