"""What a user adds: each file of docs/examples runs, and prints what numpy and scipy make of the same equations."""

import ast
import json
import pathlib
import re
import runpy
import shutil
import sys

import jax
import numpy as np
import pytest
import scipy.integrate
import scipy.linalg
import scipy.optimize

import eqprop_field as epf
from eqprop_field import circuits
from eqprop_field.cli import main

_NUMBER = r"(?<![\w.])-?\d+\.?\d*(?:e-?\d+)?"
_FOLDER = pathlib.Path(__file__).parents[1] / "docs" / "examples"
_PAGE = (_FOLDER.parent / "extending.md").read_text(encoding="utf-8")
needs_ngspice = pytest.mark.skipif(shutil.which("ngspice") is None, reason="ngspice is not installed")


@pytest.fixture(autouse=True)
def _as_a_script(registered, monkeypatch):
    """An example takes an argument for a file to write."""
    monkeypatch.setattr(sys, "argv", sys.argv[:1])


def numbers(text: str) -> list[list[float]]:
    """The numbers of every line."""
    return [[float(word) for word in re.findall(_NUMBER, line)] for line in text.strip().splitlines()]


@pytest.fixture
def run(capsys):
    """Runs an example as a script; gives its names, and the numbers of every line that it prints.

    Where the page shows what it prints, it shows that.
    """

    def run(name: str) -> tuple[dict, list[list[float]]]:
        with jax.enable_x64(False):  # as a user runs it
            names = runpy.run_path(str(_FOLDER / name), run_name="__main__")
        text = capsys.readouterr().out
        first = text.splitlines()[0]
        for shown in re.findall(r"^```\n(.*?)^```", _PAGE, flags=re.DOTALL | re.MULTILINE):
            if shown.startswith(re.split(r"[\d.]+", first)[0]):
                within = 1.5 if "%" in first else 2e-3  # a few of 300 samples
                for stated, printed in zip(numbers(shown), numbers(text), strict=True):
                    np.testing.assert_allclose(printed, stated, atol=within, err_msg=f"{name}: the page shows other")
        return names, numbers(text)

    return run


def numerical(function, at, step=1e-6):
    """The Jacobian of a function of numpy vectors by central differences, (results, arguments)."""
    moves = step * np.eye(len(at))
    return np.stack([(function(at + d) - function(at - d)) / (2 * step) for d in moves], axis=-1)


