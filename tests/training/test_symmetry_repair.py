"""Symmetry repair: each does what it says, on its own and within a training run."""

import dataclasses
import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eqprop_field as epf
from eqprop_field.datasets import Dataset, Samples
from eqprop_field.training import Settings, SymmetryRepair, jacobian_asymmetry_penalty, train

RULE = epf.EqProp(epf.Nudging.symmetric(0.1), epf.Equilibrium(tol=1e-6, check_stability=False))


def toy(n=24):
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(n, 6)).astype(np.float32)
    samples = Samples(x, np.eye(3, dtype=np.float32)[np.argmax(x[:, :3], axis=1)])
    return Dataset("toy", samples, samples, samples, ("a", "b", "c"))


DATA = toy()


def layered(name="tanh", **options):
    return epf.LayeredField.create(jax.random.key(1), (6, 8, 7, 3), activation=epf.activation(name), **options)


def graph(**options):
    rho = epf.activation("tanh")
    return epf.GraphField.create(
        jax.random.key(1), neurons=12, inputs=6, outputs=3, density=0.7, activation=rho, gain=0.4, **options
    )


def conv(**options):
    rho = epf.activation("tanh")
    return epf.ConvField.create(jax.random.key(1), (2, 3, 1), [(3, 2, 1)], (4, 3), activation=rho, **options)


def go(field, repair, epochs=5, rate=0.05, **options):
    settings = Settings(epochs, batch_size=8, learning_rates=(rate,), schedule="constant", repair=repair)
    return train(field, RULE, DATA, settings, progress=False, **options)


def apart(field):
    w = np.asarray(field.recurrent_matrix())
    return w - w.T


@pytest.mark.parametrize("make", [layered, graph, conv])
def test_kolen_pollack_makes_the_weights_symmetric_at_the_rate_of_the_decay(make):
    field, decay, epochs = make(), 0.02, 5
    last = go(field, SymmetryRepair("kolen_pollack", decay=decay), epochs).last_field
    np.testing.assert_allclose(apart(last), (1 - decay) ** (epochs * 3) * apart(field), rtol=1e-9, atol=1e-14)
    moved = np.asarray(last.recurrent_matrix() + last.recurrent_matrix().T)
    kept = (1 - decay) ** (epochs * 3) * np.asarray(field.recurrent_matrix() + field.recurrent_matrix().T)
    assert np.abs(moved - kept).max() > 1e-4  # it learnt meanwhile
    assert np.abs(np.asarray(last.input_matrix()[0] - field.input_matrix()[0])).max() > 1e-4


def test_the_decay_of_kolen_pollack_falls_with_the_schedule():
    field = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), conv())
    repair = SymmetryRepair("kolen_pollack", decay=0.05)
    settings = Settings(4, batch_size=8, learning_rates=(0.05,), schedule="cosine", repair=repair)
    last = train(field, RULE, DATA, settings, progress=False).last_field
    kept = np.prod([1 - 0.05 * (1 + np.cos(np.pi * step / 12)) / 2 for step in range(12)])
    np.testing.assert_allclose(apart(last), kept * apart(field), rtol=1e-4, atol=1e-6)
    assert last.forward[0].dtype == jnp.float32


def test_a_step_of_kolen_pollack_by_hand():
    field = layered()
    repair = SymmetryRepair("kolen_pollack", decay=0.1)
    rng = np.random.default_rng(0)
    updates = jax.tree.map(lambda w: jnp.asarray(rng.normal(size=w.shape)), field.parameters())
    found = repair.applied(field, updates)
    for i in (0, 1):
        mean = 0.5 * (updates.forward[i] + updates.feedback[i].T)
        np.testing.assert_allclose(found.forward[i], mean - 0.1 * field.forward[i], rtol=1e-12)
        np.testing.assert_allclose(found.feedback[i], mean.T - 0.1 * field.feedback[i], rtol=1e-12)
    np.testing.assert_array_equal(found.forward[2], updates.forward[2])
    np.testing.assert_array_equal(found.biases[1], updates.biases[1])


@pytest.mark.parametrize("make", [layered, conv])
def test_feedback_alignment_leaves_the_feedback_as_it_was_drawn(make):
    field = make()
    last = go(field, SymmetryRepair("fixed")).last_field
    for before, after in zip(field.feedback, last.feedback, strict=True):
        np.testing.assert_array_equal(before, after)
    assert all(float(jnp.abs(a - b).max()) > 1e-4 for a, b in zip(field.forward, last.forward, strict=True))


@pytest.mark.parametrize("make", [layered, graph, conv])
def test_tied_weights_begin_tied_and_stay_so(make):
    field = make()
    last = go(field, SymmetryRepair("tied")).last_field
    np.testing.assert_allclose(apart(last), 0, atol=1e-16)  # XLA may compute one sum in two fusions, and round it twice
    w = np.asarray(field.recurrent_matrix())
    assert np.abs(np.asarray(last.recurrent_matrix()) - 0.5 * (w + w.T)).max() > 1e-4


