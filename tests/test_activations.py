"""Activations against finite differences, the Cauchy-Riemann equations and their own SPICE text."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eqprop_field as epf
from eqprop_field.activations import ACTIVATIONS, activation

POINTS = np.array([-2.7, -1.1, -0.4, 0.13, 0.5, 0.88, 1.3, 3.9])  # none of them a kink
EVERY = pytest.mark.parametrize("rho", epf.ACTIVATIONS.values(), ids=lambda rho: rho.name)


@EVERY
def test_derivative_is_that_of_the_function(rho):
    h = 1e-6
    numeric = (np.asarray(rho(jnp.asarray(POINTS + h))) - np.asarray(rho(jnp.asarray(POINTS - h)))) / (2 * h)
    np.testing.assert_allclose(rho.derivative(jnp.asarray(POINTS)), numeric, atol=1e-9)
    np.testing.assert_allclose(jax.vmap(jax.grad(rho.function))(jnp.asarray(POINTS)), numeric, atol=1e-9)


@EVERY
def test_values_fill_the_range_and_stay_in_it(rho):
    values = np.asarray(rho(jnp.linspace(-800.0, 800.0, 10_001)))
    low, high = rho.range
    assert np.isfinite(values).all()
    assert values.min() >= low and values.max() <= high
    assert values.min() == pytest.approx(max(low, -800), abs=1e-6)
    assert values.max() == pytest.approx(min(high, 800), abs=1e-6)


@EVERY
def test_projection_means_the_identity_inside_the_range(rho):
    low, high = rho.range
    inside = jnp.clip(jnp.linspace(-3.0, 3.0, 101), low, high)
    assert bool(jnp.all(rho(inside) == inside)) == rho.is_projection


@EVERY
def test_holomorphic_means_cauchy_riemann(rho):
    if not rho.holomorphic:
        pytest.skip(f"{rho.name} is not complex-differentiable")
    z, h = jnp.asarray(POINTS) + 0.2j, 1e-6
    along_real = (rho(z + h) - rho(z - h)) / (2 * h)
    along_imaginary = (rho(z + 1j * h) - rho(z - 1j * h)) / (2j * h)
    np.testing.assert_allclose(along_real, along_imaginary, atol=1e-8)
    np.testing.assert_allclose(along_real, rho.derivative(z), atol=1e-8)


@EVERY
def test_spice_form_is_the_same_function(rho):
    names = {"min": min, "max": max, "tanh": math.tanh, "ln": math.log, "exp": math.exp, "abs": abs}
    in_spice = [eval(rho.spice.format(v=f"({v!r})"), {"__builtins__": {}}, names) for v in POINTS.tolist()]
    np.testing.assert_allclose(in_spice, rho(jnp.asarray(POINTS)), rtol=1e-12)


@pytest.mark.parametrize("low, high, rho", [(0.0, 1.0, "hard_sigmoid"), (0.0, None, "relu")])
def test_derivative_at_a_bound_is_one(low, high, rho):
    """States of the projected dynamics rest exactly there; one half, as JAX has it for a clip, would be wrong."""
    slope = jax.grad(epf.activation(rho).function)
    assert slope(jnp.asarray(low)) == 1.0
    assert high is None or slope(jnp.asarray(high)) == 1.0


def test_unknown_name_says_which_there_are():
    with pytest.raises(ValueError, match="unknown activation 'swish': choose one of hard_sigmoid"):
        epf.activation("swish")


def test_a_name_of_ours_keeps_its_meaning(registered):
    mine = dataclasses.replace(ACTIVATIONS["tanh"], function=jnp.sin)
    with pytest.raises(ValueError, match="there is an activation 'tanh' already"):
        ACTIVATIONS["tanh"] = mine
    with pytest.raises(ValueError, match="give an Activation, under its own name"):
        ACTIVATIONS["sin"] = mine
    ACTIVATIONS["sin"] = dataclasses.replace(mine, name="sin")
    ACTIVATIONS["sin"] = dataclasses.replace(mine, name="sin")  # as when a notebook's cell runs again
    assert activation("sin").function is jnp.sin
