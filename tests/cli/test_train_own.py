"""`train` on one's own data, network, activation and substrate."""

import csv

import numpy as np
import pytest

import eqprop_field as epf
from eqprop_field.storage import load_network
from eqprop_field.training import RECIPES


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Three classes of points, by the angle at which they lie."""
    random = np.random.default_rng(0)
    x = random.normal(size=(300, 2))
    kinds = np.array(["left", "right", "up"])[((np.arctan2(x[:, 1], x[:, 0]) + np.pi) // (2.1 * np.pi / 3)).astype(int)]
    path = tmp_path_factory.mktemp("own") / "points.csv"
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([["kind", "a", "b"], *zip(kinds, *x.T, strict=True)])
    return path


def test_a_table_is_learnt_as_python_learns_it(run, table, tmp_path):
    said = run("train", "--data", table, "--label", "kind", "--epochs", 20, "--out", tmp_path / "o", "--json")
    assert said.code == 0 and said.json["test_error"] < 0.35  # two of three would be wrong by chance
    assert said.json["sizes"] == [2, 64, 3]
    data = epf.datasets.read_dataset(table, ["kind"], seed=0)
    recipe = RECIPES["own"].fitted_to(data).changed(epochs=20)
    here = epf.train(recipe.field(), recipe.learning_rule(), data, recipe.settings, progress=False)
    assert said.json["test_error"] == here.test_error  # to the last bit
    for name, tensor in here.field.tensors().items():
        np.testing.assert_array_equal(load_network(tmp_path / "o" / "net.safetensors").tensors()[name], tensor)
    told = run("train", "--data", table, "--label", "kind", "--epochs", 1, "--out", tmp_path / "p")
    assert "points.csv: 2 inputs, 3 classes; 210 samples to learn from, 45 for validation, 45 for the test" in told.out


def test_numbers_are_learnt_with_an_error_in_their_unit(run, tmp_path):
    x = np.random.default_rng(0).uniform(size=(100, 2))
    np.savez(tmp_path / "sum.npz", x=x, y=x.mean(axis=1))
    said = run("train", "--data", tmp_path / "sum.npz", "--epochs", 30, "--out", tmp_path / "o", "--json")
    assert said.code == 0 and said.json["cost"] == "quadratic" and said.json["error_kind"].startswith("root mean")
    assert said.json["test_error"] < 0.5 * np.std(x.mean(axis=1))


def test_a_network_that_is_there_goes_on_learning(run, table, tmp_path):
    drawn = ("--graph", 12, "--inputs", 2, "--outputs", 3, "--activation", "tanh", "--symmetry", 1)
    assert run("init", *drawn, "--out", tmp_path / "net.safetensors").code == 0
    learnt = ("train", "--data", table, "--label", "kind", "--network", tmp_path / "net.safetensors")
    said = run(*learnt, "--learning-rates", 0.002, "--epochs", 1, "--out", tmp_path / "o", "--json")
    assert said.code == 0 and said.json["activation"] == "tanh" and said.json["settings"]["learning_rates"] == [0.002]
    before, after = (load_network(tmp_path / name) for name in ("net.safetensors", "o/net.safetensors"))
    assert type(after) is type(before)
    assert not np.array_equal(after.tensors()["W"], before.tensors()["W"])
    refused = run(*learnt, "--sizes", "2,3", "--out", tmp_path / "p")
    assert refused.code == 2 and "--network has its own layers" in refused.err


@pytest.mark.parametrize("substrate", ["trajectory", "euler"])
def test_every_substrate_teaches_the_same(run, table, tmp_path, substrate):
    few = ("train", "--data", table, "--label", "kind", "--sizes", "2,4,3", "--activation", "tanh", "--rule", "eqprop")
    few += ("--epochs", 1, "--batch-size", 100, "--follow", 0)
    found = []
    for name in ("equilibrium", substrate):
        assert run(*few, "--substrate", name, "--out", tmp_path / name).code == 0
        found.append(load_network(tmp_path / name / "net.safetensors").tensors())
    for name, tensor in found[0].items():
        np.testing.assert_allclose(found[1][name], tensor, atol=2e-2)


@pytest.mark.parametrize(
    "options, said",
    [
        (("--label", "sort"), "has no sort: it has kind, a, b"),
        (("--label", "kind", "--sizes", "5,4,3"), "has 2 inputs and 3 targets"),
        (("--label", "kind", "--network", "nowhere.safetensors"), "nowhere.safetensors does not exist"),
        (("--label", "kind", "--recipe", "cake"), "unknown recipe 'cake'"),
        (("--label", "kind", "--cost", "cake"), "unknown cost 'cake'"),
        (("--data", "digit"), "a .csv or .npz file of your own"),
    ],
)
def test_what_cannot_be_learnt_is_refused(run, table, tmp_path, options, said):
    refused = run("train", *(() if "--data" in options else ("--data", table)), *options, "--out", tmp_path / "o")
    assert (refused.code, len(refused.err.splitlines())) == (2, 1) and said in refused.err
    assert not (tmp_path / "o").exists() or not list((tmp_path / "o").iterdir())


def test_a_field_whose_state_is_a_dictionary_is_learnt(run, table, tmp_path, registered):
    (tmp_path / "pairs.py").write_text(
        "import jax, jax.numpy as jnp, eqprop_field as epf\n"
        "def mu(theta, x, s):\n"
        "    return {'a': theta['w'] @ jnp.tanh(s['b']) + theta['u'] @ x - s['a'], 'b': s['a'] - s['b']}\n"
        "epf.register(mu, 'pairs')\n"
        "theta = {'w': 0.1 * jax.random.normal(jax.random.key(0), (3, 3)), 'u': jnp.ones((3, 2))}\n"
        "field = epf.field(mu, theta, state={'a': 3, 'b': 3}, inputs=2, outputs=3)\n"
        f"epf.save_network({str(tmp_path / 'pairs.safetensors')!r}, field)\n"
    )
    learnt = ("--data", table, "--label", "kind", "--network", tmp_path / "pairs.safetensors", "--cost", "quadratic")
    said = run("--import", tmp_path / "pairs.py", "train", *learnt, "--epochs", 1, "--learning-rates", 0.01,
               "--out", tmp_path / "o", "--json")  # fmt: skip
    assert said.code == 0 and said.json["sizes"] == []