@pytest.mark.parametrize("name", ["tanh", "hard_sigmoid"])
def test_the_penalty_is_that_of_the_dense_jacobian(name):
    """||J - J^T||^2 / 2 of J = W rho' - 1 among the neurons that move; and its gradient by finite differences."""
    field = layered(name)
    x = jnp.asarray(DATA.train.x[:3], float)
    state = RULE.substrate.settle(field, x).state
    key = jax.random.key(3)
    flat = np.concatenate([np.asarray(s) for s in state], axis=1)
    w = np.asarray(field.recurrent_matrix())
    mu = np.concatenate([np.asarray(m) for m in field(state, field.drive(x))], axis=1)
    exact = []
    for s, m in zip(flat, mu, strict=True):
        moving = np.ones_like(s) if name == "tanh" else (~((s <= 0) & (m < 0) | (s >= 1) & (m > 0))).astype(float)
        j = moving[:, None] * (w * (1 - np.tanh(s) ** 2 if name == "tanh" else 1.0)) * moving
        exact.append(0.5 * np.sum((j - j.T) ** 2))
    estimate = float(jacobian_asymmetry_penalty(field, x, state, key, probes=20_000))
    assert estimate == pytest.approx(np.mean(exact), rel=0.02)

    @jax.jit
    def penalty(parameters):
        return jacobian_asymmetry_penalty(eqx.combine(parameters, field), x, state, key)

    gradient = jax.grad(penalty)(field.parameters())
    along = jax.tree.map(lambda g: g / jnp.maximum(jnp.abs(g).max(), 1e-12), gradient)
    moved = [
        float(penalty(jax.tree.map(lambda p, d, h=h: p + h * d, field.parameters(), along))) for h in (1e-5, -1e-5)
    ]
    wanted = sum(float(jnp.sum(g * d)) for g, d in zip(*map(jax.tree.leaves, (gradient, along)), strict=True))
    assert (moved[0] - moved[1]) / 2e-5 == pytest.approx(wanted, rel=1e-6)


def test_homeostasis_lowers_the_asymmetry_and_raises_the_alignment():
    field = layered()
    x, y = jnp.asarray(DATA.train.x, float), jnp.asarray(DATA.train.y, float)
    found = {}
    for name, repair in (("learned", SymmetryRepair()), ("homeostasis", SymmetryRepair(homeostasis=1.0))):
        last = go(field, repair, epochs=30).last_field
        estimate = RULE.estimate(last, x, y)
        truth = epf.ImplicitGradient(RULE.substrate).estimate(last, x, y).gradient
        mine, true = (np.concatenate([np.ravel(a) for a in jax.tree.leaves(g)]) for g in (estimate.gradient, truth))
        asymmetry = float(epf.jacobian_asymmetry(last, last.drive(x), estimate.free.state).mean())
        found[name] = asymmetry, mine @ true / np.linalg.norm(mine) / np.linalg.norm(true)
    assert found["homeostasis"][0] < 0.5 * found["learned"][0]
    assert found["homeostasis"][1] > found["learned"][1]


@pytest.mark.parametrize(
    "repair", [SymmetryRepair(homeostasis=1.0), SymmetryRepair("kolen_pollack", decay=0.02), SymmetryRepair("tied")]
)
def test_a_run_resumed_ends_in_the_same_bits(repair, tmp_path):
    whole = go(layered(), repair, epochs=3)
    go(layered(), repair, epochs=1, out=tmp_path)
    rest = go(layered(), repair, epochs=3, out=tmp_path, resume=True)
    assert bool(eqx.tree_equal(rest.last_field, whole.last_field, typematch=True))
    with pytest.raises(epf.CheckpointError, match="repair"):
        go(layered(), SymmetryRepair(), epochs=3, out=tmp_path, resume=True)
    assert json.loads(json.dumps(rest.summary()))["settings"]["repair"] == dataclasses.asdict(repair)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: SymmetryRepair("tied", homeostasis=0.1), "tied weights have none to repair"),
        (lambda: SymmetryRepair("kolen_pollack"), "decay=None with feedback='kolen_pollack'"),
        (lambda: SymmetryRepair(decay=0.1), "the decay belongs to kolen_pollack"),
        (lambda: SymmetryRepair("kolen_pollack", decay=1.0), "decay=1.0: give the share"),
        (lambda: SymmetryRepair(homeostasis=0.0), "homeostasis=0.0: give a strength above 0"),
        (lambda: SymmetryRepair("fixed").check(graph()), "fixed feedback needs layers"),
        (
            lambda: SymmetryRepair(homeostasis=0.1).check(
                epf.HopfieldField.create(jax.random.key(0), neurons=4, inputs=2, outputs=1)
            ),
            "symmetric by its energy",
        ),
        (
            lambda: SymmetryRepair("tied").check(eqx.tree_at(lambda f: f.mask, graph(), jnp.triu(graph().mask))),
            "synapses without one in the other direction",
        ),
    ],
)
def test_what_has_no_meaning_is_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()
