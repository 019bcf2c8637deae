"""Fields from a function and any cost: dJ/dtheta against finite differences of an equilibrium that scipy finds."""

import pickle
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy.optimize import root

import eqprop_field as epf

RNG = np.random.default_rng(3)
THETA = {
    "W": {
        "ee": 0.3 * RNG.normal(size=(4, 4)),
        "ei": 0.3 * RNG.normal(size=(4, 3)),
        "ie": 0.5 * RNG.normal(size=(3, 4)),
    },
    "U": RNG.normal(size=(4, 2)),
    "log_tau": np.array([0.3, -0.2, 0.1]),
    "R": RNG.normal(size=(2, 4)),
    "gain": 1.5,
}
X, Y = np.array([[0.4, -0.7], [0.9, 0.2]]), np.array([[1.0, 0.0], [0.0, 1.0]])
TIGHT = epf.Equilibrium(tol=1e-13)


def mu(theta, x, s, np=jnp):
    """Two populations; the second one's time constants are learnt, and its drive too."""
    w, r = theta["W"], np.tanh(theta["gain"] * s["e"])
    e = w["ee"] @ r - w["ei"] @ np.tanh(s["i"]) + theta["U"] @ x - s["e"]
    return {"e": e, "i": (w["ie"] @ r - s["i"]) / np.exp(theta["log_tau"])}


def readout(theta, s):
    return theta["R"] @ s["e"]


def gradient(rule, field, x=X, y=Y) -> Any:
    return rule.estimate(field, x, y).gradient


def make(outputs=readout) -> epf.FunctionField:
    return epf.field(
        mu, THETA, state={"e": 4, "i": (3,)}, inputs=2, outputs=outputs, time_constants={"e": 1.0, "i": 2.0}
    )


def on_hidden(theta, s, y):
    """A hidden state, a state that is read, and a parameter; smooth."""
    return jnp.sum((s["i"][:2] - y) ** 2) * jnp.exp(s["e"][0]) + jnp.sum(theta["R"] ** 2 * theta["gain"])


def hidden_by_numpy(theta, s, y):
    return np.sum((s["i"][:2] - y) ** 2) * np.exp(s["e"][0]) + np.sum(theta["R"] ** 2 * theta["gain"])


def of_output(function):
    return lambda theta, s, y: function(readout(theta, s), y)


COSTS = {
    "quadratic": (epf.Quadratic(), of_output(lambda o, y: 0.5 * np.sum((o - y) ** 2))),
    "cross-entropy": (epf.CrossEntropy(), of_output(lambda o, y: np.log(np.sum(np.exp(o))) - y @ o)),
    "huber": (
        epf.Huber(0.2),
        of_output(lambda o, y: np.sum(np.where(abs(o - y) < 0.2, 0.5 * (o - y) ** 2, 0.2 * abs(o - y) - 0.02))),
    ),
    "margin": (epf.Margin(0.9), of_output(lambda o, y: np.sum((1 - y) * np.maximum(0, 0.9 + o - y @ o)))),
    "hidden": (epf.cost(on_hidden), hidden_by_numpy),
}


def numeric_gradient(cost) -> np.ndarray:
    """dJ/dtheta by central differences; J by scipy's root finder."""
    flat, unravel = ravel_pytree({name: leaf for name, leaf in THETA.items() if name != "gain"})

    def objective(at) -> float:
        theta = jax.tree.map(np.asarray, unravel(jnp.asarray(at))) | {"gain": THETA["gain"]}
        total = 0.0
        for x, y in zip(X, Y, strict=True):

            def flat_mu(s, x=x):
                moved = mu(theta, x, {"e": s[:4], "i": s[4:]}, np)
                return np.concatenate([moved["e"], moved["i"]])

            s = root(flat_mu, np.zeros(7), tol=1e-14).x
            total += float(cost(theta, {"e": s[:4], "i": s[4:]}, y)) / len(X)
        return total

    steps = 1e-5 * np.eye(len(flat))
    return np.array([(objective(flat + h) - objective(flat - h)) / 2e-5 for h in steps])


@pytest.mark.parametrize("name", COSTS)
def test_the_truth_is_the_finite_difference(name):
    """The readout, which stands in theta, and the cost's own dependence on theta included."""
    cost, by_numpy = COSTS[name]
    theta = gradient(epf.ImplicitGradient(substrate=TIGHT, cost=cost), make()).theta
    found = ravel_pytree({key: leaf for key, leaf in theta.items() if key != "gain"})[0]
    np.testing.assert_allclose(found, numeric_gradient(by_numpy), atol=1e-7)
    assert np.abs(np.asarray(theta["R"])).min() > 1e-3


