"""`compare`: the command writes what Python finds."""

import numpy as np

import eqprop_field as epf


def test_the_command_compares_as_python_does(run, tmp_path):
    random = np.random.default_rng(0)
    np.savez(tmp_path / "own.npz", x=random.normal(size=(60, 3)), y=np.arange(60) % 2)
    options = ("--data", tmp_path / "own.npz", "--sizes", "3,4,2", "--epochs", 2, "--batch-size", 14, "--seeds", 2)
    said = run("compare", *options, "--rules", "eqprop", "--out", tmp_path / "o", "--json")
    assert said.code == 0 and said.json["sizes"] == [3, 4, 2]
    recipe = epf.RECIPES["own"].changed(sizes=(3, 4, 2), epochs=2, batch_size=14)
    here = epf.compare(epf.datasets.read_dataset(tmp_path / "own.npz", seed=0), ["eqprop"], recipe=recipe, seeds=2)
    assert said.json["rules"]["eqprop"]["test_error"] == here.summary()["rules"]["eqprop"]["test_error"]
    assert {"compare.csv", "compare.png", "summary.json", "runs"} == {path.name for path in (tmp_path / "o").iterdir()}
    refused = run("compare", *options, "--rules", "eqprop:cake", "--out", tmp_path / "p")
    assert refused.code == 2 and "unknown feedback 'cake'" in refused.err


def test_a_search_is_that_of_python(run, tmp_path):
    random = np.random.default_rng(0)
    np.savez(tmp_path / "own.npz", x=random.normal(size=(60, 3)), y=np.arange(60) % 2)
    options = ("--data", tmp_path / "own.npz", "--sizes", "3,4,2", "--epochs", 1, "--batch-size", 14, "--trials", 2)
    said = run("search", *options, "--ranges", "beta=0.1:0.5,gain=0.2|0.4", "--out", tmp_path / "o", "--json")
    recipe = epf.RECIPES["own"].changed(sizes=(3, 4, 2), epochs=1, batch_size=14)
    data = epf.datasets.read_dataset(tmp_path / "own.npz", seed=0)
    here = epf.search(data, {"beta": "0.1:0.5", "gain": "0.2|0.4"}, recipe=recipe, trials=2)
    assert said.code == 0 and said.json["best"] == here.summary()["best"]
    refused = run("search", *options, "--ranges", "0.1:0.5", "--out", tmp_path / "p")
    assert refused.code == 2 and "'0.1:0.5' in --ranges has no name" in refused.err
