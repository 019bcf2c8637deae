"""Online rules against reverse-mode differentiation, against each other where they must agree, and the two theorems."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eqprop_field as epf
from eqprop_field.sequence import (
    APRL,
    BPTT,
    KFRTRL,
    RFLO,
    RTRL,
    UORO,
    BatchAPRL,
    ContinuousTime,
    EProp,
    Readout,
    SnAp1,
    Task,
    accumulated_update,
    fully_recurrent,
    learn_online,
    random_feedback,
    simulate,
)
from eqprop_field.sequence.online_setup import synapses

KEY = jax.random.key(0)


def matrix(tree: epf.GraphField) -> np.ndarray:
    return np.asarray(synapses(tree, False))


def apart(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).max() / np.abs(b).max())


def summed_error(field: epf.GraphField, task: Task) -> float:
    return 0.5 * float(np.sum(np.asarray(task.errors(simulate(field, task.inputs).outputs)) ** 2))


def test_bptt_is_the_finite_difference_of_the_summed_error(network, task):
    gradient = BPTT().estimate(network, task).gradient
    for where in (lambda f: f.weights, lambda f: f.input_weights, lambda f: f.biases):
        at = (1,) * where(network).ndim
        errors = [
            summed_error(eqx.tree_at(where, network, where(network).at[at].add(sign * 1e-6)), task) for sign in (1, -1)
        ]
        assert float(where(gradient)[at]) == pytest.approx((errors[0] - errors[1]) / 2e-6, rel=1e-6)


@pytest.mark.parametrize("forced", [False, True])
@pytest.mark.parametrize("read", [False, True])
def test_rtrl_with_held_weights_is_bptt(network, task, forced, read):
    """C17."""
    readout = Readout(jnp.linspace(-1, 1, 6)[None], jnp.zeros(1)) if read else None
    start = np.linspace(-0.5, 0.5, 6)
    exact = BPTT().estimate(network, task, start=start, teacher_forcing=forced, readout=readout).gradient
    rule = RTRL(rate=1.0, biases=True)
    carried = accumulated_update(rule, network, task, start=start, teacher_forcing=forced, readout=readout)
    assert apart(-np.asarray(synapses(carried, True)), np.asarray(synapses(exact, True))) < 1e-12


def test_rtrl_is_bptt_where_states_are_clipped_and_synapses_missing(task, key):
    field = epf.GraphField.create(key, neurons=6, inputs=2, outputs=1, density=0.6, gain=3.0)
    assert field.projected
    states = np.asarray(simulate(field, task.inputs).states)
    assert (states == 0).any() and (states == 1).any()
    exact = BPTT().estimate(field, task).gradient
    assert apart(-matrix(accumulated_update(RTRL(rate=1.0), field, task)), matrix(exact)) < 1e-12


def test_the_window_cuts_the_way_back(network, task):
    whole = matrix(BPTT().estimate(network, task).gradient)
    assert apart(matrix(BPTT(window=39).estimate(network, task).gradient), whole) < 1e-12
    assert apart(matrix(BPTT(window=13).estimate(network, task).gradient), whole) > 1e-3
    # One step back: the error of a step knows the weights of that step alone.
    run = simulate(network, task.inputs)
    h = np.asarray(task.inputs.step / network.tau)
    sources = np.concatenate([np.tanh(run.states), task.inputs.values], axis=2)[:-1]
    e = np.pad(np.asarray(task.errors(run.outputs)), ((0, 0), (0, 0), (0, 5)))[1:]
    expected = np.einsum("kbn,kbp->np", h * e, sources)
    assert apart(matrix(BPTT(window=1).estimate(network, task).gradient), expected) < 1e-12


def test_the_gradient_of_the_ode_is_the_limit_of_the_steps(network):
    def gradient(finer: int, rule: BPTT, samples: int) -> np.ndarray:
        """Of the same 20 targets, however fine the samples are; nothing is scored after them."""
        t = np.arange(samples) * 0.1 / finer
        d = np.full((samples, 1), np.nan)
        d[: 20 * finer + 1 : finer, 0] = np.cos(t[: 20 * finer + 1 : finer])
        return matrix(rule.estimate(network, Task.of(np.stack([np.sin(t), t], 1), d, 0.1 / finer)).gradient)

    exact = gradient(1, BPTT(ContinuousTime(accuracy=1e-8)), 21)
    errors = [apart(gradient(finer, BPTT(), 20 * 16 + 1), exact) for finer in (8, 16)]
    assert errors[0] < 0.05 and errors[0] / errors[1] == pytest.approx(2, abs=0.3)


def test_held_aprl_online_adds_up_to_the_batch(network, task):
    """C11."""
    online = accumulated_update(APRL(rate=0.7, ridge=0.3, carry_errors=True), network, task)
    batch = BatchAPRL(ridge=0.3, relative=False).estimate(network, task).gradient
    assert apart(matrix(online), -0.7 * matrix(batch)) < 1e-9


def test_aprl_gives_every_neuron_its_own_v_where_synapses_are_missing(network, task):
    rng = np.random.default_rng(0)
    mask = rng.uniform(size=(6, 6)) < 0.6
    sparse = eqx.tree_at(lambda f: f.mask, network, jnp.asarray(mask))
    online = matrix(accumulated_update(APRL(ridge=0.3, carry_errors=True), sparse, task))
    batch = matrix(BatchAPRL(ridge=0.3, relative=False).estimate(sparse, task).gradient)
    assert apart(online, -batch) < 1e-9
    assert (online[:, :6][~mask] == 0).all()


def test_batch_aprl_is_the_least_squares_answer_to_its_constraint(network, task):
    """Equation 5: (dg/dw) dw = (dg/dx) dx with dx = e, solved by numpy."""
    update = -matrix(BatchAPRL(ridge=0.0).estimate(network, task).gradient)
    run = simulate(network, task.inputs)
    e = np.pad(np.asarray(task.errors(run.outputs)), ((0, 0), (0, 0), (0, 5)))
    h, w = 0.1 / np.asarray(network.tau), np.asarray(network.weights)
    states = np.asarray(run.states)
    sources = np.concatenate([np.tanh(states), task.inputs.values], axis=2)
    wanted = -e[1:] + (1 - h) * e[:-1] + h * np.einsum("nm,kbm->kbn", w, (1 - np.tanh(states[:-1]) ** 2) * e[:-1])
    rows, right = sources[:-1].reshape(-1, 8), wanted.reshape(-1, 6)
    expected = np.linalg.lstsq(rows, right / h, rcond=None)[0].T
    np.testing.assert_allclose(rows @ update.T, rows @ expected.T, atol=1e-8)


def lemma_violation(before: epf.GraphField, after: epf.GraphField) -> float:
    """The largest |W_j1(0) dW_ik - W_i1(0) dW_jk| over i, j beyond the first and all k, against its terms."""
    first, change = np.asarray(before.weights)[1:, 0], (matrix(after) - matrix(before))[1:]
    products = np.einsum("j,ik->ijk", first, change)
    return float(np.abs(products - np.swapaxes(products, 0, 1)).max() / np.abs(products).max())


@pytest.mark.parametrize("samples", [3, 17, 40])
def test_internal_rows_change_in_constant_proportions(network, task, samples):
    """C12, the lemma: one output, at every step, whatever was learnt on the way."""
    cut = dataclasses.replace(task, valid=task.valid & (jnp.arange(40) < samples)[:, None])
    run = learn_online(APRL(carry_inverse=False), network, cut, epochs=2)
    assert int(run.exploded) == -1
    assert np.abs(matrix(run.last) - matrix(network))[1:].max() > 1e-4
    assert lemma_violation(network, run.last) < 1e-9


def test_internal_rows_of_the_batch_change_in_constant_proportions(network, task):
    """C13."""
    gradient = BatchAPRL().estimate(network, task).gradient
    moved = eqx.apply_updates(network, jax.tree.map(lambda g: -0.1 * g, gradient))
    assert lemma_violation(network, moved) < 1e-9


@pytest.mark.parametrize("outputs", [1, 2])
def test_the_internal_change_has_the_rank_of_the_outputs(outputs, task):
    """C14: and with two outputs the proportions are no longer constant."""
    field = fully_recurrent(jax.random.key(7), neurons=7, inputs=2, outputs=outputs, spread=0.5)
    targets = jnp.concatenate([task.targets, jnp.cos(3 * task.targets)], axis=2)[..., :outputs]
    wide = Task(task.inputs, targets, task.valid)
    run = learn_online(APRL(), field, wide)
    values = np.linalg.svd((matrix(run.last) - matrix(field))[outputs:], compute_uv=False)
    assert values[outputs] / values[0] < 1e-9
    assert values[outputs - 1] / values[0] > 1e-3
    if outputs == 2:
        assert lemma_violation(field, run.last) > 1e-2


def test_nothing_internal_moves_at_the_first_step(network, task):
    cut = dataclasses.replace(task, valid=task.valid & (jnp.arange(40) < 2)[:, None])
    moved = matrix(learn_online(APRL(), network, cut).last) - matrix(network)
    assert (moved[1:] == 0).all() and (moved[0] != 0).any()


def without_recurrence(field: epf.GraphField) -> epf.GraphField:
    """Internal neurons act on the output neuron alone, and it on nobody."""
    return eqx.tree_at(lambda f: f.weights, field, field.weights.at[1:].set(0).at[:, :1].set(0))


def test_eprop_is_exact_without_recurrence(network, task):
    feedforward = without_recurrence(network)
    exact = matrix(BPTT().estimate(feedforward, task).gradient)
    found = -matrix(accumulated_update(EProp(rate=1.0), feedforward, task))
    # The columns of the output neuron are synapses that would close the loop.
    np.testing.assert_allclose(found[:, 1:], exact[:, 1:], atol=1e-12 * np.abs(exact).max())


def test_random_eprop_and_rflo_differ_from_it_only_in_their_feedback(network, task):
    feedforward = without_recurrence(network)
    own = jnp.asarray(feedforward.weights[:1].T)
    exact = matrix(accumulated_update(EProp(rate=1.0), feedforward, task))
    given = matrix(accumulated_update(EProp(rate=1.0, feedback=own), feedforward, task))
    np.testing.assert_allclose(given, exact, atol=1e-14)
    random = random_feedback(jax.random.key(1), 6, 1)
    rflo = matrix(accumulated_update(RFLO(feedback=random, rate=1.0), feedforward, task))
    np.testing.assert_allclose(rflo[0], exact[0], atol=1e-14)
    silent = matrix(accumulated_update(RFLO(feedback=jnp.zeros((6, 1)), rate=1.0), feedforward, task))
    assert (silent[1:] == 0).all()


@pytest.mark.parametrize("rule", [RFLO, EProp])
def test_feedback_weights_bring_back_the_error_of_a_readout(rule, network, task):
    """The readout's own weights change nothing but the error: with B = R^T it is the rule without B, by R^T e."""
    readout = Readout(jnp.linspace(-1, 1, 6)[None], jnp.zeros(1))

    def update(**options):
        return matrix(accumulated_update(rule(rate=1.0, **options), network, task, readout=readout))

    own, other = readout.weights.T, random_feedback(jax.random.key(1), 6, 1, readout=True)
    np.testing.assert_allclose(update(feedback=own), matrix(accumulated_update(EProp(rate=1.0), network, task,
                               readout=readout)), atol=1e-14)  # fmt: skip
    np.testing.assert_allclose(update(feedback=other), other / own * update(feedback=own), rtol=1e-10)
    assert (np.asarray(other) != 0).all()
    with pytest.raises(ValueError, match=r"this network needs \(6, 1\)"):
        update(feedback=jnp.ones((6, 2)))


