"""Feedback regulation as an experiment: against phases, gradients and a run by hand; and the picture."""

import dataclasses

import numpy as np
import pytest

import eqprop_field as epf

RECIPE = epf.RECIPES["xor"].changed(
    sizes=(2, 8, 8, 2), activation="tanh", symmetry=1.0, beta=1e-3, batch_size=2, epochs=1, learning_rates=(0.1,)
)
GAINS = (1.0, 0.1)


@pytest.fixture(scope="module")
def found():
    return epf.regulate_feedback(epf.xor(), GAINS, recipe=RECIPE, samples=3)


def test_every_figure_is_what_one_gets_by_hand(found):
    x, y = epf.xor().validation.x[:3], epf.xor().validation.y[:3]
    one = RECIPE.changed(feedback_gain=GAINS[1], tol=1e-8, max_iterations=2000)
    update = one.learning_rule().estimate(one.field(), x, y)
    true = epf.ImplicitGradient().estimate(one.field(), x, y).gradient.layers()
    np.testing.assert_array_equal(found.sweeps[1], update.free.steps)
    for i, layer in enumerate(found.layers):
        a, b = (np.concatenate([np.ravel(g) for g in tree[layer]]) for tree in (update.gradient.layers(), true))
        assert found.cosine[1, i] == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-9)
    assert found.sweeps[1].mean() < 0.5 * found.sweeps[0].mean()
    assert (found.cosine[1] > found.cosine[0]).all()


def test_the_error_is_that_of_a_run(found):
    recipe = RECIPE.changed(feedback_gain=0.1)
    run = epf.train(recipe.field(), recipe.learning_rule(), epf.xor(), recipe.settings, progress=False)
    trained = epf.regulate_feedback(epf.xor(), (0.1,), recipe=RECIPE, samples=3, epochs=1)
    assert {row["test_error"] for row in trained.rows()} == {run.test_error}
    assert f"{100 * run.test_error:.1f} %" in trained.lines()[1]
    assert len(trained.plot().figure.axes) == 3 and len(found.plot().figure.axes) == 2


def test_tables_and_pictures_tell_what_did_not_settle(found):
    assert [(row["feedback_gain"], row["layer"]) for row in found.rows()] == [(g, i) for g in GAINS for i in "012"]
    assert found.summary()["feedback_gains"]["0.1"]["settled"] == 1 and found.failure is None
    cosine = np.stack([np.full(3, np.nan), found.cosine[1]])
    unsettled = dataclasses.replace(found, verdicts=np.array([[2, 2, 0], [0, 0, 0]]), cosine=cosine)
    assert "33%" in unsettled.lines()[1] and unsettled.lines()[1].count("-") == 4
    dots = unsettled.plot().lines
    assert [len(line.get_xdata()) for line in dots] == [4, 2]
    assert "no sample settled" in dataclasses.replace(found, verdicts=np.full((2, 3), 2)).failure
    with pytest.raises(ValueError, match="at least one strength"):
        epf.regulate_feedback(epf.xor(), ())
