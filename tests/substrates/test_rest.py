"""At rest means near a stable equilibrium: distances against equilibria, modes against numpy, ghosts and saddles."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest

import eqprop_field as epf
from eqprop_field import circuits
from eqprop_field.substrates.krylov import arnoldi, minimal_residual
from eqprop_field.substrates.solution import speed_of

KEY = jax.random.key(5)
SUBSTRATES = {
    "equilibrium": epf.Equilibrium(tol=1e-7, solver=epf.Sweeps(20_000)),
    "ode": epf.Trajectory(tol=1e-8, free_time=20_000.0),
    "steps": epf.EulerSteps(30_000, tol=1e-8),
}
EVERY = pytest.mark.parametrize("substrate", SUBSTRATES.values(), ids=SUBSTRATES.keys())


class OneNeuron(epf.AbstractVectorField):
    """mu = w tanh(s) - s + x: for w = 2 a fold at tanh(s)^2 = 1/2."""

    w: jax.Array = dataclasses.field(default_factory=lambda: jnp.asarray(2.0))

    n_inputs = 1
    n_outputs = 1

    def initial_state(self, batch):
        return jnp.zeros((batch, 1), self.w.dtype)

    def velocity(self, drive):
        return lambda s: self.w * jnp.tanh(s) - s + drive


AT_FOLD = -float(np.arctanh(np.sqrt(0.5)))
FOLD = AT_FOLD - 2 * np.tanh(AT_FOLD)  # the drive above which the lower equilibrium is gone


@EVERY
def test_a_ghost_just_behind_a_fold_is_no_rest(substrate):
    drives = jnp.array([[FOLD + 5e-9], [FOLD - 1e-3]])
    solution = substrate.settle(OneNeuron(), drives, start=jnp.full((2, 1), -3.0), throw=False)
    assert solution.verdict.tolist() == [epf.Verdict.not_settled, epf.Verdict.converged]
    assert bool((solution.residual <= substrate.tol).all())  # slow enough, both of them
    assert 1e-5 < float(solution.distance[0]) < 1e-3


@pytest.mark.parametrize("behind", [5e-6, -2e-4])
def test_newtons_step_tells_on_which_side_of_a_fold_a_coarse_tolerance_ended(behind):
    """At 1e-5 a ghost is only some 300 tolerances from where its speed is least: no distance gives it away."""
    drive = jnp.asarray([[FOLD + behind]], jnp.float32)
    field = OneNeuron(jnp.asarray(2.0, jnp.float32))
    substrate = epf.Trajectory(tol=1e-5)
    solution = substrate.settle(field, drive, start=jnp.full((1, 1), -3.0, jnp.float32), throw=False)
    assert float(solution.residual[0]) <= 1e-5 and float(solution.distance[0]) < 1e-2
    assert bool(solution.converged[0]) == (behind < 0)


@pytest.mark.parametrize("neurons", [20, 150], ids=["dense", "by products"])
@pytest.mark.parametrize("projected", [False, True])
def test_the_distance_is_that_of_the_equilibrium(neurons, projected):
    name = "hard_sigmoid" if projected else "tanh"
    field = epf.GraphField.create(
        KEY, neurons=neurons, inputs=3, outputs=2, gain=0.9, activation=epf.activation(name), projected=projected
    )
    x = jax.random.uniform(KEY, (4, 3))
    tight, loose = (epf.Equilibrium(tol=tol).settle(field, x) for tol in (1e-13, 1e-4))
    away = speed_of(tight.state - loose.state)
    np.testing.assert_allclose(loose.distance, away, rtol=0.05)
    np.testing.assert_allclose(loose.state + loose.correction, tight.state, atol=0.05 * float(away.max()))


@EVERY
@pytest.mark.parametrize("neurons", [2, 140])
def test_rest_on_an_unstable_equilibrium_is_named(substrate, neurons):
    w = jnp.zeros((neurons, neurons)).at[:2, :2].set(jnp.array([[0, 3], [3, 0]]))  # at s = 0 an eigenvalue of +2
    tau = jnp.linspace(0.5, 2.0, neurons)
    field = epf.GraphField.create(KEY, neurons=neurons, inputs=1, outputs=1, activation=epf.activation("tanh"), tau=tau)
    field = dataclasses.replace(field, weights=w, input_weights=jnp.zeros((neurons, 1)))
    starts = jnp.zeros((2, neurons)).at[1, :2].set(1.0)
    solution = dataclasses.replace(substrate, tol=1e-6).settle(field, jnp.ones((2, 1)), start=starts, throw=False)
    assert solution.verdict.tolist() == [epf.Verdict.unstable_equilibrium, epf.Verdict.converged]


@pytest.mark.parametrize("substrate", [epf.Equilibrium(tol=1e-12), epf.Trajectory(), epf.EulerSteps(200)])
def test_the_check_takes_no_derivative_away(substrate):
    field = OneNeuron(jnp.asarray(0.5))
    s, slope = jax.value_and_grad(lambda x: substrate.settle(field, x).state.sum())(jnp.array([[0.3]]))
    assert float(slope[0, 0]) == pytest.approx(1 / (1 - 0.5 / np.cosh(float(s)) ** 2), rel=1e-7)


def test_neurons_held_at_bounds_have_no_part_in_it():
    """Both pushed against their bounds by weights that would grow without them."""
    field = epf.GraphField.create(KEY, neurons=2, inputs=1, outputs=1)
    field = dataclasses.replace(field, weights=jnp.array([[0.0, 3.0], [3.0, 0.0]]), biases=jnp.ones(2))
    solution = epf.Equilibrium().settle(field, jnp.zeros((1, 1)))
    np.testing.assert_array_equal(solution.state, 1)
    assert float(solution.distance[0]) == 0


def test_a_root_finder_may_not_leave_a_nudged_phase_on_a_saddle():
    nudge = epf.CostNudge(0.1, jnp.zeros((1, 1)), epf.Quadratic())
    newton = epf.Equilibrium(solver=optx.Newton(rtol=1e-10, atol=1e-10))
    solution = newton.settle(OneNeuron(), jnp.zeros((1, 1)), nudge, jnp.full((1, 1), 0.01), throw=False)
    assert int(solution.verdict[0]) == epf.Verdict.unstable_equilibrium


@pytest.mark.parametrize("dtype", [float, complex])
def test_minimal_residuals_solve_what_numpy_solves(dtype):
    rng = np.random.default_rng(0)
    a = rng.normal(size=(5, 60, 60)) * 0.08 - np.eye(60)
    a = a + 1j * rng.normal(size=a.shape) * 0.02 if dtype is complex else a
    b = rng.normal(size=(5, 60)).astype(dtype)
    b[3] = 0
    product = lambda v: jnp.einsum("bij,bj->bi", a, v)  # noqa: E731
    x, left = minimal_residual(product, jnp.asarray(b), tol=1e-8, most=300)
    expected = np.linalg.solve(a, b[..., None])[..., 0]
    np.testing.assert_allclose(x, expected, atol=1e-6)
    np.testing.assert_allclose(left, b - np.einsum("bij,bj->bi", a, x), atol=1e-12)


def test_arnoldi_finds_numpys_eigenvalues():
    rng = np.random.default_rng(1)
    a = rng.normal(size=(3, 100, 100)) / 10 - np.eye(100)
    a[2, :, 40:] = a[2, 40:, :] = 0  # a Krylov space that ends early
    product = lambda v: jnp.einsum("bij,bj->bi", a, v)  # noqa: E731
    start = jnp.asarray(rng.normal(size=(3, 100)))
    for k, steps in [(0, 100), (1, 48)]:
        found, expected = np.linalg.eigvals(arnoldi(product, start, steps)[k]), np.linalg.eigvals(a[k])
        assert np.max(found.real) == pytest.approx(np.max(expected.real), abs=0.02 if steps < 100 else 1e-8)
    whole = np.linalg.eigvals(arnoldi(product, start, 60)[2])
    assert np.max(whole.real) == pytest.approx(max(0, np.linalg.eigvals(a[2, :40, :40]).real.max()), abs=1e-8)


@pytest.mark.parametrize("tol", [1.0, np.inf, np.nan, -1e-6])
@pytest.mark.parametrize("make", [
    epf.Equilibrium, epf.Trajectory, epf.EulerSteps, epf.ContinualEqProp, epf.SinusoidalEqProp,
    circuits.NgspiceSubstrate, circuits.Conditions,
])  # fmt: skip
def test_a_tolerance_that_takes_any_state_is_refused(make, tol):
    if make is epf.EulerSteps and tol == np.inf:
        return  # so many steps, wherever they lead
    with pytest.raises(ValueError, match=f"tol={tol:g}: a tolerance is in state units and at most 0.1"):
        make(tol=tol)
