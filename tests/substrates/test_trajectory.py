"""Trajectories against scipy, closed forms, the paper's own Euler steps, and the solvers' orders."""

import dataclasses
import functools

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate

import eqprop_field as epf
from eqprop_field.vector_fields.base import flatten_state

KEY = jax.random.key(5)
TIMES = jnp.linspace(0.0, 12.0, 61)


def one_neuron(drive):
    """tau ds/dt = drive x - s, confined to [0, 1]."""
    return epf.LayeredField(
        forward=(jnp.array([[drive]], float),), feedback=(), biases=(jnp.zeros(1),), tau=(jnp.ones(1),)
    )


# What rest is, and what its checks say, is the subject of other tests: here they would only be compiled.
trajectory = functools.partial(epf.Trajectory, check_stability=False)


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "softplus", "linear", "relu"])
def test_trajectory_is_scipys(name):
    field = epf.LayeredField.create(
        KEY, (4, 5, 3), activation=epf.activation(name), gain=0.4, projected=False, tau=[2.0, np.linspace(0.5, 3, 5)]
    )
    x, y, beta = jax.random.uniform(KEY, (2, 4)), jnp.full((2, 3), 0.7), 0.3
    substrate = trajectory(tol=1e-11, free_times=TIMES, nudged_times=TIMES)
    free, (nudged,) = substrate.phases(field, x, [epf.CostNudge(beta, y, epf.Quadratic())])
    w, (w_in, b) = (np.asarray(field.recurrent_matrix())), map(np.asarray, field.input_matrix())
    rho = {"tanh": np.tanh, "sigmoid": lambda s: 1 / (1 + np.exp(-s)), "softplus": lambda s: np.log1p(np.exp(s))}
    rho |= {"linear": lambda s: s, "relu": lambda s: np.maximum(s, 0)}
    tau = np.concatenate([np.full(3, 2.0), np.linspace(0.5, 3, 5)])

    for sample in range(2):

        def velocity(t, s, b_now, sample=sample):
            mu = w @ rho[name](s) + w_in @ np.asarray(x[sample]) + b - s
            mu[:3] += b_now * (0.7 - s[:3])
            return mu / tau

        def integrate(start, b_now, velocity=velocity):
            return scipy.integrate.solve_ivp(
                velocity, (0, 12), start, "DOP853", t_eval=np.asarray(TIMES), rtol=1e-12, atol=1e-12, args=(b_now,)
            ).y.T

        mine = np.concatenate([leaf[:, sample] for leaf in free.trajectory], axis=1)
        np.testing.assert_allclose(mine, integrate(np.zeros(8), 0.0), atol=1e-9)
        mine = np.concatenate([leaf[:, sample] for leaf in nudged.trajectory], axis=1)
        rest = np.asarray(flatten_state(free.state))[sample]
        np.testing.assert_allclose(mine, integrate(rest, beta), atol=1e-9)


PROJECTED = trajectory(tol=1e-10, free_times=TIMES, nudged_times=TIMES)


@pytest.mark.parametrize("drive", [2.0, -0.5, 0.6])
def test_projected_neuron_stops_at_its_bound(drive):
    solution = PROJECTED.phases(one_neuron(drive), jnp.ones((1, 1)), ())[0]
    expected = np.clip(drive * (1 - np.exp(-np.asarray(TIMES))), 0, 1)
    np.testing.assert_allclose(solution.trajectory[0][:, 0, 0], expected, atol=1e-9)
    assert float(solution.state[0][0, 0]) == pytest.approx(np.clip(drive, 0, 1), abs=1e-9)


def test_projected_neuron_leaves_its_bound_the_moment_it_is_pulled_inwards():
    """Pinned at 1 by drive 2, then nudged to 0 with beta = 3: ds/dt = 2 - s - 3 s, at once."""
    nudge = epf.CostNudge(3.0, jnp.zeros((1, 1)), epf.Quadratic())
    _, (nudged,) = PROJECTED.phases(one_neuron(2.0), jnp.ones((1, 1)), [nudge])
    expected = 0.5 + 0.5 * np.exp(-4 * np.asarray(TIMES))
    np.testing.assert_allclose(nudged.trajectory[0][:, 0, 0], expected, atol=1e-9)


