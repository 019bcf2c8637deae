"""Graphs with a mask, layers with skip and lateral connections, and the Hopfield field with its energy."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eqprop_field as epf
from eqprop_field.circuits import compile_circuit, schedule
from eqprop_field.learning.base import tree_dot, tree_norm
from eqprop_field.vector_fields.base import flatten_state, jacobian

KEY = jax.random.key(4)
TIGHT = epf.Equilibrium(tol=1e-13, solver=epf.Sweeps(20_000))
SIZES = (5, 4, 6, 3)


def hopfield(name="tanh", neurons=12, **options):
    return epf.HopfieldField.create(
        KEY, neurons=neurons, inputs=4, outputs=3, activation=epf.activation(name), gain=0.4, density=0.8, **options
    )


def layers(name="tanh", **options):
    return epf.HopfieldField.from_layers(KEY, (20, 15, 10, 5), activation=epf.activation(name), **options)


HOPFIELD = {"12": hopfield, "50": lambda name="tanh": hopfield(name, 50), "20-15-10-5": layers}
FIELDS = pytest.mark.parametrize("make", HOPFIELD.values(), ids=HOPFIELD.keys())


def data(field, batch=3, seed=0):
    x_key, y_key = jax.random.split(jax.random.key(seed))
    return jax.random.uniform(x_key, (batch, field.n_inputs)), jax.random.uniform(y_key, (batch, field.n_outputs))


def relative(a, b):
    return float(tree_norm(jax.tree.map(jnp.subtract, a, b)) / tree_norm(b))


def as_graph(layered):
    """The same network as a graph."""
    w, (w_in, b) = layered.recurrent_matrix(), layered.input_matrix()
    blank = epf.GraphField.from_layers(KEY, layered.sizes, activation=layered.activation)
    return eqx.tree_at(lambda f: (f.weights, f.input_weights, f.biases), blank, (w, w_in, b))


@pytest.mark.parametrize("name", ["tanh", "hard_sigmoid"])
def test_layers_as_a_graph_do_what_the_layered_field_does(name):
    layered = epf.LayeredField.create(KEY, SIZES, activation=epf.activation(name))
    graph = as_graph(layered)
    np.testing.assert_array_equal(graph.mask, layered.recurrent_matrix() != 0)
    np.testing.assert_array_equal(graph.input_mask, layered.input_matrix()[0] != 0)
    x, y = data(layered)
    mine, theirs = (epf.EqProp(substrate=TIGHT).estimate(field, x, y) for field in (graph, layered))
    np.testing.assert_allclose(mine.free.state, flatten_state(theirs.free.state), atol=1e-12)
    np.testing.assert_allclose(mine.gradient.weights[:3, 3:9], theirs.gradient.forward[0], atol=1e-10)
    np.testing.assert_allclose(mine.gradient.input_weights[9:], theirs.gradient.forward[2], atol=1e-10)
    assert not np.asarray(mine.gradient.input_weights[:9]).any()  # no synapse, no gradient


def test_skips_and_lateral_layers_join_what_they_name():
    field = epf.GraphField.from_layers(KEY, SIZES, skips=[(2, 0), (3, 1)], lateral=[1])
    layer_of = np.repeat([0, 1, 2], [3, 6, 4])
    for i, a in enumerate(layer_of):
        for j, b in enumerate(layer_of):
            assert bool(field.mask[i, j]) == (i != j and (a == b == 1 or a != b))
    np.testing.assert_array_equal(field.input_mask, np.repeat([[False], [True]], [3, 10], axis=0) * np.ones((1, 5)))
    assert ((np.asarray(field.weights) != 0) == np.asarray(field.mask)).all()
    assert ((np.asarray(field.input_weights) != 0) == np.asarray(field.input_mask)).all()


def test_a_skip_connection_carries_a_signal_that_the_gradient_sees():
    """Output and input joined by a skip alone: the hidden synapses are cut, and the gradient is a line fit's."""
    field = epf.GraphField.from_layers(KEY, (5, 4, 3), skips=[(0, 2)], activation=epf.activation("linear"))
    field = eqx.tree_at(lambda f: f.weights, field, jnp.zeros_like(field.weights))
    x, y = data(field, batch=6)
    gradient = epf.ImplicitGradient(TIGHT).estimate(field, x, y).gradient
    w = np.asarray(field.input_weights[:3])
    np.testing.assert_allclose(gradient.input_weights[:3], (x @ w.T - y).T @ x / 6, atol=1e-12)


