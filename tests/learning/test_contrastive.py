"""GeneRec, contrastive Hebbian learning and nonlinear back-propagation against numpy back-propagation."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eqprop_field as epf
from eqprop_field.vector_fields import flatten_state

KEY = jax.random.key(11)
# What rest is, and what its checks say, is the subject of other tests: here they would only be compiled.
TIGHT = epf.Equilibrium(tol=1e-15, solver=epf.Sweeps(20_000), check_stability=False)
GAINS = np.array([0.1, 0.05, 0.025, 0.0125])
RATES = {"sigmoid": lambda s: 1 / (1 + np.exp(-s)), "tanh": np.tanh}


def layered(seed=0, name="sigmoid", **options):
    rho = epf.activation(name)
    return epf.LayeredField.create(jax.random.key(seed), (20, 15, 10, 5), activation=rho, gain=0.8, **options)


def graph(name="sigmoid", neurons=12, **options):
    rho = epf.activation(name)
    return epf.GraphField.create(KEY, neurons=neurons, inputs=4, outputs=3, activation=rho, gain=0.4, **options)


def data(field, seed=0):
    """Three samples in every test, by numpy: whatever has one shape, or is no operation of JAX, is compiled once."""
    rng = np.random.default_rng(seed)
    return rng.uniform(size=(3, field.n_inputs)), rng.uniform(size=(3, field.n_outputs))


def relative(a, b):
    a, b = (np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)]) for tree in (a, b))
    return np.linalg.norm(a - b) / np.linalg.norm(b)


def cosine(a, b):
    return np.sum(a * b) / np.linalg.norm(a) / np.linalg.norm(b)


def back_propagation(field, x, y, name):
    """Updates of the feed-forward network of rate neurons, with the output error y - V and no slope there."""
    rho = RATES[name]
    slope = (lambda v: v * (1 - v)) if name == "sigmoid" else (lambda v: 1 - v**2)
    weights, biases = [np.asarray(w) for w in field.forward], [np.asarray(b) for b in field.biases]
    rates = [np.asarray(x)]
    for w, b in zip(weights[::-1], biases[::-1], strict=True):
        rates.insert(0, rho(rates[0] @ w.T + b))
    delta, updates = np.asarray(y) - rates[0], []
    for i, w in enumerate(weights):
        updates.append((delta.T @ rates[i + 1] / len(x), delta.mean(axis=0)))
        delta = (delta @ w) * slope(rates[i + 1])
    return updates


@pytest.mark.parametrize("name", RATES)
@pytest.mark.parametrize("seed", range(2))
def test_contrastive_hebbian_tends_to_back_propagation_with_order_one(name, seed):
    field = layered(seed, name)
    x, y = data(field, seed)
    truth = back_propagation(field, x, y, name)
    errors = []
    for gain in GAINS:
        rule = epf.ContrastiveHebbian(gain, TIGHT)
        update = rule.estimate(field.with_feedback_gain(gain), x, y).update
        pairs = zip(zip(update.forward, update.biases, strict=True), truth, strict=True)
        flat = [(np.ravel(a), np.ravel(b)) for mine, wanted in pairs for a, b in zip(mine, wanted, strict=True)]
        mine, wanted = (np.concatenate(part) for part in zip(*flat, strict=True))
        errors.append(np.linalg.norm(mine - wanted) / np.linalg.norm(wanted))
    assert errors[-1] < 0.02
    assert np.polyfit(np.log(GAINS), np.log(errors), 1)[0] == pytest.approx(1.0, abs=0.1)


def test_the_phases_are_those_of_xie_and_seung():
    """x_k' = -x_k + f(W_k x_{k-1} + g W_{k+1}^T x_{k+1} + b), iterated in numpy, free and with the output clamped."""
    gain, field = 0.3, layered().with_feedback_gain(0.3)
    x, y = data(field)
    f = RATES["sigmoid"]
    w, b = [np.asarray(w) for w in field.forward], [np.asarray(b) for b in field.biases]

    def settled(clamped):
        v = [np.full((3, n), 0.5) for n in (5, 10, 15)]
        for _ in range(400):
            v[2] = f(x @ w[2].T + gain * v[1] @ w[1] + b[2])
            v[1] = f(v[2] @ w[1].T + gain * v[0] @ w[0] + b[1])
            v[0] = y if clamped else f(v[1] @ w[0].T + b[0])
        return v

    free, clamped = settled(False), settled(True)
    update = epf.ContrastiveHebbian(gain, TIGHT).estimate(field, x, y).update
    for i in range(3):
        before = lambda v, i=i: v[i + 1] if i < 2 else x  # noqa: E731
        hebbian = (clamped[i].T @ before(clamped) - free[i].T @ before(free)) / 3 / gain**i
        np.testing.assert_allclose(update.forward[i], hebbian, atol=1e-11)
    for ahead, back in zip(update.forward[:-1], update.feedback, strict=True):
        np.testing.assert_allclose(back, gain * ahead.T, rtol=1e-12)