def paper_euler(field, x, steps, step):
    """Equation 77 in numpy: s <- clip(s + eps mu(s), 0, 1)."""
    w, (w_in, b) = np.asarray(field.recurrent_matrix()), map(np.asarray, field.input_matrix())
    drive = np.asarray(x) @ w_in.T + b
    s, path = np.zeros_like(drive), []
    for _ in range(steps):
        s = np.clip(s + step * (np.clip(s, 0, 1) @ w.T + drive - s), 0, 1)
        path.append(s)
    return np.array(path)


def test_projected_euler_is_equation_77_step_by_step():
    field = epf.LayeredField.create(KEY, (6, 20, 10), gain=1.5)
    x = jax.random.uniform(KEY, (3, 6))
    times = 0.5 * np.arange(1, 41)
    substrate = trajectory(solver=epf.ProjectedEuler(), step=0.5, tol=1e-14, free_time=20.0, free_times=times)
    solution = substrate.settle(field, x, throw=False)
    mine = jnp.concatenate(solution.trajectory, axis=2)
    expected = paper_euler(field, x, 40, 0.5)
    assert (expected == 0).any() and (expected == 1).any()
    np.testing.assert_allclose(mine, expected, atol=1e-12)


def test_projected_dynamics_is_the_limit_of_equation_77():
    """Richardson extrapolation of ever smaller Euler steps meets the adaptive solver."""
    field = epf.GraphField.create(KEY, neurons=20, inputs=6, outputs=3, gain=1.2)
    x = jax.random.uniform(KEY, (2, 6))
    at = trajectory(tol=1e-10, free_times=[2.0, 4.0]).settle(field, x, throw=False).trajectory[1]
    errors = [float(np.abs(paper_euler(field, x, 4 * n, 1 / n)[-1] - np.asarray(at)).max()) for n in (200, 400, 800)]
    orders = np.log2(np.divide(errors[:-1], errors[1:]))
    assert errors[-1] < 1e-3
    np.testing.assert_allclose(orders, 1.0, atol=0.15)


@pytest.mark.parametrize(
    "solver, order, counts",
    [
        (epf.ProjectedEuler(), 1, (64, 128, 256)),
        (diffrax.Heun(), 2, (32, 64, 128)),
        (diffrax.Tsit5(), 5, (48, 64, 96)),
    ],
    ids=lambda v: type(v).__name__,
)
def test_solver_converges_with_its_order(solver, order, counts):
    field = epf.GraphField.create(KEY, neurons=6, inputs=2, outputs=2, activation=epf.activation("tanh"), gain=2.0)
    x = jnp.ones((1, 2))
    exact = trajectory(tol=1e-13, free_times=[3.0]).settle(field, x, throw=False).trajectory[0]
    errors = []
    for count in counts:
        substrate = trajectory(solver=solver, step=3.0 / count, tol=1e-13, free_time=3.0)
        errors.append(float(jnp.max(jnp.abs(substrate.settle(field, x, throw=False).state - exact))))
    slope = -np.polyfit(np.log(counts), np.log(errors), 1)[0]
    assert order - 0.3 < slope < order + 0.7


def test_a_phase_ends_when_all_samples_rest_and_saved_times_hold_the_settled_state():
    field = one_neuron(0.5)
    times = np.linspace(0, 900, 10)
    solution = trajectory(tol=1e-6, free_time=900.0, free_times=times).settle(field, jnp.ones((1, 1)))
    assert 10 < float(solution.time) < 40
    np.testing.assert_allclose(solution.trajectory[0][1:, 0, 0], 0.5, atol=1e-6)


def test_a_phase_cut_short_is_not_settled():
    solution = trajectory(tol=1e-6, free_time=2.0).settle(one_neuron(0.5), jnp.ones((1, 1)), throw=False)
    assert int(solution.verdict[0]) == epf.Verdict.not_settled
    assert float(solution.residual[0]) == pytest.approx(0.5 * np.exp(-2), rel=1e-4)


def test_equilibrium_and_trajectory_agree_for_clipped_states():
    field = epf.LayeredField.create(KEY, (8, 20, 20, 4), gain=1.2)
    x = jax.random.uniform(KEY, (5, 8))
    rest = epf.Equilibrium(tol=1e-12, check_stability=False).settle(field, x)
    way = trajectory(tol=1e-10).settle(field, x)
    np.testing.assert_allclose(flatten_state(rest.state), flatten_state(way.state), atol=1e-8)
    share = float(jnp.mean((flatten_state(rest.state) == 0) | (flatten_state(rest.state) == 1)))
    assert 0.2 < share < 0.9