def test_a_one_way_graph_settles_in_as_many_layers():
    mask = np.tril(np.ones((6, 6), bool), -1)
    field = epf.GraphField.from_mask(KEY, mask, inputs=2, outputs=2, symmetry=1.0, activation=epf.activation("tanh"))
    assert not np.triu(field.weights).any() and np.tril(field.weights, -1).any()
    w, (w_in, b) = np.asarray(field.recurrent_matrix()), map(np.asarray, field.input_matrix())
    x = np.array([[0.3, -0.8]])
    s = np.zeros(6)
    for i in range(6):
        s[i] = w[i] @ np.tanh(s) + w_in[i] @ x[0] + b[i]
    np.testing.assert_allclose(TIGHT.settle(field, x).state[0], s, atol=1e-12)


@pytest.mark.parametrize(
    "make, said",
    [
        (lambda: epf.GraphField.from_layers(KEY, SIZES, skips=[(0, 4)]), "two different layers between 0"),
        (lambda: epf.GraphField.from_layers(KEY, SIZES, skips=[(1, 1)]), "two different layers between 0"),
        (lambda: epf.GraphField.from_layers(KEY, SIZES, lateral=[3]), "inputs are clamped"),
        (lambda: epf.GraphField.from_layers(KEY, (3,)), "at least an input and an output"),
        (lambda: epf.GraphField.from_layers(KEY, SIZES, symmetry=2.0), "between -1 and 1"),
        (lambda: epf.GraphField.from_mask(KEY, np.eye(3), inputs=1, outputs=1), "empty diagonal"),
        (lambda: epf.GraphField.from_mask(KEY, np.zeros((3, 2)), inputs=1, outputs=1), r"mask has shape \(3, 2\)"),
        (
            lambda: epf.GraphField.from_mask(KEY, np.zeros((3, 3)), inputs=1, outputs=1, input_mask=np.ones((1, 3))),
            "input_mask has shape",
        ),
        (lambda: epf.HopfieldField.create(KEY, neurons=3, inputs=1, outputs=4), "outputs at most neurons"),
        (lambda: epf.HopfieldField.create(KEY, neurons=3, inputs=1, outputs=1, density=2.0), "at most 1"),
        (lambda: hopfield(tau=0.0), "must be positive"),
        (lambda: hopfield(projected=True), "not for tanh"),
        (lambda: hopfield().reinitialise(KEY, 0.5), "one weight a pair"),
        (
            lambda: compile_circuit(hopfield(), np.ones(4), None, schedule(1.0, 1.0, ())),
            r"needs leaky integrators",
        ),
    ],
)
def test_what_cannot_be_is_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()


@FIELDS
@pytest.mark.parametrize("name", ["tanh", "sigmoid", "softplus", "hard_sigmoid"])
def test_mu_is_minus_the_gradient_of_the_energy_and_its_jacobian_symmetric(make, name):
    field = make(name)
    x, _ = data(field, batch=2)
    state = jax.random.uniform(KEY, (2, field.n_neurons), minval=0.1, maxval=0.9)
    drive = field.drive(x)
    slope = jax.grad(lambda s: jnp.sum(field.energy(s, drive)))(state)
    np.testing.assert_allclose(field(state, drive), -slope, atol=1e-13)
    j = jacobian(lambda s: field(s, drive), state)
    np.testing.assert_allclose(j, jnp.swapaxes(j, 1, 2), atol=1e-14)


def test_the_energy_is_the_sum_written_out():
    field = hopfield("sigmoid", 5)
    s, x = np.array([0.3, -1.0, 0.2, 0.8, -0.1]), np.array([0.1, 0.9, 0.4, 0.7])
    w, rho = np.asarray(field.recurrent_matrix()), 1 / (1 + np.exp(-s))
    field = eqx.tree_at(lambda f: f.biases, field, jnp.arange(5.0) / 10)
    drive = np.asarray(field.input_weights) @ x + np.arange(5) / 10
    pairs = sum(w[i, j] * rho[i] * rho[j] for i in range(5) for j in range(i))
    expected = 0.5 * s @ s - pairs - drive @ rho
    assert float(field.energy(jnp.asarray(s)[None], field.drive(jnp.asarray(x)[None]))[0]) == pytest.approx(expected)


