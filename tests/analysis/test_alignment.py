"""The alignment sweep against one network at a time, and what it does with samples that have no direction."""

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eqprop_field as epf

KEY = jax.random.key(2)
# What rest is, and what its checks say, is the subject of other tests: here they would only be compiled.
TIGHT = epf.Equilibrium(tol=1e-12, check_stability=False)
RULES = {"eqprop": epf.EqProp(epf.Nudging.symmetric(1e-4), TIGHT)}
CS = np.array([-1.0, 0.3, 1.0])


def cosine(a, b):
    a, b = (np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)]) for tree in (a, b))
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


@functools.cache
def fields():
    tanh = epf.activation("tanh")
    return [
        epf.GraphField.create(KEY, neurons=14, inputs=4, outputs=3, activation=tanh, gain=0.4),
        epf.LayeredField.create(KEY, (4, 6, 5, 3), activation=tanh, gain=0.4),
    ]


def data(samples):
    return jax.random.uniform(KEY, (samples, 4)), jax.random.uniform(jax.random.key(1), (samples, 3))


@pytest.mark.parametrize("template", fields(), ids=["graph", "layered"])
def test_sweep_is_one_network_and_sample_at_a_time(template):
    x, y = data(2)
    keys = jax.random.split(KEY, 2)
    sweep = epf.align(template, x, y, symmetries=CS, keys=keys, rules=RULES)
    assert sweep.cosine.shape == (1, 3, 2, 2, len(template.layers()) + 1)
    for c, k, n in ((0, 0, 0), (1, 1, 0), (2, 0, 1)):
        field = template.reinitialise(keys[k], CS[c])
        x_n, y_n = x[n : n + 1], y[n : n + 1]
        rule = RULES["eqprop"].estimate(field, x_n, y_n)
        true = epf.ImplicitGradient(TIGHT).estimate(field, x_n, y_n)
        assert sweep.cosine[0, c, k, n, 0] == pytest.approx(cosine(rule.gradient, true.gradient), abs=1e-7)
        for place, name in enumerate(template.layers(), start=1):
            expected = cosine(*(e.gradient.layers()[name] for e in (rule, true)))
            assert sweep.cosine[0, c, k, n, place] == pytest.approx(expected, abs=1e-7)
        drive = field.drive(x_n)
        asymmetry = epf.jacobian_asymmetry(field, drive, rule.free.state)[0]
        assert sweep.jacobian_asymmetry[c, k, n] == pytest.approx(float(asymmetry), abs=1e-9)
        assert sweep.weight_symmetry[c, k] == pytest.approx(float(epf.weight_symmetry(field)), abs=1e-12)


def test_jacobian_asymmetry_is_the_norm_ratio_among_moving_neurons():
    field = epf.GraphField.create(KEY, neurons=9, inputs=4, outputs=3, gain=1.0)
    x, _ = data(1)
    solution = TIGHT.settle(field, x)
    s, w = np.asarray(solution.state[0]), np.asarray(field.recurrent_matrix())
    inside = (s > 0) & (s < 1)
    assert 2 <= inside.sum() < 9
    j = (w - np.eye(9))[np.ix_(inside, inside)]
    expected = np.linalg.norm(j - j.T) / np.linalg.norm(j + j.T)
    found = epf.jacobian_asymmetry(field, field.drive(x), solution.state)
    held = 9 - inside.sum()  # rows and columns of held neurons count as 0 on both sides
    assert held > 0 and float(found[0]) == pytest.approx(expected, rel=1e-10)


def test_symmetric_hard_sigmoid_aligns_and_every_row_says_so():
    template = epf.GraphField.create(KEY, neurons=20, inputs=4, outputs=3, gain=0.3)
    x, y = data(5)
    rules = {"eqprop": epf.EqProp(epf.Nudging.symmetric(1e-6), epf.Equilibrium(tol=1e-14, check_stability=False))}
    sweep = epf.align(template, x, y, symmetries=[1.0], keys=jax.random.split(KEY, 4), rules=rules)
    used = [row for row in sweep.rows() if row["verdict"] == "converged"]
    assert len(used) > 30
    assert all(abs(row["cosine"] - 1) < 1e-9 for row in used)
    columns = "rule, symmetry, seed, sample, layer, cosine, jacobian_asymmetry, weight_symmetry, beta, verdict, network"
    assert list(used[0]) == columns.split(", ")