def test_midpoint_generec_plus_its_transpose_is_contrastive_hebbian():
    field = graph(neurons=50, symmetry=1.0)
    x, y = data(field)
    midpoint = epf.GeneRec("midpoint", TIGHT).estimate(field, x, y).update.weights
    hebbian = epf.ContrastiveHebbian(1.0, TIGHT).estimate(field, x, y).update.weights
    np.testing.assert_allclose(midpoint + midpoint.T, hebbian, atol=1e-12)
    asymmetric = layered().with_feedback_gain(1.0)
    x, y = data(asymmetric)
    midpoint = epf.GeneRec("midpoint", TIGHT).estimate(asymmetric, x, y).update
    hebbian = epf.ContrastiveHebbian(1.0, TIGHT).estimate(asymmetric, x, y).update
    for ahead, back, wanted in zip(midpoint.forward[:-1], midpoint.feedback, hebbian.forward[:-1], strict=True):
        np.testing.assert_allclose(ahead + back.T, wanted, atol=1e-12)


@pytest.mark.parametrize("presynaptic", ["minus", "midpoint"])
def test_generec_is_its_formula_on_an_asymmetric_graph(presynaptic):
    field = graph("tanh")
    x, y = data(field)
    w, (w_in, b) = np.asarray(field.weights), map(np.asarray, field.input_matrix())
    phases = []
    for clamped in (False, True):
        v = np.zeros((3, 12))
        for _ in range(500):
            v = np.tanh(v @ w.T + x @ w_in.T + b)
            v[:, :3] = y if clamped else v[:, :3]
        phases.append(v)
    minus, plus = phases
    before = minus if presynaptic == "minus" else 0.5 * (minus + plus)
    update = epf.GeneRec(presynaptic, TIGHT).estimate(field, x, y).update
    expected = np.where(field.mask, (plus - minus).T @ before / 3, 0)
    np.testing.assert_allclose(update.weights, expected, atol=1e-12)
    np.testing.assert_allclose(update.input_weights, (plus - minus).T @ x / 3, atol=1e-12)


def test_generec_points_along_back_propagation_for_weak_symmetric_feedback():
    field = layered()
    x, y = data(field)
    truth = back_propagation(field, x, y, "sigmoid")
    worst = []
    for gain in (1.0, 0.1, 0.01):
        update = epf.GeneRec(substrate=TIGHT).estimate(field.with_feedback_gain(gain), x, y).update
        worst.append(min(cosine(np.asarray(update.forward[i]), truth[i][0]) for i in range(3)))
    assert worst[0] < worst[1] < worst[2] and worst[2] > 0.9999


class RateCost(epf.AbstractOutputCost):
    """The quadratic cost of the output's rates, tanh(s)."""

    weight_decay: jax.Array = eqx.field(converter=jnp.asarray, default=0.0)

    def __call__(self, output, target):
        return 0.5 * jnp.sum((jnp.tanh(output) - target) ** 2, axis=-1)

    def gradient(self, output, target):
        rate = jnp.tanh(output)
        return (rate - target) * (1 - rate**2)


@pytest.mark.parametrize("make", [lambda: layered(name="tanh"), lambda: graph("tanh")])
def test_nonlinear_back_propagation_tends_to_almeida_pineda_with_order_one(make):
    field = make()
    x, y = data(field)
    truth = epf.ImplicitGradient(TIGHT, RateCost()).estimate(field, x, y).gradient
    amplitudes = np.array([0.01, 0.003, 0.001, 0.0003])
    errors = [relative(epf.NonlinearBackprop(u, TIGHT).estimate(field, x, y).gradient, truth) for u in amplitudes]
    assert np.polyfit(np.log(amplitudes), np.log(errors), 1)[0] == pytest.approx(1.0, abs=0.1)
    assert errors[-1] < 1e-3


def test_nonlinear_back_propagation_of_clipped_states_is_exact_for_small_errors():
    field = epf.LayeredField.create(KEY, (20, 15, 10, 5))
    x, y = data(field)
    truth = epf.ImplicitGradient(TIGHT).estimate(field, x, y).gradient
    assert relative(epf.NonlinearBackprop(1e-5, TIGHT).estimate(field, x, y).gradient, truth) < 1e-8


