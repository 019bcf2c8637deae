"""Vector fields against the paper's equations written out in numpy, neuron by neuron."""

import inspect

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import eqprop_field as epf
from eqprop_field.substrates.base import _checked_start
from eqprop_field.vector_fields.base import active_set, flatten_state, jacobian, project, unflatten_state

KEY = jax.random.key(7)
TANH = epf.activation("tanh")


def layered(**options):
    return epf.LayeredField.create(KEY, (5, 4, 6, 3), **options)


def graph(**options):
    return epf.GraphField.create(KEY, neurons=9, inputs=5, outputs=3, **options)


FIELDS = pytest.mark.parametrize("make", [layered, graph])


def with_biases(field):
    """The same field with every parameter drawn at random, biases too."""
    leaves, structure = jax.tree.flatten(field.parameters())
    keys = jax.random.split(KEY, len(leaves))
    drawn = [jax.random.normal(k, leaf.shape) for k, leaf in zip(keys, leaves, strict=True)]
    return eqx.combine(jax.tree.unflatten(structure, drawn), field)


def test_layered_is_equations_6_to_8():
    field = with_biases(layered(activation=epf.activation("tanh")))
    t = {name: np.asarray(value) for name, value in field.tensors().items()}
    assert set(t) == {"W_0_1", "W_1_2", "W_2_3", "W_1_0", "W_2_1", "b_0", "b_1", "b_2"}
    x = np.random.default_rng(0).uniform(size=5)
    s = [np.random.default_rng(i).normal(size=n) for i, n in enumerate((3, 6, 4))]
    r = [np.tanh(v) for v in s]
    expected = [
        t["W_0_1"] @ r[1] + t["b_0"] - s[0],
        t["W_1_2"] @ r[2] + t["W_1_0"] @ r[0] + t["b_1"] - s[1],
        t["W_2_3"] @ x + t["W_2_1"] @ r[1] + t["b_2"] - s[2],
    ]
    mu = field(tuple(jnp.asarray(v)[None] for v in s), field.drive(jnp.asarray(x)[None]))
    for mine, theirs in zip(mu, expected, strict=True):
        np.testing.assert_allclose(mine[0], theirs, rtol=1e-13)


def test_graph_is_equation_3_neuron_by_neuron():
    field = with_biases(graph(density=0.4, activation=epf.activation("sigmoid")))
    w, w_in, b = (np.asarray(field.tensors()[name]) for name in ("W", "W_in", "b"))
    mask = np.asarray(field.mask)
    x, s = np.random.default_rng(1).uniform(size=5), np.random.default_rng(2).normal(size=9)
    rho = 1 / (1 + np.exp(-s))
    expected = np.empty(9)
    for i in range(9):
        expected[i] = sum(w[i, j] * rho[j] for j in range(9) if mask[i, j]) + w_in[i] @ x + b[i] - s[i]
    mu = field(jnp.asarray(s)[None], field.drive(jnp.asarray(x)[None]))
    np.testing.assert_allclose(mu[0], expected, rtol=1e-13)
    assert not mask.diagonal().any() and (mask == mask.T).all() and 0 < mask.sum() < 72


@FIELDS
def test_matrices_say_what_the_field_does(make):
    field = with_biases(make(activation=epf.activation("tanh")))
    x, s = jax.random.normal(KEY, (4, 5)), jax.random.normal(KEY, (4, field.n_neurons))
    state = unflatten_state(field.initial_state(1), s)
    w, (w_in, b) = field.recurrent_matrix(), field.input_matrix()
    expected = jnp.tanh(s) @ w.T + x @ w_in.T + b - s
    np.testing.assert_allclose(flatten_state(field(state, field.drive(x))), expected, atol=1e-13)


@FIELDS
def test_jacobian_is_w_times_slope_minus_identity(make):
    field = make(activation=epf.activation("tanh"))
    state = unflatten_state(field.initial_state(1), jax.random.normal(KEY, (2, field.n_neurons)))
    j = jacobian(lambda s: field(s, field.drive(jnp.ones((2, 5)))), state)
    for sample, s in zip(j, flatten_state(state), strict=True):
        expected = field.recurrent_matrix() * (1 - jnp.tanh(s) ** 2)[None, :] - jnp.eye(field.n_neurons)
        np.testing.assert_allclose(sample, expected, atol=1e-13)