def test_degenerate_samples_are_named_and_never_averaged_in():
    """Outputs held at 0 by a strong negative bias have no gradient; a strong ring never settles."""
    template = epf.GraphField.create(KEY, neurons=6, inputs=4, outputs=3, gain=0.3)
    dead = eqx.tree_at(lambda f: f.biases, template, template.biases.at[:3].set(-50.0))
    x, y = data(4)
    sweep = epf.align(dead, x, y, symmetries=[0.0], keys=KEY[None], rules=RULES)
    (overall, *_) = sweep.means()
    assert overall["samples"] == 0 and overall["mean_cosine"] is None
    assert overall["left_out"] == {"zero_gradient": 4}
    assert {row["verdict"] for row in sweep.rows()} == {"zero_gradient"}
    assert {row["cosine"] for row in sweep.rows()} == {None}
    assert sweep.failure is not None and sweep.summary()["left_out"] == {"zero_gradient": 4}

    wild = dataclasses.replace(template, gain=30.0, activation=epf.activation("tanh"), projected=False)
    impatient = {
        "eqprop": epf.EqProp(
            epf.Nudging.symmetric(1e-4), epf.Equilibrium(tol=1e-12, solver=epf.Sweeps(200), check_stability=False)
        )
    }
    sweep = epf.align(wild, x, y, symmetries=[-1.0], keys=jax.random.split(KEY, 3), rules=impatient)
    (overall, *_) = sweep.means()
    assert overall["left_out"]["not_settled"] > 0
    used = sweep.cosine[0, 0, :, :, 0][sweep.codes[0, 0, :, :, 0] == 0]
    assert overall["samples"] + sum(overall["left_out"].values()) == 12
    assert overall["mean_cosine"] is None if used.size == 0 else overall["mean_cosine"] == pytest.approx(used.mean())


def test_the_whole_sweep_is_traced_once_and_new_numbers_never_again():
    traces = [0]

    def function(state):
        traces[0] += 1
        return jnp.tanh(state)

    counted = dataclasses.replace(epf.activation("tanh"), function=function)
    template = epf.GraphField.create(KEY, neurons=8, inputs=4, outputs=3, activation=counted)
    x, y = data(3)
    keys = jax.random.split(KEY, 4)
    epf.align(template, x, y, symmetries=CS, keys=keys, rules=RULES)
    once = traces[0]
    assert 0 < once < 60  # far fewer than the 36 samples would take one by one, a dozen traces each
    other = {"eqprop": epf.EqProp(epf.Nudging.symmetric(0.02), epf.Equilibrium(tol=1e-7, check_stability=False))}
    epf.align(template, y @ jnp.ones((3, 4)), y, symmetries=CS / 2, keys=keys[::-1], rules=other)
    assert traces[0] == once


def test_without_symmetries_it_is_this_network_that_is_measured():
    """A random network and the same with no feedback at all; their cosines are those of one estimate at a time."""
    x, y = data(2)
    field = fields()[1]
    deaf = eqx.tree_at(lambda f: f.feedback, field, tuple(jnp.zeros_like(w) for w in field.feedback))
    for own in (field, deaf):
        found = epf.align(own, x, y, rules=RULES)
        assert found.cosine.shape == (1, 1, 1, 2, 4) and not found.drawn
        assert found.symmetries == pytest.approx([float(epf.weight_symmetry(own))])
        for n in range(2):
            pair = x[n : n + 1], y[n : n + 1]
            rule, true = (r.estimate(own, *pair).gradient for r in (RULES["eqprop"], epf.ImplicitGradient(TIGHT)))
            assert found.cosine[0, 0, 0, n, 0] == pytest.approx(cosine(rule, true), abs=1e-7)
    with pytest.raises(ValueError, match="give symmetries too"):
        epf.align(field, x, y, rules=RULES, keys=KEY[None])