def test_snap1_with_a_readout_is_exact_for_neurons_by_themselves(network, task):
    alone = eqx.tree_at(lambda f: f.weights, network, jnp.diag(jnp.diagonal(network.weights)))
    readout = Readout(jnp.linspace(-1, 1, 6)[None], jnp.zeros(1))
    exact = BPTT().estimate(alone, task, readout=readout).gradient
    found = accumulated_update(SnAp1(rate=1.0), alone, task, readout=readout)
    own = np.concatenate([np.eye(6, dtype=bool), np.ones((6, 2), bool)], axis=1)
    np.testing.assert_allclose(-matrix(found)[own], matrix(exact)[own], rtol=1e-10)


@pytest.mark.parametrize("rule", [UORO(rate=1.0), KFRTRL(rate=1.0)], ids=["UORO", "KF-RTRL"])
def test_random_estimates_are_unbiased(rule, network, task):
    """The mean over 10 000 draws is RTRL within three standard errors, for all but a few synapses."""
    short = Task(eqx.tree_at(lambda s: s.values, task.inputs, task.inputs.values[:12, :1]),
                 task.targets[:12, :1], task.valid[:12, :1])  # fmt: skip
    exact = matrix(accumulated_update(RTRL(rate=1.0), network, short))

    def draw(key):
        return synapses(accumulated_update(rule, network, short, key=key), False)

    draws = np.asarray(jax.vmap(draw)(jax.random.split(jax.random.key(3), 10_000)))
    error = draws.std(axis=0, ddof=1) / 100
    z = (draws.mean(axis=0) - exact) / np.maximum(error, 1e-300)
    assert np.mean(np.abs(z) < 3) > 0.97 and np.abs(z).max() < 4.5
    assert draws.std(axis=0).max() > 1e-3 * np.abs(exact).max()  # it IS random


