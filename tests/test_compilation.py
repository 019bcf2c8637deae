"""What is compiled quickly gives what is compiled thoroughly, alone and within larger compilations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eqprop_field import _compilation
from eqprop_field._compilation import compiled, uniform


@compiled
def rates(weights, state, rho):
    return rho(weights @ state)


W = jnp.asarray(np.random.default_rng(0).normal(size=(5, 5)))
S = jnp.linspace(-1.0, 1.0, 5)


def test_alone_and_within_other_transformations_the_values_are_numpys():
    expected = np.tanh(np.asarray(W) @ np.asarray(S))
    np.testing.assert_allclose(rates(W, S, jnp.tanh), expected, rtol=1e-12)
    np.testing.assert_allclose(jax.jit(lambda s: rates(W, s, jnp.tanh))(S), expected, rtol=1e-12)
    np.testing.assert_allclose(jax.jit(lambda: rates(W, S, jnp.tanh))(), expected, rtol=1e-12)
    np.testing.assert_allclose(jax.vmap(lambda s: rates(W, s, jnp.tanh))(jnp.stack([S, S]))[1], expected, rtol=1e-12)
    jacobian = (1 - expected**2)[:, None] * np.asarray(W)
    np.testing.assert_allclose(jax.jacobian(lambda s: rates(W, s, jnp.tanh))(S), jacobian, rtol=1e-12)


@pytest.mark.parametrize(
    ("shape", "optimised"),
    [((5, 2), False), ((1, _compilation._LITTLE + 1), True), ((_compilation._LITTLE + 1,), False)],
)
def test_only_what_works_on_little_goes_without_optimisation(monkeypatch, shape, optimised):
    asked = []
    jit = _compilation.eqx.filter_jit
    monkeypatch.setattr(_compilation.eqx, "filter_jit", lambda f, **options: asked.append(options) or jit(f, **options))
    np.testing.assert_allclose(compiled(lambda x: 2 * x)(jnp.ones(shape)), 2.0)
    assert (asked[1:] == []) is optimised and (optimised or "compiler_options" in asked[1])


def test_a_release_that_knows_no_such_options_compiles_as_ever(monkeypatch):
    def refusing(function, *, compiler_options):
        raise jax.errors.JaxRuntimeError("INVALID_ARGUMENT: No such compile option")

    monkeypatch.setattr(jax, "jit", refusing)
    assert _compilation._quick.__wrapped__() == {}


def test_draws_are_those_of_jax():
    key = jax.random.key(7)
    np.testing.assert_array_equal(uniform(key, (3, 4), jnp.float64), jax.random.uniform(key, (3, 4)))
    drawn = uniform(key, (50,), jnp.float32, -1.0, 1.0)
    assert drawn.dtype == jnp.float32 and -1 <= drawn.min() < -0.5 < 0.5 < drawn.max() <= 1