RULES = [epf.GeneRec(), epf.GeneRec("midpoint"), epf.ContrastiveHebbian(), epf.NonlinearBackprop()]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_float32_jit_and_samples_that_do_not_settle(rule):
    field = jax.tree.map(lambda a: a.astype(jnp.float32), layered().with_feedback_gain(1.0))
    x, y = data(field)
    gradient = eqx.filter_jit(lambda f: rule.estimate(f, x, y))(field).gradient
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(gradient))
    assert jax.tree.structure(gradient) == jax.tree.structure(field.parameters())
    hopeless = eqx.tree_at(
        lambda r: r.substrate, rule, epf.Equilibrium(tol=1e-12, solver=epf.Sweeps(4), check_stability=False)
    )
    lost = hopeless.estimate(field, x, y, throw=False)
    assert not np.any(lost.verdict == epf.Verdict.converged)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(lost.gradient))
    with pytest.raises(epf.NotSettledError):
        hopeless.estimate(field, x, y)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_fields_that_are_no_rate_neurons_are_refused(rule):
    field = epf.HopfieldField.create(KEY, neurons=6, inputs=4, outputs=3, activation=epf.activation("tanh"))
    with pytest.raises(ValueError, match="needs leaky integrators.*which a HopfieldField is not"):
        rule.estimate(field, *data(field))
    with pytest.raises(ValueError, match="free_outputs=True makes the outputs linear"):
        rule.estimate(layered(free_outputs=True), *data(layered()))


def test_contrastive_hebbian_refuses_networks_without_its_feedback():
    field = layered()
    x, y = data(field)
    with pytest.raises(ValueError, match=r"W_back = 0.5 W_fwd\^T.*with_feedback_gain\(0.5\)"):
        epf.ContrastiveHebbian(0.5).estimate(field.with_feedback_gain(0.4), x, y)
    with pytest.raises(ValueError, match="without layers .* is defined for symmetric weights"):
        epf.ContrastiveHebbian().estimate(graph(), *data(graph()))
    traced = eqx.filter_jit(lambda f: epf.ContrastiveHebbian().estimate(f, x, y))(field)
    assert np.all(traced.verdict == epf.Verdict.not_defined)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(traced.gradient))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: epf.ContrastiveHebbian(0.0), "feedback_gain=0: give a feedback gain above 0"),
        (lambda: epf.NonlinearBackprop(0.0), "amplitude=0: give a finite number that is not 0"),
        (lambda: RULES[0].estimate(layered(), data(layered())[0], jnp.full((3, 5), 1.5)), r"rates outside \[0, 1\]"),
    ],
)
def test_what_has_no_meaning_is_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def test_feedback_of_feature_maps_is_judged_by_its_kernels():
    """W_back = gamma A^T is the SAME kernel times gamma; taken for a matrix, it was called untied."""
    rho = epf.activation("tanh")
    drawn = epf.ConvField.create(KEY, (6, 6, 1), [(2, 3, 2)], (5, 3), activation=rho, gain=0.5)
    field = drawn.with_feedback_gain(0.5)
    x, y = data(field)
    w = np.asarray(field.recurrent_matrix())
    n = 3  # the output layer; above the blocks of the diagonal are the forward weights
    np.testing.assert_allclose(np.tril(w), 0.5 * np.triu(w).T, atol=1e-15)
    assert float(field.feedback_gain_error(jnp.asarray(0.5))) == 0
    assert float(drawn.feedback_gain_error(jnp.asarray(0.5))) > 0.1
    estimate = epf.ContrastiveHebbian(0.5, TIGHT).estimate(field, x, 0.3 * y)
    free, clamped = (np.asarray(flatten_state(s.state)) for s in (estimate.free, estimate.nudged[0]))
    rates, held = np.tanh(free), np.concatenate([0.3 * np.asarray(y), np.tanh(clamped)[:, n:]], axis=1)
    # The bias of the output, and the matrix in front of it, from the rates of both phases.
    np.testing.assert_allclose(estimate.update.biases[0], (held - rates)[:, :n].mean(axis=0), atol=1e-12)
    hebb = (held[:, :n].T @ held[:, n : n + 5] - rates[:, :n].T @ rates[:, n : n + 5]) / len(x)
    np.testing.assert_allclose(estimate.update.forward[0], hebb, atol=1e-12)
    for ahead, back in zip(estimate.update.forward[:-1], estimate.update.feedback, strict=True):
        np.testing.assert_allclose(back, 0.5 * ahead, atol=1e-15)
    with pytest.raises(ValueError, match=r"with_feedback_gain\(0.5\)"):
        epf.ContrastiveHebbian(0.5).estimate(drawn, x, 0.3 * y)
