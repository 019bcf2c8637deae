"""The paper's own runs: one training step against equations 74 and 77 in numpy, and an objective that falls."""

import dataclasses

import jax
import numpy as np
import pytest

import eqprop_field as epf
from eqprop_field.training import RECIPES, Settings, train

PAPER = ("paper-2x512", "paper-3x512", "paper-cnn")


@pytest.mark.parametrize("name", PAPER)
def test_recipes_are_what_the_paper_says_and_nothing_else(name):
    recipe = RECIPES[name]
    depth = len(recipe.settings.learning_rates)
    assert (recipe.data, recipe.rule, recipe.cost, recipe.settings.batch_size) == ("mnist", "eqprop", "quadratic", 20)
    assert recipe.settings == Settings(recipe.settings.epochs, 20, recipe.settings.learning_rates, schedule="constant")
    assert len(set(recipe.settings.learning_rates)) == depth  # every layer has a rate of its own
    assert (recipe.weight_decay, recipe.symmetry, recipe.gain, recipe.feedback_gain) == (0, 0, 1, 1)
    assert recipe.projected and not recipe.free_outputs and recipe.nudging == "one-sided"
    assert recipe.activation == "hard_sigmoid"  # clipped at 1, the ReLU of feature maps is that too
    if name == "paper-cnn":
        assert [layer[:2] for layer in recipe.convolutions] == [(32, 5), (64, 5)]
    else:
        assert recipe.sizes == (784, *[512] * int(name[6]), 10)
    assert isinstance(recipe.learning_rule().substrate, epf.EulerSteps)


def test_one_step_is_equations_74_and_77():
    recipe = RECIPES["paper-2x512"].changed(
        sizes=(5, 7, 6, 3), batch_size=4, epochs=1, learning_rates=RECIPES["paper-2x512"].settings.learning_rates
    )
    recipe = dataclasses.replace(recipe, euler_steps=(200, 150))
    x, y = np.random.default_rng(0).uniform(size=(4, 5)), np.eye(3)[[0, 2, 1, 0]]
    samples = epf.Samples(x, y)
    x, field = samples.x.astype(float), recipe.field()
    data = epf.Dataset("one", samples, samples, samples, ("a", "b", "c"))
    run = train(field, recipe.learning_rule(), data, recipe.settings, progress=False)
    assert run.history[0]["verdicts"] == {"converged": 4}
    w, back, b = ([np.asarray(leaf) for leaf in leaves] for leaves in (field.forward, field.feedback, field.biases))
    for matrix in (*w, *back):
        bound = np.sqrt(6 / sum(matrix.shape))
        assert 0.7 * bound < np.abs(matrix).max() <= bound  # Glorot & Bengio 2010
    assert abs(float(epf.weight_symmetry(field))) < 0.3  # feedback is independent

    def settle(states, steps, beta):
        for _ in range(steps):
            above = [*states[1:], x]
            moves = [above[i] @ w[i].T + b[i] - states[i] for i in range(3)]
            for i in (1, 2):
                moves[i] = moves[i] + states[i - 1] @ back[i - 1].T
            moves[0] = moves[0] + beta * (y - states[0])
            states = [np.clip(s + 0.5 * move, 0, 1) for s, move in zip(states, moves, strict=True)]
        return states

    free = settle([np.zeros((4, n)) for n in (3, 6, 7)], 200, 0.0)
    nudged = settle(free, 150, recipe.beta)
    for i, rate in enumerate(recipe.settings.learning_rates):
        moved = rate / recipe.beta * (nudged[i] - free[i]) / 4
        np.testing.assert_allclose(run.last_field.forward[i], w[i] + moved.T @ [*free[1:], x][i], atol=1e-9)
        np.testing.assert_allclose(run.last_field.biases[i], b[i] + moved.sum(axis=0), atol=1e-9)
        if i:
            np.testing.assert_allclose(run.last_field.feedback[i - 1], back[i - 1] + moved.T @ free[i - 1], atol=1e-9)


def test_the_objective_falls_on_other_images_too():
    recipe = RECIPES["paper-2x512"]
    recipe = recipe.changed(sizes=(64, 32, 32, 10), epochs=4, learning_rates=recipe.settings.learning_rates)
    with jax.enable_x64(False):
        run = train(recipe.field(), recipe.learning_rule(), epf.digits(), recipe.settings, progress=False)
    objectives = [entry["train_objective"] for entry in run.history]
    assert objectives == sorted(objectives, reverse=True) and objectives[-1] < 0.9 * objectives[0] and run.passed
