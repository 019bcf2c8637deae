"""What is shown of fields, solutions and estimates: one line, a picture, a table in a notebook."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eqprop_field as epf

FIELD = epf.LayeredField.create(jax.random.key(0), (3, 4, 2), gain=0.5)
X, Y = np.full((2, 3), 0.5), np.full((2, 2), 0.25)


@pytest.fixture(scope="module")
def at_rest():
    return epf.EqProp(epf.Nudging.one_sided(0.1), epf.Equilibrium()).estimate(FIELD, X, Y)


@pytest.fixture(scope="module")
def on_the_way():
    times = jnp.linspace(0.0, 20.0, 30)
    substrate = epf.Trajectory(free_times=times, nudged_times=times, tol=1e-4)
    return epf.EqProp(epf.Nudging.one_sided(0.1), substrate).estimate(FIELD, X, Y, throw=False)


def test_one_line_holds_no_array(at_rest, on_the_way):
    shown = {
        "LayeredField(inputs=3, neurons=6, outputs=2, dtype=float": FIELD,
        "LayeredField(inputs=3, neurons=6": at_rest.gradient,
        "Solution(samples=2, verdicts=2 converged, residual=": at_rest.free,
        "Estimate(samples=2, verdicts=2 converged, cost=": at_rest,
    }
    for line, value in shown.items():
        assert repr(value).startswith(line) and "\n" not in repr(value) and "[" not in repr(value)
    norm = np.sqrt(sum(np.sum(np.asarray(leaf) ** 2) for leaf in jax.tree.leaves(at_rest.gradient)))
    assert at_rest.summary()["update_norm"] == pytest.approx(norm, rel=1e-5)
    assert on_the_way.free.summary()["saved_times"] == 30


def test_trees_with_other_leaves_have_a_representation_too(at_rest):
    seen = []
    jax.make_jaxpr(lambda found: seen.append(repr(found)))(at_rest)
    shapes = jax.eval_shape(lambda: at_rest)
    for tree in (shapes, eqx.filter(at_rest, lambda leaf: False), jax.tree.map(lambda leaf: None, FIELD)):
        seen.append(repr(tree))
    assert all(text.startswith(("Estimate(", "LayeredField(")) for text in seen)
    both = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), at_rest)
    assert repr(both).startswith("Estimate(samples=4, verdicts=4 converged")


def test_an_estimate_draws_its_phases(on_the_way):
    axes = on_the_way.plot().figure.axes
    assert len(axes) == 3 and axes[0].get_xlabel() == "" and "τ" in axes[1].get_xlabel()
    assert len(on_the_way.free.plot().figure.axes) == 2


def test_without_trajectories_ends_are_drawn(at_rest):
    first = at_rest.plot()
    free, nudged = (np.asarray(phase.state[0][0]) for phase in (at_rest.free, at_rest.nudged[0]))
    lines = [line for line in first.get_lines() if line.get_marker() in ("o", "x")]
    for line, states in zip(lines, (free, nudged), strict=True):
        np.testing.assert_array_equal(line.get_ydata(), states)
    axes = first.figure.axes
    assert [ax.get_title(loc="left") for ax in axes[:2]] == ["Output layer, 2 neurons", "Hidden layer 1, 4 neurons"]
    np.testing.assert_allclose([bar.get_height() for bar in axes[2].patches], nudged - free, atol=1e-7)
    alone = at_rest.free.plot()
    assert len(alone.figure.axes) == 2 and at_rest.free.plot(alone) is alone
    assert at_rest.plot(alone) is alone


def test_notebooks_show_a_table_and_the_picture(at_rest):
    for shown in (at_rest, at_rest.free):
        html = shown._repr_html_()
        assert "<td>verdicts</td><td>2 converged</td>" in html and "data:image/png" in html
