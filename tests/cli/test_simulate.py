"""`simulate`: its files against numpy's own arithmetic on the same network file."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file


def weights(folder) -> dict[str, np.ndarray]:
    return {name: tensor.astype(float) for name, tensor in load_file(folder / "net.safetensors").items()}


def velocity(w, x, y, s0, s1, beta):
    """mu^beta of the 4-6-3 network, written out: equations 6-8, 15."""
    rate = lambda s: np.clip(s, 0, 1)  # noqa: E731
    mu0 = rate(s1) @ w["W_0_1"].T + w["b_0"] - s0 + beta * (y - s0)
    mu1 = x @ w["W_1_2"].T + rate(s0) @ w["W_1_0"].T + w["b_1"] - s1
    return [np.where(((s <= 0) & (m < 0)) | ((s >= 1) & (m > 0)), 0, m) for s, m in ((s0, mu0), (s1, mu1))]


@pytest.mark.parametrize("substrate", ["trajectory", "equilibrium"])
def test_phases_rest_and_updates_follow_from_them(run, folder, sample, substrate):
    said = run("simulate", *sample, "--beta", 0.2, "--substrate", substrate, "--out", folder / "o", "--json")
    assert said.code == 0
    w, x, y = weights(folder), np.load(folder / "x.npy"), np.load(folder / "y.npy")
    with np.load(folder / "o" / "phases.npz") as phases:
        free, nudged = ([phases[f"{name}_{i}"] for i in (0, 1)] for name in ("s0", "sbeta"))
        for states, beta in ((free, 0.0), (nudged, 0.2)):
            assert max(np.abs(m).max() for m in velocity(w, x, y, *states, beta)) < 2e-8
        moved = [(b - a) / 0.2 for a, b in zip(free, nudged, strict=True)]
        rates = [np.clip(s, 0, 1) for s in free]
        expected = {
            "W_0_1": moved[0].T @ rates[1] / 2,
            "W_1_0": moved[1].T @ rates[0] / 2,
            "W_1_2": moved[1].T @ x / 2,
            "b_0": moved[0].mean(0),
            "b_1": moved[1].mean(0),
        }
        for name, update in expected.items():
            np.testing.assert_allclose(phases[f"update_{name}"], update, atol=1e-12)
        assert set(phases["verdict_free"]) == set(phases["verdict_nudged"]) == {"converged"}
    assert said.json["verdict"] == "settled"
    summary = json.loads((folder / "o" / "summary.json").read_text())
    assert summary.items() <= said.json.items()
    assert sorted(summary["files"]) == sorted(path.name for path in (folder / "o").iterdir())


def test_trajectory_form_is_the_integral_along_the_saved_trajectory(run, folder, sample):
    said = run("simulate", *sample, "--beta", 0.1, "--points", 600, "--out", folder / "o", "--json")
    with np.load(folder / "o" / "phases.npz") as phases:
        t, s0, s1 = phases["t_nudged"], phases["nudged_0"], phases["nudged_1"]
        assert t[0] == 0.0
        assert np.all(np.diff(t) > 0)
        assert len(phases["t_free"]) == 600
        np.testing.assert_allclose(s0[0], phases["s0_0"], atol=1e-9)
        np.testing.assert_allclose(s0[-1], phases["sbeta_0"], atol=1e-7)
        rate = np.clip(s1, 0, 1)
        steps = np.einsum("tbi,tbj->bij", np.diff(s0, axis=0), 0.5 * (rate[1:] + rate[:-1]))
        np.testing.assert_allclose(phases["update_path_W_0_1"], steps.mean(0) / 0.1, atol=1e-6)
        ends = phases["update_W_0_1"]
        apart = np.linalg.norm(phases["update_path_W_0_1"] - ends) / np.linalg.norm(ends)
    assert 0 < said.json["path_difference"] < 0.1
    assert apart < 0.1


def test_a_phase_that_did_not_settle_is_said_everywhere(run, folder, sample):
    said = run("simulate", *sample, "--max-time", 0.5, "--out", folder / "o", "--json")
    assert said.code == 1
    assert said.json["ok"] is False
    assert said.json["verdict"] == "not_settled"
    assert "2 of 2 samples did not settle" in said.err
    assert json.loads((folder / "o" / "summary.json").read_text())["verdict_free"] == {"not_settled": 2}
    with np.load(folder / "o" / "phases.npz") as phases:
        assert set(phases["verdict_free"]) == {"not_settled"}
        assert phases["residual_free"].min() > 1e-3


def test_a_graph_has_its_own_names(run, tmp_path):
    net = tmp_path / "g.safetensors"
    made = run("init", "--graph", 7, "--inputs", 2, "--outputs", 3, "--activation", "tanh", "--out", net, "--json")
    assert made.json["parameters"] == 7 * 7 + 7 * 2 + 7
    np.save(tmp_path / "x.npy", np.array([[1, 0]]))  # whole numbers are numbers too
    np.save(tmp_path / "y.npy", np.zeros((1, 3)))
    said = run("simulate", net, "--input", tmp_path / "x.npy", "--target", tmp_path / "y.npy", "--out", tmp_path / "o")
    assert said.code == 0
    with np.load(tmp_path / "o" / "phases.npz") as phases:
        assert phases["s0"].shape == phases["sbeta"].shape == (1, 7)
        assert phases["free"].shape == (400, 1, 7)
        assert phases["update_W"].shape == (7, 7)
        w = load_file(net)
        rest = np.tanh(phases["s0"]) @ w["W"].T + np.array([[1.0, 0.0]]) @ w["W_in"].T + w["b"] - phases["s0"]
        assert np.abs(rest).max() < 1e-7


def test_the_circuit_is_one_more_substrate(run, folder, sample, ngspice):
    exact = run("simulate", *sample, "--substrate", "equilibrium", "--out", folder / "e")
    said = run("simulate", *sample, "--substrate", "circuit", "--tol", 1e-5, "--out", folder / "c", "--json")
    assert (exact.code, said.code) == (0, 0)
    assert said.json["substrate"] == "circuit"
    with np.load(folder / "e" / "phases.npz") as ode, np.load(folder / "c" / "phases.npz") as circuit:
        np.testing.assert_allclose(circuit["s0_0"], ode["s0_0"], atol=1e-5)
        np.testing.assert_allclose(circuit["update_W_0_1"], ode["update_W_0_1"], atol=1e-4)


def test_symmetric_nudging(run, sample, folder):
    # The update of both phases is even in beta, up to the order of the error that cancels.
    options = ["--beta", 0.2, "--substrate", "equilibrium", "--out"]
    said = run("simulate", *sample, "--nudging", "symmetric", *options, folder / "both", "--json")
    assert said.code == 0 and said.json["nudging"] == "symmetric"
    for sign in ("", "-"):
        assert run("simulate", *sample, "--beta", f"{sign}0.2", *options[2:], folder / f"one{sign}").code == 0
    both, plus, minus = (np.load(folder / name / "phases.npz") for name in ("both", "one", "one-"))
    np.testing.assert_allclose(both["sbeta_0"], plus["sbeta_0"], atol=1e-9)  # the first nudged phase
    for name in (n for n in both.files if n.startswith("update_W")):
        np.testing.assert_allclose(both[name], (plus[name] + minus[name]) / 2, atol=1e-9)


def test_symmetric_nudging_keeps_trajectories(run, sample, folder):
    assert run("simulate", *sample, "--nudging", "symmetric", "--out", folder / "o").code == 0
    phases = np.load(folder / "o" / "phases.npz")
    np.testing.assert_allclose(phases["nudged_0"][-1], phases["sbeta_0"], atol=1e-7)


def test_euler_steps_are_those_of_equation_77(run, folder, sample):
    """s <- clip(s + h mu): the states at the steps' own times are those of the loop written out."""
    step, points = 0.25, 9
    options = ("--substrate", "euler", "--step", step, "--max-time", 4, "--tol", 0.1, "--points", points)
    assert run("simulate", *sample, *options, "--out", folder / "o", "--x64").code in (0, 1)
    w, x, y = weights(folder), np.load(folder / "x.npy"), np.load(folder / "y.npy")
    s, path = [np.zeros((2, 3)), np.zeros((2, 6))], []
    for _ in range(16):
        path.append(s)
        s = [np.clip(state + step * mu, 0, 1) for state, mu in zip(s, velocity(w, x, y, *s, 0.0), strict=True)]
    with np.load(folder / "o" / "phases.npz") as phases:
        for k, t in enumerate(phases["t_free"]):
            at = t / step
            if at < len(path) - 1:
                low, share = int(at), at - int(at)
                for i in (0, 1):
                    between = (1 - share) * path[low][i] + share * path[low + 1][i]
                    np.testing.assert_allclose(phases[f"free_{i}"][k], between, atol=1e-9)
    refused = run("simulate", *sample, "--step", 0.1, "--out", folder / "p")
    assert refused.code == 2 and "--substrate euler" in refused.err


