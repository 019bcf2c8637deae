"""What random networks are asked for: names of activations, and keys and sizes that make none."""

import jax
import jaxtyping
import numpy as np
import pytest

import eqprop_field as epf
from eqprop_field.sequence import Reservoir, fully_recurrent

KEY = jax.random.key(0)
SMALL = {"neurons": 4, "inputs": 3, "outputs": 2}
DRAWN = {
    "layered": lambda key=KEY, **options: epf.LayeredField.create(key, (3, 4, 2), **options),
    "convolutional": lambda key=KEY, **options: epf.ConvField.create(key, (4, 4, 1), [(2, 3, 2)], (3,), **options),
    "graph": lambda key=KEY, **options: epf.GraphField.create(key, **SMALL, **options),
    "graph in layers": lambda key=KEY, **options: epf.GraphField.from_layers(key, (3, 4, 2), **options),
    "Hopfield": lambda key=KEY, **options: epf.HopfieldField.create(key, **SMALL, **options),
    "Hopfield in layers": lambda key=KEY, **options: epf.HopfieldField.from_layers(key, (3, 4, 2), **options),
    "fully recurrent": lambda key=KEY, **options: fully_recurrent(key, **SMALL, **options),
    "reservoir": lambda key=KEY, **options: Reservoir.create(key, neurons=4, inputs=3, density=0.5, **options),
}


@pytest.fixture(autouse=True)
def _as_users_have_it(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.mark.parametrize("make", DRAWN.values(), ids=DRAWN)
def test_an_activation_may_be_named(make):
    assert make(activation="relu").activation is epf.activation("relu")
    for other in ("step", np.tanh, None):
        with pytest.raises(
            ValueError, match="unknown activation .*: choose one of hard_sigmoid, .* or give an Activation"
        ):
            make(activation=other)


@pytest.mark.parametrize("make", DRAWN.values(), ids=DRAWN)
def test_what_is_no_key_is_refused_with_one_that_is(make):
    make(jax.random.PRNGKey(0))
    for other in (0, None, np.zeros(2), jax.random.split(KEY)):
        with pytest.raises(ValueError, match=r"key=.*: give one JAX random key, such as jax\.random\.key\(0\)"):
            make(other)


@pytest.mark.parametrize("size", [0, -1, 2.5, "4", None, float("nan"), 2**31, 10**400])
def test_sizes_that_no_array_has_are_refused(size):
    for make in (
        lambda: epf.LayeredField.create(KEY, (3, size)),
        lambda: epf.GraphField.from_layers(KEY, (3, size)),
        lambda: epf.GraphField.create(KEY, neurons=size, inputs=3, outputs=2),
        lambda: epf.GraphField.create(KEY, neurons=4, inputs=size, outputs=2),
        lambda: epf.HopfieldField.create(KEY, neurons=4, inputs=3, outputs=size),
        lambda: epf.ConvField.create(KEY, (4, size, 1), [(2, 3, 2)], (3,)),
        lambda: epf.ConvField.create(KEY, (4, 4, 1), [(2, size, 2)], (3,)),
        lambda: epf.ConvField.create(KEY, (4, 4, 1), [(2, 3, 2)], (size,)),
        lambda: fully_recurrent(KEY, neurons=4, inputs=size, outputs=2),
    ):
        with pytest.raises(ValueError, match=r"=.*: give whole numbers of at least 1 and below 2\^31"):
            make()


def test_no_sizes_are_refused():
    with pytest.raises(ValueError, match="sizes=5: give whole numbers"):
        epf.LayeredField.create(KEY, 5)
