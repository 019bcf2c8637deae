"""Settings: what is refused, and learning rates that reach the right parameters."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

import eqprop_field as epf
from eqprop_field.training import RECIPES, Settings, SymmetryRepair, find_recipe
from eqprop_field.training.settings import optimiser_of, rates_of


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"epochs": 0}, "epochs=0"),
        ({"batch_size": -1}, "batch_size=-1"),
        ({"learning_rates": ()}, "learning_rates"),
        ({"learning_rates": (0.0,)}, "learning_rates"),
        ({"learning_rates": (0.1, -1.0)}, "learning_rates"),
        ({"learning_rates": (float("nan"),)}, "learning_rates"),
        ({"learning_rates": "fast"}, "learning_rates='fast': give a number, or one for each layer"),
        ({"learning_rates": ((0.1,), (0.2,))}, "give a number, or one for each layer"),
        ({"optimiser": "lbfgs"}, "unknown optimiser 'lbfgs': choose one of sgd, momentum, adam"),
        ({"schedule": "step"}, "unknown schedule"),
    ],
)
def test_senseless_settings_are_refused(wrong, message, monkeypatch):
    # Users have no type checker between them and the message.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=message):
        Settings(**wrong)


def test_a_number_is_the_learning_rate_of_the_whole_network(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    assert Settings(learning_rates=0.1) == Settings(learning_rates=[0.1]) == Settings(learning_rates=(0.1,))


def test_settings_are_json():
    settings = Settings(learning_rates=(0.1, 0.2), seed=3, repair=SymmetryRepair("kolen_pollack", decay=0.01))
    said = json.loads(json.dumps(dataclasses.asdict(settings)))
    parts = {"learning_rates": tuple(said["learning_rates"]), "repair": SymmetryRepair(**said["repair"])}
    assert Settings(**{**said, **parts}) == settings


def test_every_synapse_learns_at_the_rate_of_the_neuron_it_leads_to():
    field = epf.LayeredField.create(jax.random.key(0), (5, 4, 3, 2))
    rates = rates_of(field, (0.1, 0.2, 0.3)).tensors()
    assert set(rates) == set(field.tensors())
    for name, rate in rates.items():
        into = int(name.split("_")[1])
        np.testing.assert_allclose(rate, np.full(field.tensors()[name].shape, (0.1, 0.2, 0.3)[into]), rtol=1e-12)


def test_a_graph_has_rates_for_its_output_and_its_other_neurons():
    field = epf.GraphField.create(jax.random.key(0), neurons=5, inputs=3, outputs=2)
    for tensor in rates_of(field, (0.1, 0.2)).tensors().values():
        np.testing.assert_allclose(tensor[:2], 0.1)
        np.testing.assert_allclose(tensor[2:], 0.2)


def test_one_rate_serves_all_and_a_wrong_number_is_refused():
    field = epf.LayeredField.create(jax.random.key(0), (5, 4, 3, 2))
    assert all(np.allclose(t, 0.5) for t in rates_of(field, (0.5,)).tensors().values())
    with pytest.raises(ValueError, match="in 3 layers, 0, 1, 2; give one rate for all, or 3 in this order"):
        rates_of(field, (0.1, 0.2))


def momentum(gradients):
    velocity, total = 0.0, 0.0
    for g in gradients:
        velocity = 0.9 * velocity + g
        total -= velocity
    return total


def adam(gradients):
    """Kingma & Ba 2015, algorithm 1."""
    m = v = total = 0.0
    for t, g in enumerate(gradients, 1):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        total -= m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    return total


@pytest.mark.parametrize(("name", "oracle"), [("sgd", lambda g: -sum(g)), ("momentum", momentum), ("adam", adam)])
def test_optimisers_against_their_definitions(name, oracle):
    gradients = [0.3, -0.7, 0.2, 1.1]
    optimiser = optimiser_of(name, "constant", 0)
    state, total = optimiser.init(jnp.zeros(())), 0.0
    for gradient in gradients:
        update, state = optimiser.update(jnp.asarray(gradient), state)
        total += float(update)
    assert total == pytest.approx(oracle(gradients), rel=1e-6)


def test_the_cosine_falls_from_one_to_zero():
    optimiser = optimiser_of("sgd", "cosine", 10)
    state, factors = optimiser.init(jnp.zeros(())), []
    for _ in range(11):
        update, state = optimiser.update(jnp.asarray(-1.0), state)
        factors.append(float(update))
    np.testing.assert_allclose(factors, [(1 + np.cos(np.pi * t / 10)) / 2 for t in range(11)], atol=1e-7)


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_fit_themselves(name):
    recipe = RECIPES[name].changed(seed=5)
    if name == "own":
        recipe = recipe.fitted_to(epf.Dataset.of(np.eye(3), [0, 1, 1]))
    field = recipe.field()
    assert (field.n_inputs, field.n_outputs) == (recipe.sizes[0], recipe.sizes[-1]) and recipe.settings.seed == 5
    rates_of(field, recipe.settings.learning_rates)
    assert recipe.learning_rule().substrate.traceable


def test_a_recipe_for_other_layers_has_rates_for_them():
    recipe = RECIPES["digits"]
    output, hidden = recipe.settings.learning_rates
    assert recipe.changed(sizes=(64, 16, 8, 10)).settings.learning_rates == (output, hidden, hidden)
    assert recipe.changed(sizes=(64, 10)).settings.learning_rates == (output,)
    assert recipe.changed(sizes=recipe.sizes) == recipe


def test_a_recipe_changes_in_itself_and_in_its_settings():
    changed = RECIPES["digits"].changed(beta=0.4, epochs=3, gain=None, nudging="one-sided")
    assert (changed.beta, changed.settings.epochs, changed.gain) == (0.4, 3, RECIPES["digits"].gain)
    assert len(changed.learning_rule().nudging.betas) == 1
    with pytest.raises(ValueError, match="no 'colour'"):
        changed.changed(colour="red")


def test_recipes_are_found_by_name_or_data():
    assert find_recipe() is find_recipe("digits") is RECIPES["digits"]
    assert find_recipe(data="mnist") is RECIPES["mnist-1x512"]
    assert find_recipe(data="my.csv") == dataclasses.replace(RECIPES["own"], data="my.csv")
    with pytest.raises(ValueError, match="no layers before it has seen its samples"):
        RECIPES["own"].field()
    with pytest.raises(ValueError, match="unknown recipe 'cake'"):
        find_recipe("cake")