@pytest.mark.parametrize(
    "make, said",
    [
        (lambda: epf.Trajectory(solver=diffrax.Euler()), "Euler has no error estimate: give Trajectory a fixed step"),
        (lambda: epf.Trajectory(tol=1e-8, accuracy=1e-3), "accuracy=0.001 is above tol=1e-08"),
        (lambda: epf.Trajectory(free_times=[0.0, 2000.0]), r"free_times must increase strictly within \[0, 1000\]"),
        (lambda: epf.Trajectory(nudged_times=[1.0, 1.0]), "nudged_times must increase strictly"),
    ],
)
def test_settings_that_cannot_work_are_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def test_any_diffrax_solver_serves():
    field = epf.LayeredField.create(KEY, (4, 5, 3), activation=epf.activation("tanh"))
    x = jax.random.uniform(KEY, (2, 4))
    expected = flatten_state(epf.Equilibrium(tol=1e-12, check_stability=False).settle(field, x).state)
    for solver in (diffrax.Dopri8(), diffrax.Kvaerno5()):
        solution = dataclasses.replace(trajectory(tol=1e-8), solver=solver).settle(field, x)
        np.testing.assert_allclose(flatten_state(solution.state), expected, atol=1e-6)


@pytest.mark.parametrize("end, expected", [(1.0, [0.3, 0.3, 0.3, 0.1]), (0.7, [0.3, 0.3, 0.1]), (0.6, [0.3, 0.3])])
def test_a_fixed_step_is_fixed_and_the_last_one_shorter(end, expected):
    """mu = 1 - s by Euler's rule: every step leaves 1 - h of the way, whose product says which steps were taken."""
    substrate = trajectory(solver=epf.ProjectedEuler(), step=0.3, tol=1e-12, free_time=end)
    found = substrate.settle(one_neuron(1.0), jnp.ones((1, 1)), throw=False)
    assert found.steps.tolist() == [len(expected)] and float(found.time) == end
    np.testing.assert_allclose(1 - found.state[0], np.prod(1 - np.array(expected)), rtol=1e-12)


@pytest.mark.parametrize(
    ("cost", "beta", "hidden", "compilations"),  # sizes of their own: what was compiled would not be again
    [(epf.Quadratic(), 0.2, 7, 1), (epf.Matching(), 0.2, 8, 2), (epf.Quadratic(), jnp.asarray(0.2j), 9, 2)],
)
def test_both_phases_are_one_compilation_where_a_nudge_can_be_switched_off(
    monkeypatch, cost, beta, hidden, compilations
):
    solved = []
    solve = diffrax.diffeqsolve
    monkeypatch.setattr(diffrax, "diffeqsolve", lambda *args, **kwargs: solved.append(1) or solve(*args, **kwargs))
    linear = {"activation": epf.activation("linear"), "gain": 0.4, "projected": False}
    field = epf.LayeredField.create(KEY, (3, hidden, 2), **linear)
    x, nudge = jnp.full((1, 3), 0.4), epf.CostNudge(beta, jnp.full((1, 2), 0.7), cost)
    substrate = epf.Trajectory(tol=1e-9, free_time=60.0, nudged_time=50.0)
    free, _ = substrate.phases(field, x, [nudge])
    assert len(solved) == compilations
    alone = substrate.settle(field, x)
    np.testing.assert_array_equal(flatten_state(free.state), flatten_state(alone.state))
    assert free.time == alone.time and free.steps == alone.steps


def test_a_sample_that_blows_up_leaves_the_others_alone():
    """s' = s^2 + x from 0: tan(t) for x = 1, which is infinite at pi / 2, and -tanh(t) for x = -1."""
    field = epf.field(lambda a, x, s: a * s**2 + x[0], jnp.ones(2), state=2, inputs=1, outputs=1)
    found = epf.Trajectory().settle(field, jnp.array([[1.0], [-1.0]]), throw=False)
    assert found.verdict.tolist() == [epf.Verdict.diverged, epf.Verdict.converged]
    np.testing.assert_allclose(found.state[1], -1.0, atol=1e-6)
    assert int(found.steps[0]) < 3000
