"""A field with four members, from outside the package: what works with it, against scipy, and what is refused."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.optimize

import eqprop_field as epf
from eqprop_field import circuits
from eqprop_field._tensor_file import tensor_file
from eqprop_field.analysis import stability
from eqprop_field.datasets import Dataset, Samples
from eqprop_field.storage import describe
from eqprop_field.vector_fields import FIELDS, AbstractLayered, flatten_state, is_leaky_integrator
from eqprop_field.vector_fields.leaky import require
from eqprop_field.vector_fields.members import check_members, check_once

from .user_field import Competition

KEY = jax.random.key(3)
_X = np.random.default_rng(0).uniform(0.2, 1.0, (3, 3))
_Y = np.random.default_rng(1).uniform(-0.3, 0.3, (3, 2))


@pytest.fixture(scope="module")
def field():
    w, u = (0.4 * jax.random.normal(k, shape) for k, shape in zip(jax.random.split(KEY), ((4, 4), (4, 3)), strict=True))
    return Competition(w, u, {"k": jnp.asarray(0.3)})


@pytest.fixture
def registered():
    epf.register(Competition)
    yield
    FIELDS.pop("Competition")


def equations(w, u, k, x):
    """mu of one sample in numpy, over the flattened state."""
    return lambda s: np.concatenate(
        [np.tanh(w @ s[4:] + u @ x) - s[:4] - k * s[:4] * s[4:], s[:4] - s[4:] - 0.2 * s[4:] ** 3]
    )


def nudged(mu, y, beta):
    return lambda s: mu(s) + beta * np.concatenate([y - s[:2], np.zeros(6)])


def cost_of(parameters, shapes):
    """The mean cost at scipy's own equilibria, as a function of all parameters side by side."""
    w, u, k = np.split(parameters, np.cumsum([16, 12]))
    total = 0.0
    for x, y in zip(_X, _Y, strict=True):
        found = scipy.optimize.root(equations(w.reshape(4, 4), u.reshape(4, 3), k[0], x), np.zeros(8), tol=1e-13)
        total += 0.5 * np.sum((found.x[:2] - y) ** 2) / len(_X)
    return total


def flat(field):
    return np.concatenate([np.ravel(np.asarray(t)) for t in (field.W, field.U, field.couple["k"])])


@pytest.fixture(scope="module")
def truth(field):
    """dJ/dtheta by central differences of scipy's equilibria."""
    at, step = flat(field), 1e-5
    return np.array([(cost_of(at + d, None) - cost_of(at - d, None)) / (2 * step) for d in step * np.eye(len(at))])


def test_the_members_and_their_defaults(field):
    check_members(field)
    assert (field.n_neurons, field.colours, field.projected) == (8, (0, 0), False)
    state = field.initial_state(2)
    output = jnp.arange(4.0).reshape(2, 2)
    assert field.output(field.embed(output)).tolist() == output.tolist()
    assert float(jnp.sum(flatten_state(field.embed(output)))) == 6.0
    assert all(float(jnp.min(tau)) == 1 for tau in jax.tree.leaves(field.time_constants()))
    assert sorted(field.tensors()) == ["U", "W", "couple.k"]
    assert jax.tree.structure(field.time_constants()) == jax.tree.structure(state)