@FIELDS
@pytest.mark.parametrize("name", ["tanh", "hard_sigmoid"])
def test_the_energy_never_rises_along_a_trajectory(make, name):
    field = make(name)
    field = eqx.tree_at(lambda f: f.weights, field, 12.0 * field.weights)  # several equilibria, a long way to them
    x, _ = data(field, batch=4)
    start = jax.random.uniform(KEY, (4, field.n_neurons), minval=0.0 if name == "hard_sigmoid" else -2.0, maxval=1.0)
    times = jnp.linspace(0, 30, 600)
    solution = epf.Trajectory(tol=1e-11, free_times=times).settle(field, x, start=start, throw=False)
    drive = field.drive(x)
    energy = jax.vmap(lambda state: field.energy(state, drive))(solution.trajectory)
    assert float(jnp.max(jnp.diff(energy, axis=0))) <= 1e-10
    assert float(energy[0].mean() - energy[-1].mean()) > 0.1


@FIELDS
@pytest.mark.parametrize("name", ["tanh", "hard_sigmoid"])
@pytest.mark.parametrize("seed", range(2))
def test_equilibrium_propagation_is_the_gradient_to_second_order(make, name, seed):
    field = make(name)
    # Without a bias the clipped outputs may all rest at 0, where there is no gradient to compare.
    field = eqx.tree_at(lambda f: f.biases, field, field.biases + 0.3)
    x, y = data(field, seed=seed)
    truth = epf.ImplicitGradient(TIGHT).estimate(field, x, y).gradient
    errors = [
        relative(epf.EqProp(epf.Nudging.symmetric(beta), TIGHT).estimate(field, x, y).gradient, truth)
        for beta in (0.08, 0.04, 1e-4)
    ]
    assert errors[2] < 1e-7
    if name == "tanh":
        assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.15)


def test_one_weight_a_pair_gets_the_gradient_of_both_its_ends():
    """Finite differences of the settled cost by single weights."""
    field = hopfield(neurons=6)
    x, y = data(field)
    gradient = epf.EqProp(epf.Nudging.symmetric(1e-4), TIGHT).estimate(field, x, y).gradient
    assert not np.tril(gradient.weights).any()

    def objective(i, j, h):
        moved = eqx.tree_at(lambda f: f.weights, field, field.weights.at[i, j].add(h))
        return float(jnp.mean(epf.Quadratic()(moved.output(TIGHT.settle(moved, x).state), y)))

    for i, j in np.argwhere(np.triu(field.mask))[::3]:
        numeric = (objective(i, j, 1e-5) - objective(i, j, -1e-5)) / 2e-5
        assert float(gradient.weights[i, j]) == pytest.approx(numeric, rel=1e-5, abs=1e-8)


def test_with_the_clipped_hard_sigmoid_it_is_the_symmetric_graph():
    graph = epf.GraphField.create(KEY, neurons=12, inputs=4, outputs=3, symmetry=1.0, gain=0.4, density=0.8)
    field = hopfield("hard_sigmoid")
    np.testing.assert_array_equal(field.recurrent_matrix(), graph.recurrent_matrix())
    x, _ = data(field)
    state = jax.random.uniform(KEY, (3, 12))
    np.testing.assert_allclose(field(state, field.drive(x)), graph(state, graph.drive(x)), atol=1e-14)


def test_an_alignment_sweep_takes_the_symmetry_a_hopfield_network_has():
    field = hopfield()
    x, y = data(field)
    rules = {"eqprop": epf.EqProp(epf.Nudging.symmetric(1e-4), TIGHT)}
    found = epf.align(field, x, y, symmetries=[1.0], keys=jax.random.split(KEY, 2), rules=rules)
    assert np.nanmin(found.cosine[..., 0]) > 1 - 1e-9
    assert found.weight_symmetry == pytest.approx(1.0)
    with pytest.raises(ValueError, match="one weight a pair"):
        epf.align(field, x, y, symmetries=[0.0, 1.0], keys=jax.random.split(KEY, 2), rules=rules)


def test_gradient_and_parameters_have_one_structure():
    field = layers(skips=[(0, 2)])
    x, y = data(field)
    gradient = epf.EqProp(substrate=TIGHT).estimate(field, x, y).gradient
    assert jax.tree.structure(gradient) == jax.tree.structure(field.parameters())
    assert float(tree_dot(gradient, gradient)) > 0
