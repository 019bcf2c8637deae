"""The quadratic cost against its own derivative by finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eqprop_field as epf


def test_quadratic_is_half_the_squared_distance():
    output, target = jnp.array([[0.0, 2.0], [1.0, 1.0]]), jnp.array([[0.0, 0.0], [1.0, 0.0]])
    np.testing.assert_array_equal(epf.Quadratic()(output, target), [2.0, 0.5])


def test_gradient_is_that_of_the_cost():
    output, target = jax.random.normal(jax.random.key(0), (2, 3, 4))
    cost, h = epf.Quadratic(), 1e-6
    for k in range(4):
        step = h * jnp.eye(4)[k]
        numeric = (cost(output + step, target) - cost(output - step, target)) / (2 * h)
        np.testing.assert_allclose(cost.gradient(output, target)[:, k], numeric, atol=1e-8)


def test_penalty_counts_every_parameter_but_not_the_time_constants():
    field = epf.LayeredField.create(jax.random.key(0), (3, 4, 2), tau=[2.0, 3.0])
    squares = sum(float(np.sum(np.square(t))) for t in field.tensors().values())
    assert float(epf.Quadratic(0.3).penalty(field.parameters())) == pytest.approx(0.15 * squares)