RULES = {
    "RTRL": RTRL(rate=0.1, biases=True),
    "APRL": APRL(rate=0.5),
    "EProp": EProp(rate=0.1),
    "RFLO": RFLO(feedback=random_feedback(jax.random.key(1), 6, 1), rate=0.1),
    "SnAp1": SnAp1(rate=0.1),
    "UORO": UORO(rate=0.003),
    "KFRTRL": KFRTRL(rate=0.003),
}


@pytest.mark.parametrize("name", RULES)
def test_every_rule_learns_online(name, network, task):
    run = learn_online(RULES[name], network, task, epochs=30)
    assert int(run.exploded) == -1 and "all 30 epochs" in run.advice
    assert float(run.error[int(run.best)]) < 0.5 * float(run.error[0])
    best = simulate(run.field, task.inputs)
    assert float(task.mean_squared_error(best.outputs)) < float(run.error[0])


@pytest.mark.parametrize("name", ["RTRL", "APRL", "KFRTRL", "UORO"])
def test_a_network_learns_in_its_own_precision(name, network, task):
    narrow = jax.tree.map(lambda leaf: leaf.astype(np.float32) if eqx.is_inexact_array(leaf) else leaf, network)
    run, wide = (learn_online(RULES[name], field, task, epochs=30) for field in (narrow, network))
    assert run.last.weights.dtype == np.float32
    assert float(run.error[0]) == pytest.approx(float(wide.error[0]), rel=1e-3)
    assert BPTT().estimate(narrow, task).gradient.weights.dtype == np.float32