RULES = {
    "aep": lambda cost: epf.AEP(nudging=epf.Nudging.symmetric(1e-4), substrate=TIGHT, cost=cost),
    "dyadic": lambda cost: epf.DyadicEqProp(beta=0.5, substrate=TIGHT, cost=cost),
    "recurrent-backpropagation": lambda cost: epf.RecurrentBackpropagation(substrate=TIGHT, cost=cost),
    "bptt": lambda cost: epf.BPTT(substrate=epf.EulerSteps(2000, step=0.1), cost=cost),
}


@pytest.mark.parametrize("rule", RULES)
def test_exact_rules_follow_any_cost(rule):
    cost, _ = COSTS["hidden"]
    found = gradient(RULES[rule](cost), make())
    truth = gradient(epf.ImplicitGradient(substrate=TIGHT, cost=cost), make())
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(truth), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_a_sample_that_does_not_settle_has_no_part_in_the_costs_own_derivative():
    field = epf.field(lambda w, x, s: w * s**3 + x - s, jnp.array([1.0]), state=1, inputs=1, outputs=lambda w, s: w * s)
    x, y = np.array([[0.1], [5.0]]), np.array([[0.3], [0.3]])
    both = epf.ImplicitGradient().estimate(field, x, y, throw=False)
    assert both.verdict[0] == 0 and both.verdict[1] != 0
    one = gradient(epf.ImplicitGradient(), field, x[:1], y[:1])
    np.testing.assert_allclose(jax.tree.leaves(both.gradient), jax.tree.leaves(one), rtol=1e-9)


def test_what_a_function_field_says_of_itself():
    field = make()
    assert field.n_outputs == 2 and field.n_neurons == 7
    assert set(field.tensors()) == {"W.ee", "W.ei", "W.ie", "U", "log_tau", "R"}
    assert gradient(epf.EqProp(), field).tau["e"] is None
    module = eqx.nn.MLP(2 + 3, 3, 8, 1, activation=jnp.tanh, key=jax.random.key(0))
    of_module = epf.field(
        lambda net, x, s: net(jnp.concatenate([x, s])) - s, module, state=3, inputs=2, outputs=1, start=0.2
    )
    assert of_module.initial_state(2).tolist() == [[0.2] * 3] * 2
    found = gradient(epf.ImplicitGradient(), of_module, X, Y[:, :1])
    assert "layers.0.weight" in found.tensors()
    moved = eqx.apply_updates(of_module, jax.tree.map(lambda g: -0.1 * g, found))
    objective = lambda one: epf.ImplicitGradient().estimate(one, X, Y[:, :1]).objective  # noqa: E731
    assert objective(moved) < objective(of_module)


def test_files_know_a_registered_function(tmp_path):
    with pytest.raises(ValueError, match="register"):
        epf.save_network(tmp_path / "net.safetensors", make())
    epf.register(mu, "two-populations", outputs=readout)
    try:
        epf.save_network(tmp_path / "net.safetensors", make())
        read = epf.load_network(tmp_path / "net.safetensors")
    finally:
        del epf.FIELDS["two-populations"]
    assert isinstance(read, epf.FunctionField) and read.constants == make().constants
    for one, other in zip(jax.tree.leaves(read), jax.tree.leaves(make()), strict=True):
        np.testing.assert_array_equal(one, other)


def of_mlp(theta, x, s):
    return theta(jnp.concatenate([x, s])) - s


def mlp(key, width=4):
    return eqx.nn.MLP(5, 3, width, 1, activation=jnp.tanh, key=jax.random.key(key))


def test_files_hold_modules_whose_form_is_registered(tmp_path):
    path, made = tmp_path / "net.safetensors", epf.field(of_mlp, mlp(0), state=3, inputs=2, outputs=1)
    epf.register(of_mlp, "mlp")
    try:
        with pytest.raises(ValueError, match=r"parameters of the form MLP\(.*: register its function with theta="):
            epf.save_network(path, made)
        assert not path.exists()
        epf.register(of_mlp, "mlp", theta=mlp(1))
        epf.save_network(path, made)
        read = epf.load_network(path)
        assert eqx.tree_equal(read, made)
        other = eqx.nn.MLP(5, 3, 4, 1, activation=jnp.sin, key=jax.random.key(1))  # the same arrays, another function
        epf.register(of_mlp, "mlp", theta=other)
        with pytest.raises(epf.NetworkFileError, match="differ in arrays alone"):
            epf.load_network(path)
        with pytest.raises(ValueError, match="differ in arrays alone"):
            epf.save_network(path, made)
        with pytest.raises(ValueError, match="theta=MLP: give parameters of that class"):
            epf.register(of_mlp, "mlp", theta=eqx.nn.MLP)
    finally:
        del epf.FIELDS["mlp"]
    np.testing.assert_array_equal(*(epf.Equilibrium().settle(one, X).state for one in (made, read)))