@FIELDS
def test_embed_is_the_transpose_of_output(make):
    field = make()
    state = unflatten_state(field.initial_state(1), jax.random.normal(KEY, (3, field.n_neurons)))
    v = jax.random.normal(KEY, (3, 3))
    left = jnp.sum(field.output(state) * v)
    right = jnp.sum(flatten_state(state) * flatten_state(field.embed(v)))
    assert float(left) == pytest.approx(float(right), rel=1e-12)


@FIELDS
def test_layers_hold_every_entry_of_every_tensor_once(make):
    field = with_biases(make())
    in_tensors = np.sort(np.concatenate([np.ravel(t) for t in field.tensors().values()]))
    in_layers = np.sort(np.concatenate([np.ravel(t) for group in field.layers().values() for t in group]))
    np.testing.assert_array_equal(in_tensors, in_layers)


@FIELDS
@pytest.mark.parametrize("c", [-1.0, 1.0])
def test_full_symmetry_is_exact(make, c):
    w = np.asarray(make(symmetry=c).recurrent_matrix())
    np.testing.assert_allclose(w, c * w.T, atol=1e-16)


@pytest.mark.parametrize("c", [-0.5, 0.0, 0.8])
@pytest.mark.parametrize("kind", ["layered", "graph"])
def test_partial_symmetry_correlates_by_c_and_keeps_the_scale(kind, c):
    if kind == "layered":
        field = epf.LayeredField.create(KEY, (2, 300, 200), symmetry=c, gain=1.0)
        ahead, back = field.forward[0], field.feedback[0].T
        spread = np.sqrt(2 / 500)
    else:
        field = epf.GraphField.create(KEY, neurons=250, inputs=2, outputs=2, symmetry=c, density=0.5, gain=1.0)
        pairs = np.triu_indices(250, 1)
        keep = np.asarray(field.mask)[pairs]
        ahead, back = field.weights[pairs][keep], field.weights.T[pairs][keep]
        spread = 1 / np.sqrt(125)
    assert np.corrcoef(np.ravel(ahead), np.ravel(back))[0, 1] == pytest.approx(c, abs=0.02)
    assert np.std(ahead) == pytest.approx(spread, rel=0.02)
    assert np.std(back) == pytest.approx(spread, rel=0.02)
    assert float(epf.weight_symmetry(field)) == pytest.approx(c, abs=0.02)


def test_projection_holds_only_what_is_pushed_outwards():
    field = graph()
    state = jnp.array([[-0.1, 0.0, 0.0, 0.5, 1.0, 1.0, 1.2, 0.3, 0.9]])
    mu = jnp.array([[-1.0, 1.0, -1.0, -1.0, 1.0, -1.0, 1.0, 1.0, 0.0]])
    np.testing.assert_array_equal(active_set(field, state, mu)[0], [0, 1, 0, 1, 0, 1, 0, 1, 1])
    np.testing.assert_array_equal(project(field, state), jnp.clip(state, 0, 1))
    plain = graph(projected=False)
    np.testing.assert_array_equal(active_set(plain, state, mu), jnp.ones((1, 9)))
    np.testing.assert_array_equal(project(plain, state), state)


@settings(max_examples=8)
@given(st.lists(st.integers(1, 5), min_size=2, max_size=5), st.integers(1, 3))
def test_any_depth_settles_to_the_shapes_it_has(sizes, batch):
    field = epf.LayeredField.create(KEY, sizes, gain=0.2)
    state = epf.Equilibrium(check_stability=False).settle(field, jnp.ones((batch, sizes[0]))).state
    assert [leaf.shape for leaf in state] == [(batch, n) for n in sizes[:0:-1]]


