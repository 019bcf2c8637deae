"""Every vector field of the gallery rests in ngspice where scipy's integrator lets it rest, free and nudged."""

import pathlib
import runpy

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy.integrate import solve_ivp

import eqprop_field as epf
from eqprop_field.circuits import TIGHT, Behavioural, NgspiceSubstrate
from eqprop_field.vector_fields.base import flatten_state

_FOLDER = pathlib.Path(__file__).parents[1] / "docs" / "examples"
GALLERY = [path.name for path in sorted(_FOLDER.glob("gallery_*.py"))]
BETA = 0.1


def rest(field, x, y, beta):
    """The state after 200 time units, by scipy, of one sample."""
    start, unravel = ravel_pytree(field.start)
    tau = ravel_pytree(field.time_constants())[0]
    theta = field.parameter_tree

    @jax.jit
    def speed(flat):
        s = unravel(flat)
        read, transpose = jax.vjp(lambda s: field.output(jax.tree.map(lambda leaf: leaf[None], s))[0], s)
        pull = transpose(y - read)[0]
        return ravel_pytree(jax.tree.map(lambda m, p: m + beta * p, field.mu(theta, x, s), pull))[0] / tau

    return solve_ivp(lambda _, s: np.asarray(speed(s)), (0, 200), start, "LSODA", rtol=1e-11, atol=1e-12).y[:, -1]


@pytest.mark.parametrize("name", GALLERY)
def test_a_field_of_the_gallery_rests_where_scipy_says(ngspice, name):
    text = (_FOLDER / name).read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 50
    field, x, y = runpy.run_path(str(_FOLDER / name))["example"]()
    substrate = NgspiceSubstrate(level=Behavioural(accuracy=TIGHT), free_time=60.0, nudged_time=40.0, workers=1)
    free, (nudged,) = substrate.phases(field, x, epf.Nudging.one_sided(BETA).nudges(epf.Quadratic(), jnp.asarray(y)))
    for solution, beta in ((free, 0.0), (nudged, BETA)):
        np.testing.assert_allclose(flatten_state(solution.state)[0], rest(field, x[0], y[0], beta), atol=1e-6)
