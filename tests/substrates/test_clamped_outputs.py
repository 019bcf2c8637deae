"""Outputs held at their targets (beta = inf): equilibria and updates against scipy's root of the other neurons."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import root

import eqprop_field as epf
from eqprop_field.circuits import TIGHT, Behavioural, NgspiceSubstrate, OpAmp, verify

X, Y = np.array([[0.4, -0.7], [0.9, 0.2]]), np.array([[0.5], [-0.3]])
CLAMPED = epf.Nudging.one_sided(np.inf)
FIELD = epf.GraphField.create(jax.random.key(5), neurons=6, inputs=2, outputs=1, activation="tanh", gain=0.6)
SUBSTRATES = {
    "equilibrium": epf.Equilibrium(tol=1e-12, check_stability=False),
    "trajectory": epf.Trajectory(tol=1e-11, check_stability=False),
    "euler": epf.EulerSteps(tol=1e-11),
    "newton": epf.Equilibrium(solver=epf.NewtonKrylov(), tol=1e-11, check_stability=False),
    "circuit": NgspiceSubstrate(level=Behavioural(accuracy=TIGHT), free_time=60.0, nudged_time=60.0, workers=1),
}


def equilibria(x, y=None):
    """The state at rest, its outputs at y where that is given."""
    w, (u, b) = np.asarray(FIELD.recurrent_matrix()), map(np.asarray, FIELD.input_matrix())
    held = 0 if y is None else len(y)
    whole = lambda rest: np.concatenate([[] if y is None else y, rest])  # noqa: E731
    mu = lambda s: w @ np.tanh(s) + u @ x + b - s  # noqa: E731
    return whole(root(lambda rest: mu(whole(rest))[held:], np.zeros(len(w) - held), tol=1e-13).x)


@pytest.mark.parametrize("name", SUBSTRATES)
def test_outputs_are_held_and_the_others_settle(name, request):
    if name == "circuit":
        request.getfixturevalue("ngspice")
    found = epf.EqProp(CLAMPED, SUBSTRATES[name]).estimate(FIELD, X, Y)
    free = np.array([equilibria(x) for x in X])
    held = np.array([equilibria(x, y) for x, y in zip(X, Y, strict=True)])
    np.testing.assert_allclose(found.nudged[0].state, held, atol=1e-7)
    update = np.mean([np.outer(h - f, np.tanh(f)) for f, h in zip(free, held, strict=True)], axis=0)
    np.testing.assert_allclose(found.update.tensors()["W"], update * (1 - np.eye(6)), atol=1e-7)


def test_it_is_what_ever_larger_betas_tend_to():
    far = [
        np.abs(
            np.subtract(
                epf.EqProp(epf.Nudging.one_sided(beta), SUBSTRATES["equilibrium"])
                .estimate(FIELD, X, Y)
                .nudged[0]
                .state,
                epf.EqProp(CLAMPED, SUBSTRATES["equilibrium"]).estimate(FIELD, X, Y).nudged[0].state,
            )
        ).max()
        for beta in (1e2, 1e3, 1e4)
    ]
    assert np.polyfit([2, 3, 4], np.log10(far), 1)[0] == pytest.approx(-1, abs=0.02)


def test_a_bound_is_as_near_as_an_output_comes():
    field = epf.LayeredField.create(jax.random.key(1), (2, 4, 1))
    found = epf.EqProp(CLAMPED, SUBSTRATES["equilibrium"]).estimate(field, np.abs(X), np.array([[1.5], [0.25]]))
    np.testing.assert_array_equal(found.nudged[0].state[0], [[1.0], [0.25]])


def test_circuit_and_ode_agree_on_the_whole_way(ngspice):
    agreement = verify(FIELD, X[:1], Y[:1], CLAMPED, free_time=40.0, nudged_time=40.0)
    assert agreement.verdict.name == "agrees"
    assert agreement.max_abs_trajectory < 1e-4


def test_a_compiled_step_holds_outputs_too():
    step = jax.jit(lambda field, x, y: epf.EqProp(CLAMPED, SUBSTRATES["equilibrium"]).estimate(field, x, y).gradient)
    found = epf.EqProp(CLAMPED, SUBSTRATES["equilibrium"]).estimate(FIELD, X, Y).gradient
    np.testing.assert_allclose(step(FIELD, jnp.asarray(X), jnp.asarray(Y)).tensors()["W"], found.tensors()["W"])


READOUT = epf.field(
    lambda theta, x, s: theta["w"] @ jnp.tanh(s) + x - s,
    {"w": 0.1 * jnp.ones((2, 2))},
    state=2,
    inputs=2,
    outputs=lambda theta, s: 2 * s[:1],
)


@pytest.mark.parametrize(
    ("run", "told"),
    [
        (lambda: epf.Nudging.symmetric(np.inf), "beta=inf has no meaning for symmetric nudging"),
        (lambda: epf.AEP(CLAMPED), "AEP reads a derivative by beta: give a finite beta"),
        (lambda: epf.ContinualEqProp(nudging=CLAMPED), "the continual rule divides by beta: give a finite one"),
        (
            lambda: epf.EqProp(CLAMPED, cost=epf.Huber()).estimate(FIELD, X, Y),
            "beta=inf holds outputs at their targets, whatever a Huber says: give a finite beta",
        ),
        (
            lambda: epf.EqProp(CLAMPED).estimate(READOUT, X, Y),
            "the outputs of .* are no states of its own: give a finite beta",
        ),
        (lambda: epf.EqProp(CLAMPED, NgspiceSubstrate(level=OpAmp())), "does not provide clamped outputs"),
    ],
)
def test_where_nothing_can_be_held_one_sentence_says_so(run, told):
    with pytest.raises(ValueError, match=told):
        run()
