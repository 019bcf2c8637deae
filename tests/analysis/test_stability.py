"""Stability against eigenvalues by numpy, closed forms of oscillators, and networks whose equilibria are known."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.optimize

import eqprop_field as epf
from eqprop_field.analysis.stability import AttractorType, stability

KEY = jax.random.key(6)


def ring(gain, bias=0.0, name="tanh"):
    """Three neurons, each inhibited by the one before: they oscillate from a gain of 2 on."""
    return epf.GraphField(
        weights=-gain * jnp.roll(jnp.eye(3), 1, axis=0),
        input_weights=jnp.ones((3, 1)),
        biases=jnp.full(3, bias),
        mask=~jnp.eye(3, dtype=bool),
        tau=jnp.ones(3),
        n_outputs=1,
        activation=epf.activation(name),
        projected=False,
    )


def pair(weight):
    """Two neurons that excite each other: two stable equilibria and one between them if the weight exceeds 1."""
    field = ring(0.0)
    w = jnp.zeros((3, 3)).at[0, 1].set(weight).at[1, 0].set(weight)
    return eqx.tree_at(lambda f: f.weights, field, w)


def watched(field, **times):
    """Three starts and a thousand points in every test, which compiles them once."""
    return stability(field, np.zeros((1, 1)), key=KEY, starts=3, points=1000, **times)


def test_one_equilibrium_has_the_eigenvalues_numpy_finds():
    field = epf.GraphField.create(KEY, neurons=12, inputs=4, outputs=3, activation=epf.activation("tanh"))
    x = np.random.default_rng(6).uniform(size=(2, 4))
    found = stability(field, x, key=KEY, starts=4)
    assert found.unique.all() and (found.equilibria == 1).all()
    rest = np.asarray(epf.Equilibrium(tol=1e-12, check_stability=False).settle(field, x).state)
    for n, s in enumerate(rest):
        j = np.asarray(field.recurrent_matrix()) * (1 - np.tanh(s) ** 2)[None, :] - np.eye(12)
        expected = np.linalg.eigvals(j)
        assert np.abs(np.sort_complex(found.eigenvalues[n]) - np.sort_complex(expected)).max() < 1e-6
        np.testing.assert_allclose(found.abscissa[n], expected.real.max(), atol=1e-6)


def test_bistable_neurons_are_told_from_the_point_between_them():
    found = stability(pair(2.0), np.zeros((1, 1)), key=KEY, starts=12)
    level = scipy.optimize.brentq(lambda v: 2 * np.tanh(v) - v, 1.0, 3.0)
    assert found.attractor[0, 0] == AttractorType.unstable_equilibrium  # rest, exactly between them
    assert found.abscissa[0, 0] == pytest.approx(1.0)  # W - I has the eigenvalues 1, -1, -3
    assert (found.attractor[0, 1:] == AttractorType.stable_equilibrium).all()
    assert found.equilibria[0] == 3 and not found.unique[0]
    np.testing.assert_allclose(np.abs(found.final[0, 1:, :2]), level, atol=1e-6)
    np.testing.assert_allclose(found.abscissa[0, 1:], 2 * (1 - np.tanh(level) ** 2) - 1, atol=1e-6)


def test_a_limit_cycle_is_named_and_has_the_period_of_the_bifurcation():
    """At a gain of 2 the pair of eigenvalues +-i sqrt(3) crosses the axis."""
    found = watched(ring(2.002), settling_time=4000.0, watching_time=20.0)
    assert found.attractor[0].tolist() == [
        AttractorType.unstable_equilibrium,
        AttractorType.limit_cycle,
        AttractorType.limit_cycle,
    ]
    np.testing.assert_allclose(found.period[0, 1:], 2 * np.pi / np.sqrt(3), rtol=2e-3)
    assert found.summary()["attractors"] == {"unstable_equilibrium": 1, "limit_cycle": 2}


@pytest.mark.parametrize("gain, name, becomes", [
    (1.99, "tanh", "decays"), (2.0, "tanh", "decays"), (1.99, "linear", "decays"), (2.01, "linear", "grows"),
    (2.001, "tanh", "tends to a cycle"),
])  # fmt: skip
def test_a_swing_that_drifts_is_no_limit_cycle(gain, name, becomes):
    """About the Hopf bifurcation at a gain of 2, by 200 and more time constants from its end."""
    del becomes
    found = watched(ring(gain, name=name))
    assert found.attractor[0, 1] == AttractorType.no_period_found
    assert np.isnan(found.period[0, 1]) and np.isnan(found.amplitude[0, 1])


def test_the_cycle_just_behind_the_bifurcation_has_its_own_swing():
    found = watched(ring(2.001), settling_time=8000.0, watching_time=20.0)
    # Of tanh(A sin) the first harmonic is A - A^3/4: the gain is 2 again at A^2 = 4 (1 - 2/2.001); the swing is 2 A.
    assert found.amplitude[0, 1] == pytest.approx(4 * np.sqrt(1 - 2 / 2.001), rel=0.003)


def test_period_and_swing_far_from_the_bifurcation_are_those_of_scipy():
    gain = 6.0
    found = watched(ring(gain, bias=0.3), watching_time=25.0)
    times = np.linspace(0, 100, 100_001)

    def speed(t, s):
        return -gain * np.tanh(np.roll(s, 1)) + 0.3 - s

    path = scipy.integrate.solve_ivp(speed, (0, 100), [0.5, -0.1, 0.0], t_eval=times, rtol=1e-8, atol=1e-8).y
    late = path[0, 50_000:] - path[0, 50_000:].mean()
    crossings = np.flatnonzero((late[:-1] < 0) & (late[1:] >= 0)) * 1e-3
    # From rest the three do the same and meet in the unstable equilibrium.
    assert found.attractor[0, :2].tolist() == [AttractorType.unstable_equilibrium, AttractorType.limit_cycle]
    np.testing.assert_allclose(found.period[0, 1], np.diff(crossings).mean(), rtol=1e-3)
    np.testing.assert_allclose(found.amplitude[0, 1], np.ptp(path[:, 50_000:], axis=1).max(), rtol=1e-3)


def test_what_grows_without_bound_has_diverged():
    found = watched(ring(30.0, 0.1, "linear"))
    assert (found.attractor[0, 1:] == AttractorType.diverged).all()
    assert found.summary()["attractors"] == {"unstable_equilibrium": 1, "diverged": 2}


def test_every_row_says_what_it_knows_and_no_more():
    found = stability(ring(2.5), np.array([[0.0], [6.0]]), key=KEY, starts=2)
    rows = found.rows()
    assert [(r["sample"], r["start"]) for r in rows] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert rows[1]["attractor"] == "limit_cycle" and rows[1]["spectral_abscissa"] is None and rows[1]["period"] > 0
    assert rows[3]["attractor"] == "stable_equilibrium" and rows[3]["period"] is None
    assert np.isfinite(found.eigenvalues[1]).all()


@pytest.mark.parametrize("options", [{"starts": 0}, {"settling_time": 0.0}, {"same": 0.0}, {"points": 3}])
def test_what_cannot_be_watched_is_refused(options):
    with pytest.raises(ValueError, match="give at least|must be positive"):
        stability(ring(1.0), np.zeros((1, 1)), key=KEY, **options)


def test_inputs_must_fit():
    with pytest.raises(ValueError, match="x has shape"):
        stability(ring(1.0), np.zeros((1, 2)), key=KEY)
