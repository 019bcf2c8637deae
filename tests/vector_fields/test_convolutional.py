"""Convolutional networks: against scipy's correlation, the dense matrix, a layered network, and the true gradient."""

import equinox as eqx
import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st
from scipy.signal import correlate2d

import eqprop_field as epf
from eqprop_field.storage import load_network, save_network
from eqprop_field.vector_fields import ConvField, square_image
from eqprop_field.vector_fields.base import flatten_state

KEY = jax.random.key(4)


def conv(symmetry=0.3, **options):
    return ConvField.create(KEY, (11, 9, 2), [(3, 3, 2), (4, 2, 1)], (6, 5), symmetry=symmetry, **options)


def inputs(field, batch=2):
    return jax.random.uniform(jax.random.fold_in(KEY, 1), (batch, field.n_inputs))


def some_state(field, batch=2):
    keys = jax.random.split(KEY, len(field.shapes) - 1)
    return tuple(jax.random.uniform(key, (batch, *shape)) for key, shape in zip(keys, field.shapes[:-1], strict=True))


def test_the_drive_is_a_correlation_and_a_mean_over_windows():
    field = conv()
    x = inputs(field)
    image, kernel = np.asarray(x[0]).reshape(11, 9, 2), np.asarray(field.forward[-1])
    full = sum(
        np.stack([correlate2d(image[:, :, c], kernel[:, :, c, o], "valid") for o in range(3)], axis=-1)
        for c in range(2)
    )
    height, width, _ = full.shape
    pooled = full[: height // 2 * 2, : width // 2 * 2].reshape(height // 2, 2, width // 2, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(field.drive(x)[-1][0], pooled, atol=1e-14)


@hypothesis.given(kernel=st.integers(1, 4), pool=st.integers(1, 3), extra=st.integers(0, 5), channels=st.integers(1, 3))
@hypothesis.settings(max_examples=8)
def test_feedback_is_the_transpose_for_any_shape(kernel, pool, extra, channels):
    side = kernel + pool - 1 + extra
    field = ConvField.create(KEY, (side, side + 1, 2), [(channels, kernel, pool), (2, 1, 1)], (3,), symmetry=1.0)
    w = field.recurrent_matrix()
    np.testing.assert_allclose(w, w.T, atol=1e-14)
    assert float(epf.weight_symmetry(field)) == pytest.approx(1.0)


def test_the_field_is_that_of_its_dense_matrices():
    field = conv()
    state, x = some_state(field), inputs(field)
    w, (into, biases) = field.recurrent_matrix(), field.input_matrix()
    expected = flatten_state(state) @ w.T + x @ into.T + biases - flatten_state(state)
    np.testing.assert_allclose(flatten_state(field(state, field.drive(x))), expected, atol=1e-14)


def test_kernels_over_the_whole_map_are_a_layered_network():
    field = ConvField.create(KEY, (1, 1, 4), [(5, 1, 1)], (3,))
    plain = epf.LayeredField.create(KEY, (4, 5, 3))
    plain = eqx.tree_at(
        lambda f: (f.forward, f.feedback),
        plain,
        ((field.forward[0], field.forward[1].reshape(4, 5).T), (field.feedback[0].T,)),
    )
    x = jax.random.uniform(KEY, (3, 4))
    ours, theirs = (epf.Equilibrium(tol=1e-12).settle(f, x).state for f in (field, plain))
    np.testing.assert_allclose(flatten_state(ours), flatten_state(theirs), atol=1e-11)


@pytest.mark.parametrize("activation", ["tanh", "hard_sigmoid"])
def test_aep_is_the_gradient_and_plain_equilibrium_propagation_needs_symmetry(activation):
    substrate = epf.Equilibrium(tol=1e-12)

    def cosine(rule, symmetry):
        field = conv(symmetry, activation=epf.activation(activation), gain=0.8)
        x, y = inputs(field), jax.random.uniform(jax.random.fold_in(KEY, 2), (2, 5))
        update = rule.estimate(field, x, y).gradient
        truth = epf.ImplicitGradient(substrate).estimate(field, x, y).gradient
        a, b = (jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(tree)]) for tree in (update, truth))
        return float(a @ b / jnp.linalg.norm(a) / jnp.linalg.norm(b))

    nudging = epf.Nudging.symmetric(1e-4)
    assert cosine(epf.AEP(nudging, substrate), 0.0) == pytest.approx(1.0, abs=1e-7)
    assert cosine(epf.EqProp(nudging, substrate), 0.0) < 0.999
    if activation == "hard_sigmoid":
        assert cosine(epf.EqProp(nudging, substrate), 1.0) == pytest.approx(1.0, abs=1e-9)


def test_the_sweeps_and_the_differential_equation_rest_at_one_point():
    field = conv(activation=epf.activation("tanh"))
    x = inputs(field)
    swept = epf.Equilibrium(tol=1e-10).settle(field, x).state
    integrated = epf.Trajectory(tol=1e-9).settle(field, x).state
    np.testing.assert_allclose(flatten_state(swept), flatten_state(integrated), atol=1e-6)


def test_a_network_is_kept_in_a_file(tmp_path):
    field = conv(free_outputs=True)
    save_network(tmp_path / "net.safetensors", field)
    assert eqx.tree_equal(load_network(tmp_path / "net.safetensors"), field)


@pytest.mark.parametrize(
    ("image", "convolutions", "sizes", "message"),
    [
        ((28, 28, 0), [(4, 5, 2)], (10,), "image=28, 28, 0: give whole numbers of at least 1"),
        ((28, 28, 1), [], (10,), "at least one layer of feature maps"),
        ((28, 28, 1), [(4, 5, 2)], (), "one of plain neurons"),
        ((28, 28, 1), [(4, 0, 2)], (10,), "at least 1"),
        ((6, 6, 1), [(4, 5, 3)], (10,), "do not fit on feature maps of 6 x 6"),
    ],
)
def test_layers_that_do_not_fit(image, convolutions, sizes, message):
    with pytest.raises(ValueError, match=message):
        ConvField.create(KEY, image, convolutions, sizes)


def test_only_squares_are_square_images():
    assert square_image(784) == (28, 28, 1) and square_image(3072) == (32, 32, 3)
    with pytest.raises(ValueError, match="no square image"):
        square_image(785)