def test_derivatives_reach_theta_and_no_closure():
    def settled(weight, held):
        made = epf.field(lambda w, x, s: w * s + held - s, weight, state=2, inputs=2, outputs=1)
        return epf.Equilibrium(tol=1e-10).settle(made, np.zeros((1, 2)), throw=False).state.sum()

    one = np.ones(())
    for run in (lambda f: f, jax.jit):  # s = held / (1 - w)
        np.testing.assert_allclose(run(jax.grad(lambda w: settled(w, 0.1)))(0.5 * one), 0.8, rtol=1e-7)
    with pytest.raises(
        ValueError, match="mu holds an array that JAX differentiates or maps over: give it as a part of theta"
    ):
        jax.grad(lambda held: settled(0.5 * one, held))(one)


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (lambda theta, s, y: s[0] if s[0] > 0 else y[0], "Python branches on the state"),
        (lambda theta, s, y: None, "is a NoneType: give a function with one number"),
        (lambda theta, s, y: 1, "is a number of int"),
        (lambda theta, s, y: 1j * s[0], "is a complex number: give a function with one real number"),
    ],
)
def test_costs_that_are_none_are_refused_in_a_sentence(function, told):
    made = epf.field(lambda w, x, s: w @ x - s, jnp.ones((2, 2)), state=2, inputs=2, outputs=1)
    with pytest.raises(ValueError, match=told):
        epf.EqProp(cost=epf.cost(function)).estimate(made, X, Y[:, :1])


def of_linear(theta, x, s):
    return theta(s) + x.sum() - 2 * s


def test_workers_get_modules_too():
    made = epf.field(of_linear, eqx.nn.Linear(3, 3, key=jax.random.key(0)), state=3, inputs=2, outputs=1)
    again = pickle.loads(pickle.dumps(made))
    assert eqx.tree_equal(again, made)
    np.testing.assert_array_equal(*(epf.Equilibrium().settle(one, X).state for one in (made, again)))


def branching(theta, x, s):
    return -s if s[0] > 0 else s


REFUSED = {
    "branching": (lambda: {"mu": branching}, r"Python branches.*test_function.py, line \d+: return -s if.*jnp.where"),
    "structure": (
        lambda: {"mu": lambda w, x, s: (s, s)},
        r"mu \(test_function.py, line \d+\) gives .* where the state is",
    ),
    "shape": (
        lambda: {"mu": lambda w, x, s: s[:2]},
        r"mu \(test_function.py, line \d+\) gives float64\[2\] where the state is float64\[3\]",
    ),
    "nan": (lambda: {"mu": lambda w, x, s: jnp.log(s - 1)}, "mu is NaN or infinite where free"),
    "infinite": (lambda: {"mu": lambda w, x, s: 1 / s}, "mu is NaN or infinite where free phases start"),
    "shapes that do not multiply": (
        lambda: {"mu": lambda w, x, s: jnp.ones((2, 5)) @ s},
        r"mu\(theta, x, s\) fails \(test_function.py, line \d+: .*\): dot_general requires",
    ),
    "two arguments": (lambda: {"mu": lambda w, s: s}, r"mu\(theta, x, s\) fails: .* takes 2 positional arguments"),
    "start of text": (lambda: {"start": "b"}, "start does not fit the state: "),
    "complex theta": (lambda: {"theta": jnp.ones(3, complex)}, "theta holds complex numbers: give real and imaginary"),
    "random": (
        lambda: {"mu": lambda w, x, s: np.random.normal() - s},
        "mu gives other numbers when it is called again",
    ),
    "complex": (lambda: {"mu": lambda w, x, s: 1j * s}, "mu gives complex.* numbers: a state moves by real ones"),
    "whole": (lambda: {"mu": lambda w, x, s: jnp.sign(s).astype(int)}, "mu gives int.* numbers"),
    "imaginary": (lambda: {"outputs": lambda w, s: 1j * s}, "give one real array"),
    "outputs": (lambda: {"outputs": 5}, "outputs=5, but the first leaf of the state has 3"),
    "readout": (lambda: {"outputs": lambda w, s: jnp.sum(s)}, r"give one real array of shape \(K,\)"),
    "tau": (lambda: {"time_constants": 0.0}, "time_constants must be positive"),
    "start": (lambda: {"start": np.zeros(4)}, "start does not fit the state"),
    "inputs": (lambda: {"inputs": 0}, "inputs=0"),
    "theta": (lambda: {"theta": {"names": {1, 2}}}, "theta holds what is no constant"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_field_is_refused_in_a_sentence(what):
    given, told = REFUSED[what]
    options: dict[str, Any] = {
        "mu": lambda w, x, s: w * s,
        "theta": jnp.ones(3),
        "state": 3,
        "inputs": 2,
        "outputs": 1,
    } | given()
    with pytest.raises(ValueError, match=told):
        epf.field(options.pop("mu"), options.pop("theta"), **options)


def test_a_cost_is_one_number():
    with pytest.raises(ValueError, match="one number"):
        epf.ImplicitGradient(cost=epf.cost(lambda theta, s, y: y)).estimate(make(), X, Y)