@pytest.mark.parametrize("path", sorted(_FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_is_short_and_says_what_it_shows(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 60
    assert len(ast.get_docstring(ast.parse(text)) or "") > 200


def wilson_cowan(parameters, state, x, neurons):
    """mu of one sample in numpy; parameters and state are flattened in the order of the pytree."""
    *raw, u = np.split(parameters, np.cumsum([neurons**2] * 4))
    ee, ei, ie, ii = (np.log1p(np.exp(w.reshape(neurons, neurons))) for w in raw)
    u, (e, i), rate = u.reshape(neurons, len(x)), np.split(state, 2), lambda v: 1 / (1 + np.exp(-v))
    return np.concatenate(
        [-e + (1 - 0.5 * e) * rate(ee @ e - ei @ i + u @ x), -i + (1 - 0.5 * i) * rate(ie @ e - ii @ i)]
    )


def test_own_field(run):
    names, printed = run("own_field.py")
    theta = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(names["field"])])
    x, y = np.asarray(names["x"])[0], np.asarray(names["y"])[0]
    rest = scipy.optimize.root(lambda s: wilson_cowan(theta, s, x, 6), np.zeros(12), tol=1e-12).x
    jacobian = numerical(lambda s: wilson_cowan(theta, s, x, 6), rest)
    by_theta = numerical(lambda p: wilson_cowan(p, rest, x, 6), theta)
    error = np.concatenate([rest[:2] - y, np.zeros(10)])
    true = -by_theta.T @ np.linalg.solve(jacobian.T, error)
    plain = -by_theta.T @ np.linalg.solve(jacobian, error)  # EqProp as beta -> 0
    cosine = plain @ true / np.linalg.norm(plain) / np.linalg.norm(true)
    assert [row[-1] for row in printed] == [1.0, pytest.approx(cosine, abs=0.01), 1.0, 1.0]
    assert cosine < 0.9


def test_own_iteration(run):
    names, ((sweeps, residual), (secant, other)) = run("own_iteration.py")
    assert secant < 0.7 * sweeps and max(residual, other) <= 1e-5
    field, x = names["field"], np.asarray(names["x"])
    w, w_in, b = (np.asarray(m, float) for m in (field.recurrent_matrix(), *field.input_matrix()))
    found = np.asarray(epf.Equilibrium(solver=names["Secant"]()).settle(field, x).state)
    for state, row in zip(found, x, strict=True):
        rest = scipy.optimize.root(lambda s, row=row: w @ np.tanh(s) + w_in @ row + b - s, np.zeros(40), tol=1e-12).x
        np.testing.assert_allclose(state, rest, atol=1e-4)


def ring(profile, x, strength=0.5):
    """The projected fixed point of the ring by iteration of clipped steps in numpy."""
    w, s = scipy.linalg.circulant(np.concatenate([[0.0], profile, profile[-2::-1]])), np.zeros(len(x))
    for _ in range(3000):
        s = np.clip(s + 0.1 * (w @ s + strength * x - s), 0.0, 1.0)
    return s


def test_own_leaky_integrator(run):
    names, printed = run("own_leaky_integrator.py")
    profile, x, y = (np.asarray(part) for part in (names["field"].profile, names["x"][0], names["y"][0]))
    expected = ring(profile, x)
    ode, *measured, implicit, eqprop = printed
    for states in (ode, *measured):
        np.testing.assert_allclose(states, expected, atol=6e-4)
    gradient = numerical(lambda k: np.array([0.5 * np.sum((ring(k, x) - y) ** 2)]), profile, 1e-4)[0]
    np.testing.assert_allclose(implicit[-4:], gradient, atol=1e-3)
    np.testing.assert_allclose(eqprop[-4:], gradient, atol=3e-3)
    assert epf.GeneRec().estimate(names["field"], x[None], y[None]).verdict[0] == epf.Verdict.converged


def test_own_rule(run):
    names, ((_, eqprop, _), (_, comparator, _)) = run("own_rule.py")
    assert eqprop < 25 and comparator < 30
    field, own = (
        epf.LayeredField.create(jax.random.key(0), (4, 5, 2), activation=epf.activation("tanh")),
        names["Comparator"],
    )
    x, y = np.linspace(0.1, 0.9, 8).reshape(2, 4), np.array([[0.3, -0.2], [0.1, 0.4]])
    w, (w_in, b) = np.asarray(field.recurrent_matrix()), map(np.asarray, field.input_matrix())
    expected = np.zeros(w.shape)
    for u, target in zip(x, y, strict=True):
        mu = lambda s, beta: w @ np.tanh(s) + w_in @ u + b - s + beta * np.concatenate([target - s[:2], np.zeros(5)])  # noqa: B023, E731
        free, up, down = (scipy.optimize.root(mu, np.zeros(7), args=(beta,), tol=1e-13).x for beta in (0, 0.1, -0.1))
        moved = (up - down) / 0.2
        expected += np.outer(np.sign(moved) * (np.abs(moved) > 0.01), np.tanh(free)) / len(x)
    update = own(substrate=epf.Equilibrium(tol=1e-11)).estimate(field, x, y).update
    np.testing.assert_allclose(update.recurrent_matrix()[w != 0], expected[w != 0], atol=1e-9)
    if shutil.which("ngspice"):
        measured = own(substrate=circuits.NgspiceSubstrate()).estimate(field, x, y).update
        np.testing.assert_allclose(measured.recurrent_matrix(), update.recurrent_matrix(), atol=1e-4)


def test_commands_know_an_own_rule(tmp_path):
    words = ["--sizes", "4,5,2", "--activation", "tanh", "--symmetry", "0:1:2", "--seeds", "2", "--samples", "3"]
    words = ["align", *words, "--rules", "comparator,eqprop", "--out", str(tmp_path)]
    assert main(words) == 2
    assert command("own_rule.py", *words) == 0
    means = json.loads((tmp_path / "summary.json").read_text())["means"]
    cosine = {(one["rule"], one["symmetry"]): one["mean_cosine"] for one in means if one["layer"] == "all"}
    assert 0.3 < cosine["comparator", 1.0] < cosine["eqprop", 1.0]


def test_own_activation(run):
    names, printed = run("own_activation.py")
    rho = names["naka_rushton"]
    at = np.linspace(-2.0, 3.0, 21)
    np.testing.assert_allclose(rho.derivative(at), np.diag(numerical(rho.function, at)), atol=1e-6)
    in_spice = [eval(rho.spice.replace("^", "**").format(v=f"({v})"), {"max": max}) for v in at.tolist()]
    np.testing.assert_allclose(rho.function(at), in_spice, rtol=1e-6)
    field, x = names["field"], np.asarray(names["x"])[0]
    w, (w_in, b) = np.asarray(field.recurrent_matrix()), map(np.asarray, field.input_matrix())
    rate = lambda s: np.maximum(s, 0) ** 2 / (1 + np.maximum(s, 0) ** 2)  # noqa: E731
    rest = scipy.integrate.solve_ivp(lambda t, s: w @ rate(s) + w_in @ x + b - s, (0, 200), np.zeros(8), rtol=1e-9)
    ode, *measured, implicit, aep = printed
    np.testing.assert_allclose(ode, rest.y[:2, -1], atol=1e-4)
    for states in measured:
        np.testing.assert_allclose(states, rest.y[:2, -1], atol=1e-2)
    np.testing.assert_allclose(aep[-2:], implicit[-2:], atol=2e-3)


@needs_ngspice
@pytest.mark.parametrize("level", ["behavioural", "crossbar", "ota"])
def test_own_activation_in_circuits(level):
    rho = runpy.run_path(str(_FOLDER / "own_activation.py"))["naka_rushton"]
    field = epf.LayeredField.create(jax.random.key(2), (4, 6, 2), activation=rho)
    substrate = circuits.NgspiceSubstrate(level=circuits.LEVELS[level]())
    measured, solved = (s.settle(field, np.full((1, 4), 0.5)).state[0] for s in (substrate, epf.Equilibrium()))
    np.testing.assert_allclose(measured, solved, atol=1e-5 if level == "behavioural" else 0.03)


def test_own_cost(run):
    names, ((mean, median), (quadratic,), (robust,)) = run("own_cost.py")
    targets = np.asarray(names["y"])[:, 0]
    assert (mean, median) == (pytest.approx(targets.mean(), abs=1e-3), pytest.approx(np.median(targets), abs=1e-3))
    cost = lambda s: np.sum(np.log(np.cosh((s - targets) / 0.05)))  # noqa: E731
    best = scipy.optimize.minimize_scalar(cost, bounds=(0.0, 1.0), method="bounded")
    assert quadratic == pytest.approx(targets.mean(), abs=2e-3)
    assert robust == pytest.approx(best.x, abs=2e-3)
    own, at = names["LogCosh"](0.3), np.array([0.4, -1.0])
    cost = lambda s: np.asarray(own(s[None], np.zeros((1, 2))))  # noqa: E731
    np.testing.assert_allclose(own.gradient(at, 0.0), numerical(cost, at)[0], atol=1e-7)


def test_own_dataset(run):
    names, printed = run("own_dataset.py")
    from sklearn.linear_model import LogisticRegression

    data = names["bars"]()
    linear = LogisticRegression().fit(data.train.x, data.train.labels)
    assert linear.score(data.test.x, data.test.labels) < 0.65  # the classes' means are the same
    assert printed[-1][0] < 2.0


def test_own_table(run):
    _, printed = run("own_table.py")
    (network,), (line,) = printed
    assert network < line - 5


@needs_ngspice
def test_own_level(run):
    names, printed = run("own_level.py")
    field, x = names["field"], np.asarray(names["x"])
    w, (w_in, b) = np.asarray(field.recurrent_matrix()), map(np.asarray, field.input_matrix())
    assert [row[0] for row in printed] == [10.0, 30.0, 100.0]

    def rest(gain):
        leak = 1 + np.abs(w).sum(axis=1) / gain
        return scipy.optimize.root(lambda s: w @ np.tanh(s) + w_in @ x[0] + b - leak * s, np.zeros(8), tol=1e-12).x

    for gain, apart, cosine in printed:
        assert apart == pytest.approx(np.abs(rest(gain) - rest(np.inf)).max(), abs=2e-4)
        assert cosine > 1 - 0.1 / gain


@needs_ngspice
def test_own_neuron_changes_the_way_and_not_the_end(graph, tmp_path):
    level = circuits.Behavioural(neuron=circuits.read_subcircuit(_FOLDER / "own_neuron.sub"), accuracy=circuits.TIGHT)
    summary = circuits.verify(graph, np.full((1, 4), 0.6), np.full((1, 3), 0.2), 0.1, level=level).summary()
    assert summary["verdict"] == "agrees"
    assert summary["max_abs_free"] < 1e-6
    assert summary["max_abs_trajectory"] > 1e-3


@pytest.fixture
def samples(tmp_path):
    """Files of one input and one target for a network, as options of a command."""

    def samples(inputs: int, outputs: int) -> list[str]:
        np.save(tmp_path / "x.npy", np.linspace(0.2, 0.9, inputs)[None])
        np.save(tmp_path / "y.npy", np.linspace(0.1, 0.6, outputs)[None])
        return ["--input", str(tmp_path / "x.npy"), "--target", str(tmp_path / "y.npy"), "--out", str(tmp_path / "out")]

    return samples


def command(name: str, *words) -> int:
    """The exit code of a command that knows an example."""
    return main(["--import", str(_FOLDER / name), *map(str, words)])


def saved(name: str, path: pathlib.Path) -> None:
    """The network of an example, in a file; what the example registered is forgotten again."""
    names = runpy.run_path(str(_FOLDER / name))
    epf.save_network(path, names["example"]())
    for known in set(epf.FIELDS) & {"WilsonCowan", "Ring"}:
        del epf.FIELDS[known]


def test_commands_know_an_own_field(tmp_path, samples):
    saved("own_field.py", tmp_path / "net.safetensors")
    assert main(["simulate", str(tmp_path / "net.safetensors"), *samples(4, 2)]) == 2  # not without the import
    assert command("own_field.py", "simulate", tmp_path / "net.safetensors", *samples(4, 2)) == 0
    with np.load(tmp_path / "out" / "phases.npz") as phases:
        assert phases["s0_E"].shape == phases["sbeta_I"].shape == (1, 6)
        assert phases["update_W.EI"].shape == (6, 6)


@needs_ngspice
def test_commands_build_own_leaky_integrators(tmp_path, samples):
    saved("own_leaky_integrator.py", tmp_path / "net.safetensors")
    words = ["circuit", tmp_path / "net.safetensors", *samples(8, 8), "--level", "opamp"]
    assert command("own_leaky_integrator.py", *words) == 0


def test_commands_know_an_own_activation(tmp_path, samples):
    net = tmp_path / "net.safetensors"
    init = ["init", "--sizes", "4,6,2", "--activation", "naka_rushton", "--out", str(net)]
    assert main(init) == 2
    assert command("own_activation.py", *init) == 0
    export = ["export", net, *samples(4, 2)[:4], "--level", "crossbar", "--out", tmp_path / "net.cir"]
    assert command("own_activation.py", *export) == 0
    assert "max((v(s)/unit),0)^2" in (tmp_path / "net.cir").read_text()


@needs_ngspice
def test_commands_know_an_own_level(tmp_path, samples):
    assert main(["init", "--sizes", "4,6,2", "--activation", "tanh", "--out", str(tmp_path / "net.safetensors")]) == 0
    circuit = ["circuit", tmp_path / "net.safetensors", *samples(4, 2), "--level", "finite_gain"]
    assert main([str(word) for word in circuit]) == 2
    apart = []
    for gain in (30, 3000):
        assert command("own_level.py", *circuit, "--amplifier-gain", gain) == 0
        apart.append(json.loads((tmp_path / "out" / "agreement.json").read_text())["max_abs_free"])
    assert apart[1] == pytest.approx(apart[0] / 100, rel=0.1)


def _wilson_cowan():
    return runpy.run_path(str(_FOLDER / "own_field.py"))["example"]()


def _save_unregistered(path):
    field = _wilson_cowan()
    del epf.FIELDS["WilsonCowan"]
    epf.save_network(path, field)


def _nudge_by_own_cost(path):
    del path
    field = epf.LayeredField.create(jax.random.key(0), (2, 3, 1), activation=epf.activation("tanh"))
    cost = runpy.run_path(str(_FOLDER / "own_cost.py"))["LogCosh"]()
    substrate = circuits.NgspiceSubstrate(level=circuits.OpAmp())
    epf.EqProp(substrate=substrate, cost=cost).estimate(field, np.ones((1, 2)), np.ones((1, 1)))


REFUSALS = {
    "a field without a name": _save_unregistered,
    "devices for any field": lambda _: circuits.NgspiceSubstrate(level=circuits.OpAmp(), free_time=1.0).circuits(
        _wilson_cowan(), np.ones((1, 4)), ()
    ),
    "a rule and a substrate": lambda _: epf.AEP(substrate=circuits.NgspiceSubstrate(level=circuits.OpAmp())),
    "an unknown activation": lambda _: epf.activation("naka_rushton"),
    "a nudge that is not linear": _nudge_by_own_cost,
}


@pytest.mark.parametrize("what", REFUSALS)
@needs_ngspice
def test_refusals_read_as_the_page_says(what, tmp_path):
    with pytest.raises(ValueError) as refused:
        REFUSALS[what](tmp_path / "net.safetensors")
    assert " ".join(str(refused.value).split()) in " ".join(_PAGE.replace("\n> ", " ").split())