def test_a_rule_is_compared_with_the_truth_where_it_rests_itself():
    """Two equilibria: Euler steps of another length come to the other one, where backpropagation is exact too."""
    template = epf.GraphField.create(KEY, neurons=6, inputs=2, outputs=2, activation=epf.activation("tanh"), gain=8.0)
    x, y = jax.random.uniform(KEY, (2, 2)), jax.random.uniform(jax.random.key(1), (2, 2))
    rules = {
        "aep": epf.AEP(epf.Nudging.symmetric(1e-4), epf.Equilibrium(tol=1e-9)),
        "bptt": epf.BPTT(epf.EulerSteps(800, step=0.2, tol=1e-7)),
    }
    keys = jax.random.split(KEY, 20)
    found = epf.align(template, x, y, symmetries=[1.0], keys=keys, rules=rules)
    cosines = found.cosine[1][found.codes[1] == epf.Verdict.converged]
    assert cosines.size > 30
    np.testing.assert_allclose(cosines, 1, atol=1e-5)


def test_the_truth_is_of_each_rules_own_cost():
    x, y = data(2)
    rules = {
        name: epf.AEP(epf.Nudging.symmetric(1e-4), TIGHT, cost)
        for name, cost in (("quadratic", epf.Quadratic()), ("huber", epf.Huber(0.1)), ("wider", epf.Huber(0.2)))
    }
    found = epf.align(fields()[1], x, y, rules=rules)
    np.testing.assert_allclose(found.cosine, 1, atol=1e-6)
    of_one = epf.align(fields()[1], x, y, rules=rules, truth=epf.ImplicitGradient(cost=epf.Huber(0.1)))
    np.testing.assert_allclose(of_one.cosine[1], 1, atol=1e-6)
    assert np.nanmin(of_one.cosine[[0, 2], ..., 0], axis=(1, 2, 3)).max() < 0.99


def test_parts_that_fit_in_memory_give_the_same_sweep(monkeypatch):
    template = fields()[0]
    x, y = data(2)
    keys = jax.random.split(KEY, 2)
    whole = epf.align(template, x, y, symmetries=CS, keys=keys, rules=RULES)
    monkeypatch.setattr("eqprop_field.analysis.alignment._CHUNK_BYTES", 2 * 2 * 8 * 300)
    done = []
    parts = epf.align(
        template, x, y, symmetries=CS, keys=keys, rules=RULES, progress=lambda k, of: done.append((k, of))
    )
    assert len(done) > 1 and done[-1] == (len(done), len(done))
    np.testing.assert_allclose(parts.cosine, whole.cosine, atol=1e-9)


@pytest.mark.parametrize("symmetries", [[1.5], [0.0, float("nan")]])
def test_symmetries_outside_the_interval_are_refused(symmetries):
    x, y = data(1)
    with pytest.raises(ValueError, match="lies between -1 and 1"):
        epf.align(fields()[0], x, y, symmetries=symmetries, keys=KEY[None], rules=RULES)


def test_rules_that_refuse_the_network_are_left_out_on_request():
    x, y = data(1)
    rules = epf.named_rules(["eqprop", "eqprop-holomorphic"], epf.Nudging.symmetric(1e-4), TIGHT)
    clipped = epf.LayeredField.create(KEY, (4, 5, 3))
    sweep = {"rules": rules, "symmetries": [1.0], "keys": KEY[None]}
    found = epf.align(clipped, x, y, **sweep, leave_out=True)
    assert found.rules == ("eqprop",) and "complex" in found.refused["eqprop-holomorphic"]
    assert found.lines()[-1].startswith("left out: eqprop-holomorphic, for ")
    with pytest.raises(ValueError, match="complex"):
        epf.align(clipped, x, y, **sweep)
    alone = {"eqprop-holomorphic": rules["eqprop-holomorphic"]}
    with pytest.raises(ValueError, match=r"no rule can serve this network: .*complex"):
        epf.align(clipped, x, y, **sweep | {"rules": alone}, leave_out=True)


def test_named_rules_nudge_as_they_are_told_unless_their_name_says_how():
    rules = epf.named_rules(["eqprop", "eqprop-one-sided", "aep"], epf.Nudging.one_sided(0.3), TIGHT)
    assert [len(rule.nudging.betas) for rule in rules.values()] == [1, 1, 1]
    assert set(epf.named_rules(epf.RULES, epf.Nudging.symmetric(0.3), TIGHT)) == set(epf.RULES)
    with pytest.raises(ValueError, match="unknown rule 'magic'"):
        epf.named_rules(["magic"], epf.Nudging.symmetric(0.3), TIGHT)