@pytest.mark.parametrize(
    "make, said",
    [
        (lambda: epf.LayeredField.create(KEY, (3,)), "at least an input and an output layer"),
        (lambda: epf.LayeredField.create(KEY, (3, 0)), "sizes=3, 0: give whole numbers of at least 1"),
        (lambda: epf.LayeredField.create(KEY, (3, 2), tau=[-1.0]), "one positive entry"),
        (lambda: epf.LayeredField.create(KEY, (3, 2), activation=TANH, projected=True), "not for tanh"),
        (lambda: epf.GraphField.create(KEY, neurons=3, inputs=1, outputs=4), "outputs at most neurons"),
        (lambda: epf.GraphField.create(KEY, neurons=3, inputs=1, outputs=1, density=0.0), "above 0 and at most 1"),
        (lambda: epf.GraphField.create(KEY, neurons=3, inputs=1, outputs=1, tau=0.0), "must be positive"),
        (lambda: epf.LayeredField.create(KEY, (3, 2), symmetry=1.5), "between -1 and 1"),
        (lambda: epf.GraphField.create(KEY, neurons=3, inputs=1, outputs=1, symmetry=-2), "between -1 and 1"),
        (lambda: epf.LayeredField.create(KEY, (3, 2), gain=float("nan")), "gain"),
    ],
)
def test_what_makes_no_network_is_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()


@pytest.mark.parametrize(
    "x, said",
    [
        (np.ones((2, 4)), r"x has shape \(2, 4\), but this network needs \(batch, 5\)"),
        (np.ones(5), r"x has shape \(5,\)"),
        (np.ones((0, 5)), r"x has shape \(0, 5\)"),
        (np.array([[0, 1, np.nan, 0, 0], [0, 0, 0, 0, 0]]), "NaN or infinity in 1 of 2 rows"),
        (np.ones((2, 5)) + 1j, "x holds complex128 values: give real numbers"),
        (jnp.ones((2, 5)) + 1j, "x holds complex128 values"),
        (np.full((2, 5), "0"), "x holds <U1 values"),
        (np.ma.masked_greater(np.ones((2, 5)), 0), "x has masked entries: give a number for each"),
    ],
)
@pytest.mark.parametrize("substrate", [epf.Equilibrium(), epf.Trajectory()], ids=["equilibrium", "trajectory"])
@FIELDS
def test_bad_input_is_named(make, substrate, x, said):
    with pytest.raises(ValueError, match=said):
        substrate.settle(make(), x)


@pytest.mark.parametrize("substrate", [epf.Equilibrium(), epf.Trajectory()], ids=["equilibrium", "trajectory"])
def test_a_start_has_the_form_of_the_states(substrate):
    field = graph()
    x, whole = np.full((2, 5), 0.5), jnp.zeros((2, field.n_neurons))
    np.testing.assert_array_equal(substrate.settle(field, x, start=whole).state, substrate.settle(field, x).state)
    unchecked = inspect.unwrap(_checked_start)  # without the tests' own check of types
    assert unchecked(field, np.zeros((2, field.n_neurons), int), 2).dtype == field.dtype
    for wrong in (whole[:1], whole[:, :2], (whole,)):
        with pytest.raises(ValueError, match=r"the start has the shape .*: give one like field.initial_state\(2\)"):
            substrate.settle(field, x, start=wrong)


@pytest.mark.parametrize(
    "make",
    [layered, graph, lambda: epf.ConvField.create(KEY, (5, 5, 1), [(2, 3, 1)], (4, 3))],
    ids=["layered", "graph", "conv"],
)
def test_matrices_of_a_gradient_are_those_of_its_tensors(make):
    """A gradient has no time constants, and answers all the same: it is a field's parameters without them."""
    field = make()
    x, y = jnp.full((2, field.n_inputs), 0.4), jnp.full((2, 3), 0.6)
    gradient = epf.EqProp().estimate(field, x, y).gradient
    whole = eqx.combine(gradient, field)
    np.testing.assert_array_equal(gradient.recurrent_matrix(), whole.recurrent_matrix())
    np.testing.assert_array_equal(gradient.input_matrix()[1], whole.input_matrix()[1])