def test_a_cost_of_ones_own_nudges(run, folder, sample):
    """The nudged output rests where mu - beta tanh(s - y) vanishes, by the cost log cosh of an imported file."""
    text = "import jax.numpy as jnp\ndef log_cosh(theta, s, y):\n    return jnp.sum(jnp.log(jnp.cosh(s[0] - y)))\n"
    (folder / "costs_of_mine.py").write_text(text)
    options = ("--cost", "costs_of_mine:log_cosh", "--beta", 0.5, "--substrate", "equilibrium", "--out", folder / "o")
    assert run("--import", folder / "costs_of_mine.py", "simulate", *sample, *options).code == 0
    w, y = weights(folder), np.load(folder / "y.npy")
    with np.load(folder / "o" / "phases.npz") as phases:
        s0, s1 = phases["sbeta_0"], phases["sbeta_1"]
        mu = np.clip(s1, 0, 1) @ w["W_0_1"].T + w["b_0"] - s0 - 0.5 * np.tanh(s0 - y)
        assert np.abs(np.where(((s0 <= 0) & (mu < 0)) | ((s0 >= 1) & (mu > 0)), 0, mu)).max() < 2e-8
    for wrong, told in (("huuber", "choose one of quadratic"), ("nowhere:cost", "import its file first")):
        refused = run("simulate", *sample, "--cost", wrong, "--out", folder / "p")
        assert refused.code == 2 and told in refused.err
