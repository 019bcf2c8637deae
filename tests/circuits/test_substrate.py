"""The circuit as a substrate: learning rules cannot tell it from an ODE."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eqprop_field as epf
from eqprop_field.circuits import (
    FAST,
    Batch,
    Behavioural,
    NgspiceMissing,
    NgspiceSubstrate,
    SimulatorFailed,
    compile_circuit,
    loop_gain,
    schedule,
)
from eqprop_field.learning.base import tree_norm
from eqprop_field.vector_fields.base import flatten_state


def distance(a: epf.AbstractVectorField, b: epf.AbstractVectorField) -> float:
    return float(tree_norm(jax.tree.map(jnp.subtract, a, b)) / tree_norm(b))


@pytest.mark.parametrize("nudging", [epf.Nudging.one_sided(0.3), epf.Nudging.symmetric(0.3)], ids=["one", "two"])
def test_eqprop_gives_the_same_gradient_as_on_the_ode(ngspice, field, batch, nudging):
    circuit = epf.EqProp(nudging, NgspiceSubstrate()).estimate(field, *batch)
    ode = epf.EqProp(nudging, epf.Trajectory()).estimate(field, *batch)
    assert distance(circuit.gradient, ode.gradient) < 1e-7
    np.testing.assert_array_equal(circuit.verdict, 0)
    for ours, theirs in zip((circuit.free, *circuit.nudged), (ode.free, *ode.nudged), strict=True):
        np.testing.assert_allclose(flatten_state(ours.state), flatten_state(theirs.state), atol=1e-7)
        assert jax.tree.structure(ours.state) == jax.tree.structure(theirs.state)


def test_implicit_gradient_runs_on_the_circuit(ngspice, field, batch):
    circuit = epf.ImplicitGradient(substrate=NgspiceSubstrate()).estimate(field, *batch)
    assert distance(circuit.gradient, epf.ImplicitGradient().estimate(field, *batch).gradient) < 1e-6


def test_trajectory_form_agrees_with_the_odes(ngspice, field, batch):
    nudging, times = epf.Nudging.one_sided(0.3), jnp.linspace(0, 50, 2001)
    measured = NgspiceSubstrate(free_time=60.0, nudged_time=50.0, keep_trajectories=True)
    circuit = epf.EqProp(nudging, measured).estimate(field, *batch)
    ode = epf.EqProp(nudging, epf.Trajectory(nudged_times=times)).estimate(field, *batch)
    assert distance(circuit.path_gradient, ode.path_gradient) < 1e-4
    assert circuit.nudged[0].times.shape == (2001,)
    np.testing.assert_allclose(
        jax.tree.leaves(circuit.nudged[0].trajectory)[0], jax.tree.leaves(ode.nudged[0].trajectory)[0], atol=2e-4
    )


def test_projected_field_stays_within_its_bounds(ngspice, key):
    field = epf.LayeredField.create(key, (4, 8, 3), gain=1.0)
    free, (nudged,) = NgspiceSubstrate().phases(
        field, jnp.ones((2, 4)), [epf.CostNudge(0.5, jnp.ones((2, 3)), epf.Quadratic())]
    )
    flat = np.asarray(flatten_state(nudged.state))
    assert flat.min() >= 0 and flat.max() <= 1
    assert (np.asarray(flatten_state(free.state)) == 0).any()


def test_one_phase_from_a_given_start(ngspice, graph):
    x = jnp.full((2, 4), 0.5)
    start = jax.random.normal(jax.random.key(0), (2, 12))
    nudge = epf.CostNudge(0.4, jnp.ones((2, 3)), epf.Quadratic())
    circuit = NgspiceSubstrate(nudged_time=30.0, keep_trajectories=True).settle(graph, x, nudge, start)
    ode = epf.Trajectory().settle(graph, x, nudge, start)
    np.testing.assert_allclose(circuit.state, ode.state, atol=1e-7)
    np.testing.assert_array_equal(circuit.trajectory[0], start)


def test_float32_fields_are_judged_in_float64(ngspice, graph):
    single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32) if leaf.dtype == jnp.float64 else leaf, graph)
    free = NgspiceSubstrate(tol=1e-9).settle(single, np.full((1, 4), 0.5, np.float32))
    assert free.state.dtype == jnp.float32
    assert float(free.residual[0]) < 1e-9  # float32 states alone would leave about 1e-7


def test_an_unsettled_phase_is_named(ngspice, graph):
    short = NgspiceSubstrate(free_time=1.0)
    with pytest.raises(epf.NotSettledError, match="2 not_settled"):
        short.settle(graph, np.ones((2, 4)))
    assert short.settle(graph, np.ones((2, 4)), throw=False).verdict.tolist() == [epf.Verdict.not_settled] * 2


def test_a_nudge_that_tips_the_network_over_is_a_wrong_branch(ngspice):
    """One neuron with two stable states: the first nudge tips it, and it does not come back."""
    field = epf.GraphField(
        weights=jnp.array([[0.0, 3.0], [3.0, 0.0]]),
        input_weights=jnp.zeros((2, 1)),
        biases=jnp.array([-0.2, -0.2]),
        mask=~jnp.eye(2, dtype=bool),
        tau=jnp.ones(2),
        n_outputs=1,
        activation=epf.activation("tanh"),
        projected=False,
    )
    target = jnp.full((1, 1), 3.0)
    nudges = [epf.CostNudge(beta, target, epf.Quadratic()) for beta in (5.0, 0.1)]
    substrate = NgspiceSubstrate(free_time=40.0, nudged_time=40.0)
    free, (first, second) = substrate.phases(field, np.zeros((1, 1)), nudges, throw=False)
    assert float(free.state[0, 0]) < -2 and float(first.state[0, 0]) > 2
    assert free.verdict[0] == first.verdict[0] == epf.Verdict.converged
    assert second.verdict[0] == epf.Verdict.wrong_branch


def test_failures_are_verdicts_only_where_asked(tmp_path, graph):
    broken = tmp_path / "ngspice"
    broken.write_text('#!/bin/sh\n[ "$1" = --version ] && echo ngspice-0 || exit 1\n')
    broken.chmod(0o755)
    substrate = NgspiceSubstrate(engine=Batch(broken), free_time=5.0, nudged_time=5.0)
    with pytest.raises(SimulatorFailed, match="exit code 1"):
        substrate.settle(graph, np.ones((2, 4)))
    estimate = epf.EqProp(epf.Nudging.one_sided(0.1), substrate).estimate(
        graph, np.ones((2, 4)), np.ones((2, 3)), throw=False
    )
    assert estimate.verdict.tolist() == [epf.Verdict.simulator_failed] * 2
    assert float(tree_norm(estimate.gradient)) == 0.0
    with pytest.raises(NgspiceMissing):
        NgspiceSubstrate(engine=Batch("/nowhere/ngspice"), free_time=5.0).settle(graph, np.ones((2, 4)), throw=False)


def test_one_circuit_has_one_target(graph):
    nudges = [epf.CostNudge(0.1, jnp.full((1, 3), y), epf.Quadratic()) for y in (0.0, 1.0)]
    with pytest.raises(ValueError, match="one target"):
        NgspiceSubstrate().phases(graph, np.ones((1, 4)), nudges)


def test_operating_point_takes_the_free_phases_place(ngspice, graph):
    x = jnp.full((2, 4), 0.5)
    nudges = [epf.CostNudge(0.3, jnp.ones((2, 3)), epf.Quadratic())]
    calm = graph.reinitialise(jax.random.key(0), 0.0)
    calm = eqx.tree_at(lambda f: f.weights, calm, 0.3 * calm.weights)
    assert loop_gain(calm) < 1
    for substrate in (NgspiceSubstrate(from_operating_point=True), NgspiceSubstrate()):
        free, (nudged,) = substrate.phases(calm, x, nudges)
        ode_free, (ode_nudged,) = epf.Equilibrium(tol=1e-10).phases(calm, x, nudges)
        np.testing.assert_allclose(free.state, ode_free.state, atol=1e-7)
        np.testing.assert_allclose(nudged.state, ode_nudged.state, atol=1e-7)
    wild = eqx.tree_at(lambda f: f.weights, graph, 9.0 * graph.weights)
    with pytest.raises(ValueError, match="loop gain"):
        NgspiceSubstrate(from_operating_point=True).phases(wild, x, nudges)


def test_samples_in_one_run_settle_as_samples_in_runs_of_their_own(ngspice):
    field = epf.LayeredField.create(jax.random.key(2), (3, 4, 2), gain=0.6)  # clamped states
    x, y = np.random.default_rng(0).uniform(size=(5, 3)), np.random.default_rng(1).uniform(size=(5, 2))
    nudges = epf.Nudging.symmetric(0.1).nudges(epf.Quadratic(), jnp.asarray(y))
    times = {"free_time": 60.0, "nudged_time": 60.0, "workers": 1}
    alone = NgspiceSubstrate(**times).phases(field, x, nudges)
    together = NgspiceSubstrate(**times, samples_per_run=2).phases(field, x, nudges)
    for one, other in zip((alone[0], *alone[1]), (together[0], *together[1]), strict=True):
        for a, b in zip(one.state, other.state, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)
    with pytest.raises(ValueError, match="at least one sample"):
        NgspiceSubstrate(samples_per_run=0)


def test_clamps_do_not_ring_where_the_circuit_is_followed_loosely(ngspice):
    """Without damping one such sample of digits took 1.3 million time points."""
    field = epf.LayeredField.create(jax.random.key(0), (64, 10, 10), gain=0.25)
    digits = epf.digits(0).train
    for row in (1, 16):
        circuit = compile_circuit(field, digits.x[row], digits.y[row], schedule(12.0, 8.0, [0.2, -0.2]))
        assert len(Batch(timeout_s=120.0).run(Behavioural(accuracy=FAST).emit(circuit)).times_s) < 3000