def test_an_explosion_ends_learning_and_keeps_the_best(network, task):
    linear = dataclasses.replace(network, activation=epf.activation("linear"))
    run = learn_online(RTRL(rate=40.0), linear, task, epochs=5)
    stopped = int(run.exploded)
    assert stopped >= 0 and np.isnan(np.asarray(run.error)[stopped:]).all()
    assert "exploded in epoch" in run.advice
    assert np.isfinite(matrix(run.field)).all() and np.isfinite(matrix(run.last)).all()
    if stopped == 0:
        np.testing.assert_array_equal(matrix(run.field), matrix(network))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda f, t: learn_online(RTRL(), f, t, epochs=0), "at least one"),
        (lambda f, t: learn_online(RTRL(), epf.LayeredField.create(KEY, (2, 1)), t), "a graph of neurons"),
        (lambda f, t: learn_online(RTRL(), epf.HopfieldField.create(KEY, neurons=2, inputs=2, outputs=1), t),
         "leaky integrators"),
        (lambda f, t: learn_online(APRL(), epf.GraphField.create(KEY, neurons=3, inputs=2, outputs=1), t),
         "clipped to its bound"),
        (lambda f, t: BatchAPRL().estimate(dataclasses.replace(f, projected=True), t), "clipped to its bound"),
        (lambda f, t: learn_online(RFLO(feedback=jnp.zeros((3, 1))), f, t), "needs \\(6, 1\\)"),
        (lambda f, t: learn_online(RTRL(), f, t, readout=Readout(jnp.zeros((2, 6)), jnp.zeros(2))),
         "1 targets a sample"),
        (lambda f, t: BPTT(window=0), "at least one step"),
        (lambda f, t: BPTT(ContinuousTime(), window=3), "counts Euler steps"),
    ],
)  # fmt: skip
def test_impossible_learning_is_refused(network, task, make, message):
    with pytest.raises(ValueError, match=message):
        make(network, task)
