"""The costs against their derivatives by finite differences, and against closed forms."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eqprop_field as epf


def test_quadratic_is_half_the_squared_distance():
    output, target = jnp.array([[0.0, 2.0], [1.0, 1.0]]), jnp.array([[0.0, 0.0], [1.0, 0.0]])
    np.testing.assert_array_equal(epf.Quadratic()(output, target), [2.0, 0.5])


COSTS = [
    epf.Quadratic(),
    epf.CrossEntropy(),
    epf.Huber(0.3),
    epf.Margin(0.2),
    *(epf.Matching(epf.activation(name)) for name in ("hard_sigmoid", "relu", "sigmoid", "tanh")),
]


@pytest.mark.parametrize("cost", COSTS, ids=lambda cost: f"{type(cost).__name__}")
def test_gradient_is_that_of_the_cost(cost):
    output = jax.random.normal(jax.random.key(0), (3, 4))
    target = jax.random.uniform(jax.random.key(1), (3, 4))
    h = 1e-6
    for k in range(4):
        step = h * jnp.eye(4)[k]
        numeric = (cost(output + step, target) - cost(output - step, target)) / (2 * h)
        np.testing.assert_allclose(cost.gradient(output, target)[:, k], numeric, atol=1e-8)


def test_penalty_counts_every_parameter_but_not_the_time_constants():
    field = epf.LayeredField.create(jax.random.key(0), (3, 4, 2), tau=[2.0, 3.0])
    squares = sum(float(np.sum(np.square(t))) for t in field.tensors().values())
    assert float(epf.Quadratic(0.3).penalty(field.parameters())) == pytest.approx(0.15 * squares)


def test_the_matching_loss_of_the_sigmoid_is_the_cross_entropy_less_the_targets_own():
    rho = epf.activation("sigmoid")
    output = jax.random.normal(jax.random.key(0), (3, 4))
    target = jax.random.uniform(jax.random.key(1), (3, 4))
    entropy = lambda p: -np.sum(target * np.log(p) + (1 - target) * np.log(1 - p), axis=-1)  # noqa: E731
    slope = float(rho.derivative(jnp.zeros(()))) / 0.25
    expected = (entropy(np.asarray(rho(output))) - entropy(target)) / slope
    np.testing.assert_allclose(epf.Matching(rho)(output, target), expected, atol=1e-12)


def test_the_matching_loss_of_the_linear_activation_is_quadratic_and_softplus_has_none():
    output, target = jax.random.normal(jax.random.key(0), (2, 3, 4))
    linear = epf.Matching(epf.activation("linear"))
    np.testing.assert_allclose(linear(output, target), epf.Quadratic()(output, target), atol=1e-12)
    with pytest.raises(ValueError, match="no matching loss for softplus"):
        epf.Matching(epf.activation("softplus"))


@pytest.mark.parametrize("wrong", [-1.0, float("nan"), float("inf")])
@pytest.mark.parametrize(
    "make", [epf.Quadratic, epf.Matching, lambda **options: epf.cost(lambda t, s, y: s, **options)]
)
def test_a_weight_decay_that_rewards_weights_is_refused(make, wrong):
    with pytest.raises(ValueError, match=f"weight_decay={wrong:g}: give a strength of at least 0"):
        make(weight_decay=wrong)


class Plain(epf.AbstractOutputCost):
    """Attributes as one writes them first."""

    weight_decay: float = 0.0
    power: float = 2.0

    def __call__(self, output, target):
        return 0.5 * jnp.sum(jnp.abs(output - target) ** self.power, axis=1)


class Mean(Plain):
    def __call__(self, output, target):
        return jnp.mean((output - target) ** 2)


class Each(Plain):
    def __call__(self, output, target):
        return (output - target) ** 2


def test_costs_may_have_plain_attributes_and_give_a_number_a_sample():
    field = epf.LayeredField.create(jax.random.key(0), (3, 4, 2), activation=epf.activation("tanh"))
    x, y = jax.random.uniform(jax.random.key(1), (3, 3)), jax.random.uniform(jax.random.key(2), (3, 2))
    nudging = epf.Nudging.symmetric(0.1)
    own, ours = (epf.EqProp(nudging, cost=cost).estimate(field, x, y).gradient for cost in (Plain(), epf.Quadratic()))
    for a, b in zip(jax.tree.leaves(own), jax.tree.leaves(ours), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9)
    for cost, shape in ((Mean(), r"\(\)"), (Each(), r"\(\d, 2\)")):
        with pytest.raises(ValueError, match=f"samples has the shape {shape}: give one number a sample"):
            epf.EqProp(nudging, cost=cost).estimate(field, x, y)


@pytest.mark.parametrize("rule", ["eqprop", "aep", "implicit"])
def test_a_cost_that_is_nan_at_rest_is_no_estimate(rule):
    """log of a negative state: NaN, with a slope that is finite, so that every phase settles."""
    field = epf.GraphField.create(jax.random.key(0), neurons=4, inputs=2, outputs=2, activation="tanh")
    x, y = jnp.array([[0.5, 0.2], [0.1, 0.9]]), jnp.array([[0.0, 1.0], [1.0, 0.0]])
    level = float(jnp.mean(epf.Equilibrium().settle(field, x).state[:, 0]))  # one sample is above, one below
    made = epf.named_rules([rule], epf.Nudging.symmetric(1e-2), epf.Equilibrium(tol=1e-12))[rule]
    odd = dataclasses.replace(made, cost=epf.cost(lambda theta, s, y: 1e-3 * jnp.log(s[0] - level)))
    found = odd.estimate(field, x, y, throw=False)
    assert sorted(found.verdict.tolist()) == [epf.Verdict.converged, epf.Verdict.diverged]
    good = int(jnp.argmin(found.verdict))
    alone = odd.estimate(field, x[good : good + 1], y[good : good + 1])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), found.gradient, alone.gradient)
    with pytest.raises(epf.NotSettledError, match="the cost is NaN or infinite where it rests"):
        odd.estimate(field, x, y)