@pytest.mark.parametrize("substrate", [epf.Equilibrium(tol=1e-11), epf.Trajectory(tol=1e-10)])
def test_settles_where_scipy_does(field, substrate):
    state = flatten_state(substrate.settle(field, _X).state)
    for s, x in zip(state, _X, strict=True):
        mu = equations(np.asarray(field.W), np.asarray(field.U), float(field.couple["k"]), x)
        rest = scipy.integrate.solve_ivp(lambda t, s, mu=mu: mu(s), (0, 80), np.zeros(8), rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(s, rest.y[:, -1], atol=1e-8)


TIGHT = epf.Equilibrium(tol=1e-11)
RULES = {
    "implicit": (epf.ImplicitGradient(TIGHT), 1e-7),
    "aep": (epf.AEP(epf.Nudging.symmetric(1e-3), TIGHT), 1e-5),
    "dyadic": (epf.DyadicEqProp(substrate=TIGHT), 1e-7),
    "recurrent backpropagation": (epf.RecurrentBackpropagation(TIGHT), 1e-7),
    "bptt": (epf.BPTT(epf.EulerSteps(steps=200, step=0.5)), 1e-7),
}


@pytest.mark.parametrize("name", RULES)
def test_exact_rules_give_the_gradient_of_scipy(field, truth, name):
    rule, within = RULES[name]
    found = flat(rule.estimate(field, _X, _Y).gradient)
    np.testing.assert_allclose(found, truth, atol=within * np.abs(truth).max())


def test_eqprop_is_its_own_formula(field):
    """-nu = (dmu/dtheta)^T (s^beta - s^-beta) / 2 beta from states that scipy settles."""
    beta, k = 1e-3, float(field.couple["k"])
    w, u = np.asarray(field.W), np.asarray(field.U)
    expected = np.zeros(len(flat(field)))
    for x, y in zip(_X, _Y, strict=True):
        mu = equations(w, u, k, x)
        rest = scipy.optimize.root(mu, np.zeros(8), tol=1e-13).x
        ends = [scipy.optimize.root(nudged(mu, y, b), rest, tol=1e-13).x for b in (beta, -beta)]
        move = (ends[0] - ends[1]) / (2 * beta)
        slope = 1 - np.tanh(w @ rest[4:] + u @ x) ** 2
        parts = [
            np.outer(slope * move[:4], rest[4:]),
            np.outer(slope * move[:4], x),
            -np.sum(rest[:4] * rest[4:] * move[:4]),
        ]
        expected -= np.concatenate([np.ravel(p) for p in parts]) / len(_X)
    estimate = epf.EqProp(epf.Nudging.symmetric(beta), TIGHT).estimate(field, _X, _Y)
    np.testing.assert_allclose(flat(estimate.gradient), expected, atol=1e-6 * np.abs(expected).max())


def test_stability_and_the_average_cost(field):
    found = stability(field, _X, key=KEY, starts=3)
    assert found.summary()["attractors"] == {"stable_equilibrium": 9}
    average = epf.time_averaged_cost(field, _X, _Y, duration=2000.0, after=50.0)
    rest = epf.ImplicitGradient(TIGHT).estimate(field, _X, _Y).cost
    np.testing.assert_allclose(average, rest, rtol=1e-6)


def test_training_lowers_the_cost(field):
    samples = Samples(_X.astype(np.float32), _Y.astype(np.float32))
    data = Dataset("made", samples, samples, samples, ("a", "b"))
    settings = epf.Settings(epochs=30, batch_size=3, learning_rates=(0.2,))
    run = epf.train(field, epf.AEP(substrate=epf.Equilibrium(tol=1e-8)), data, settings, progress=False)
    assert run.history[-1]["train_objective"] < 0.2 * run.history[0]["train_objective"]
    assert run.unsettled == 0


def test_files_know_it_once_it_is_registered(field, registered, tmp_path):
    epf.save_network(tmp_path / "net.safetensors", field)
    loaded = epf.load_network(tmp_path / "net.safetensors")
    assert type(loaded) is Competition and loaded.n_outputs == 2
    assert all(jax.tree.leaves(jax.tree.map(jnp.array_equal, loaded, field)))


def test_files_refuse_what_could_not_be_loaded(field, tmp_path):
    with pytest.raises(ValueError, match=r"call eqprop_field\.register\(Competition\)"):
        epf.save_network(tmp_path / "net.safetensors", field)

    class Secret(Competition):
        function: object = jnp.sin

    epf.register(Secret)
    try:
        with pytest.raises(ValueError, match="cannot save function"):
            epf.save_network(tmp_path / "net.safetensors", Secret(field.W, field.U, field.couple))
    finally:
        FIELDS.pop("Secret")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_fits_no_field_is_refused(field, registered, tmp_path):
    path, wrong = tmp_path / "net.safetensors", eqx.tree_at(lambda f: f.U, field, jnp.ones((4, 5)))
    with pytest.raises(ValueError, match="not be loaded again"):
        epf.save_network(path, wrong)
    path.write_bytes(tensor_file("eqprop_field", describe(wrong), wrong.file_tensors()))
    with pytest.raises(epf.NetworkFileError, match="describes no usable network"):
        epf.load_network(path)


def test_names_are_not_taken_twice(registered):
    with pytest.raises(ValueError, match="belongs to LayeredField"):
        epf.register(Competition, "layered")
    with pytest.raises(ValueError, match="use letters"):
        epf.register(Competition, "no name")
    with pytest.raises(ValueError, match="give a subclass"):
        epf.register(3)


class Normalised(epf.GraphField):
    """A graph whose synapses share what they have: another network than its matrices say."""

    def velocity(self, drive):
        plain = super().velocity(drive)
        return lambda state: plain(state) - jnp.mean(state, axis=1, keepdims=True)


def test_a_subclass_never_passes_for_its_parent(tmp_path):
    graph = epf.GraphField.create(KEY, neurons=5, inputs=3, outputs=2, activation=epf.activation("tanh"))
    one = Normalised(**{one.name: getattr(graph, one.name) for one in dataclasses.fields(graph)})
    assert is_leaky_integrator(graph) and not is_leaky_integrator(one)
    with pytest.raises(ValueError, match="needs leaky integrators"):
        circuits.compile_circuit(one, _X[0], _Y[0], circuits.schedule(1.0, 1.0, [0.1]))
    with pytest.raises(ValueError, match="needs leaky integrators"):
        epf.GeneRec().estimate(one, _X, np.abs(_Y))
    with pytest.raises(ValueError, match="register"):
        epf.save_network(tmp_path / "net.safetensors", one)


class Matrices(epf.AbstractLeakyIntegrator):
    """A user's third way: leaky integrators by their matrices alone."""

    W: jax.Array
    V: jax.Array
    n_inputs: int = eqx.field(static=True, default=3)
    n_outputs: int = eqx.field(static=True, default=2)
    activation: epf.Activation = eqx.field(static=True, default=epf.activation("tanh"))

    def initial_state(self, batch):
        return jnp.zeros((batch, 5), self.W.dtype)

    def recurrent_matrix(self):
        return self.W

    def input_matrix(self):
        return self.V, jnp.zeros(5)


def test_leaky_integrators_by_their_matrices_are_the_same_graph():
    graph = epf.GraphField.create(KEY, neurons=5, inputs=3, outputs=2, activation=epf.activation("tanh"))
    mine = Matrices(graph.recurrent_matrix(), graph.input_matrix()[0])
    a, b = (TIGHT.settle(f, _X).state for f in (graph, mine))
    np.testing.assert_allclose(a, b, atol=1e-10)
    chip = circuits.Chip.draw(KEY, mine, circuits.Variation.everywhere(0.1, offset=0.05))
    c, d = (TIGHT.settle(chip.field(f), _X).state for f in (graph, mine))
    np.testing.assert_allclose(c, d, atol=1e-10)


@pytest.mark.parametrize(
    ("ask", "what"),
    [
        (lambda f: epf.GeneRec().estimate(f, _X, _Y), "GeneRec needs leaky integrators"),
        (lambda f: epf.ContrastiveHebbian().estimate(f, _X, _Y), "needs leaky integrators"),
        (lambda f: epf.NonlinearBackprop().estimate(f, _X, _Y), "needs leaky integrators"),
        (lambda f: circuits.compile_circuit(f, _X[0], None, ()), "a circuit needs leaky integrators"),
        (lambda f: epf.SymmetryRepair("tied").check(f), "symmetry repair needs a network of neurons"),
        (lambda f: epf.analysis.weight_symmetry(f), "weight symmetry needs a network of neurons"),
        (lambda f: require(f, AbstractLayered, "this"), "this needs layers of leaky integrators"),
    ],
)
def test_what_needs_more_says_what(field, ask, what):
    with pytest.raises(ValueError, match=what):
        ask(field)


def test_what_is_no_field_is_named():
    with pytest.raises(ValueError, match="a dict is no vector field: give a GraphField"):
        check_once({"W": np.eye(2)})


def test_members_that_do_not_fit_are_named(field):
    class Wrong(Competition):
        def velocity(self, drive):
            return lambda s: {"first": s["first"]}

    with pytest.raises(ValueError, match="velocity gives .* needs the state's structure"):
        check_members(Wrong(field.W, field.U, field.couple))
    with pytest.raises(ValueError, match="n_outputs is 0"):
        check_members(Competition(field.W, field.U, field.couple, n_outputs=0))


def test_samples_that_feel_one_another_are_refused(field):
    class Crowd(type(field)):
        def velocity(self, drive):
            mu = super().velocity(drive)
            return lambda s: jax.tree.map(lambda v: v - v.mean(axis=0), mu(s))

    crowd = Crowd(**{one.name: getattr(field, one.name) for one in dataclasses.fields(field)})
    with pytest.raises(ValueError, match=r"Crowd\.velocity mixes the samples of a batch"):
        epf.Equilibrium().settle(crowd, np.zeros((2, field.n_inputs)))
