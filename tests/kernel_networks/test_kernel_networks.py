"""Networks of kernels against direct recurrences in numpy, and what is refused."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eqprop_field.kernel_networks import (
    AIF,
    LNL,
    LSTM,
    AbstractUnit,
    KernelNetwork,
    Kernels,
    Linear,
    Mixture,
    Nodes,
    SoftMax,
    Sparse,
    TypedLNL,
    check_unit,
    gate,
    squash,
)
from eqprop_field.kernel_networks.nodes import structure_of
from eqprop_field.signals import ExplodedError, Signal

SIZES = {"units": 3, "inputs": 2, "outputs": 2}
UNITS = {
    "L": Linear(**SIZES),
    "LNL": LNL(**SIZES, gain=0.7),
    "TypedLNL": TypedLNL(**SIZES),
    "LSTM": LSTM(**SIZES),
    "AIF": AIF(**SIZES),
    "SoftMax": SoftMax(**SIZES),
    "Sparse": Sparse(units=5, inputs=2, outputs=2),
    "Mixture": Mixture.of(LNL(units=2, inputs=2), AIF(units=2, inputs=2)),
}


def zeta01(u):
    return 1 / (1 + np.exp(-4 * u))


def sums(w, x, u):
    """offset + W x + V u."""
    n = len(x)
    return w[:, 0] + w[:, 1 : 1 + n] @ x + w[:, 1 + n : 1 + n + len(u)] @ u


def linear(unit, w, x, memory, u):
    return sums(w["x"], x, u), memory


def lnl(unit, w, x, memory, u):
    return w["l"][:, 0] * x + unit.gain * np.tanh(sums(w["z"], x, u)), memory


def typed(unit, w, x, memory, u):
    keep = zeta01(w["f"][:, 0] + w["f"][:, 1] * x)
    return keep * x + (1 - keep) * (w["z"] @ np.concatenate([x, u])), memory


def lstm(unit, w, x, memory, u):
    out, forget, into = (zeta01(sums(w[k], x, u) + w[k][:, -1] * memory) for k in ("out", "forget", "in"))
    memory = forget * memory + into * np.tanh(sums(w["g"], x, u))
    return out * np.tanh(memory), memory


def aif(unit, w, x, memory, u):
    spikes = zeta01(w["v"][:, 0] * (x - unit.threshold))
    return w["x"][:, -1] * (1 - spikes) * x + sums(w["x"], spikes, u), memory


def softmax(unit, w, x, memory, u):
    e = np.exp(sums(w["z"], x, u))
    return e / e.sum(), memory


def sparse(unit, w, x, memory, u):
    z = w["z"][:, 0] + w["z"][:, 1 : 1 + len(u)] @ u + (w["z"][:, 1 + len(u) :] * x[unit.sources]).sum(1)
    return unit.leak * x + np.maximum(z, 0), memory


RECURRENCES = {
    "L": linear,
    "LNL": lnl,
    "TypedLNL": typed,
    "LSTM": lstm,
    "AIF": aif,
    "SoftMax": softmax,
    "Sparse": sparse,
}


@pytest.fixture(scope="module")
def drive() -> Signal:
    return Signal.sampled(np.random.default_rng(1).normal(size=(12, 2, 2)))


@pytest.mark.parametrize("name", RECURRENCES)
def test_kernels_are_the_recurrence(name, drive):
    """C5: the sum of kernels and the recurrence as it is printed give the same."""
    unit = UNITS[name]
    network = KernelNetwork.create(unit, jax.random.key(2), spread=0.6)
    w = {k: np.asarray(v) for k, v in network.weights.items()}
    states = np.asarray(network.run(drive).states)
    for b in range(2):
        x, memory = np.zeros(unit.units), np.zeros(unit.units)
        for k in range(1, 12):
            x, memory = RECURRENCES[name](unit, w, x, memory, np.asarray(drive.values[k - 1, b]))
            np.testing.assert_allclose(states[k, b, : unit.units], x, atol=1e-13)
    assert (states[0] == 0).all()


def test_units_of_a_mixture_read_each_other(drive):
    unit = UNITS["Mixture"]
    network = KernelNetwork.create(unit, jax.random.key(2), spread=0.6)
    w = {k: np.asarray(v) for k, v in network.weights.items()}
    states = np.asarray(network.run(drive).states)
    x, y = np.zeros(2), np.zeros(2)
    for k in range(1, 12):
        u = np.asarray(drive.values[k - 1, 0])
        spikes = zeta01(w["1.v"][:, 0] * (y - 0.5))
        sent = np.concatenate([x, spikes])
        x = w["0.l"][:, 0] * x + np.tanh(sums(w["0.z"], sent, u))
        y = w["1.x"][:, -1] * (1 - spikes) * y + sums(w["1.x"], sent, u)
        np.testing.assert_allclose(states[k, 0, :2], x, atol=1e-13)
        np.testing.assert_allclose(structure_of(unit).split(jnp.asarray(states))["1.x"][k, 0], y, atol=1e-13)


@pytest.mark.parametrize("name", UNITS)
def test_derivatives_are_those_of_finite_differences(name):
    check_unit(UNITS[name])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mine(AbstractUnit):
    """A user's unit: a product of two lags, by its kernel alone; its derivative may be given, and wrong."""

    slope: float = 1.0

    def nodes(self):
        @jax.custom_jvp
        def sine(u):
            return jnp.sin(u)

        sine.defjvps(lambda tangent, _, u: self.slope * jnp.cos(u) * tangent)

        def kernels(context):
            product = sine(context.delayed("x", 1)) * context.delayed("x", 3)
            return Kernels(per_node=product[..., None], shared=context.inputs(2))

        return (Nodes("x", self.units, kernels=kernels),)


def test_a_unit_of_the_users_own_runs_with_its_lags(drive):
    network = KernelNetwork.create(Mine(units=2, inputs=2), jax.random.key(0))
    assert (network.structure.max_lag, network.structure.max_input_lag) == (3, 2)
    w, x = np.asarray(network.weights["x"]), np.zeros((15, 2))
    u = np.concatenate([np.zeros((2, 2)), np.asarray(drive.values[:, 0])])
    for k in range(1, 12):  # x[k + 3] is sample k, u[k + 2] too
        x[k + 3] = w[:, 2] * np.sin(x[k + 2]) * x[k] + w[:, :2] @ u[k]
    np.testing.assert_allclose(network.run(drive).states[:, 0], x[3:], atol=1e-14)
    check_unit(Mine(units=2, inputs=2))


def test_a_wrong_derivative_is_caught():
    with pytest.raises(ValueError, match=r"the derivative of nodes 'x' differs"):
        check_unit(Mine(units=2, inputs=2, slope=1.01))


def unit_with(*groups):
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Unit(AbstractUnit):
        def nodes(self):
            return groups

    return Unit(units=2)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ((Nodes("x", 2, unweighted=lambda r: r.current("x")),), "read each other at the same instant: x -> x"),
        ((Nodes("x", 2, unweighted=lambda r: r.current("y")),), "reads 'y', but this unit has x"),
        ((Nodes("x", 2, unweighted=lambda r: r.delayed("x", 0)),), "the lag is at least 1"),
        ((Nodes("x", 2, unweighted=lambda r: r.inputs(-1)),), "later steps cannot be read"),
        ((Nodes("x", 2, unweighted=lambda r: r.inputs(1)),), r"gave the shape \(1, 1\)"),
        ((Nodes("x", 2, kernels=lambda r: Kernels()),), "have no kernels"),
        ((Nodes("x", 2, kernels=lambda r: Kernels(r.constant)),) * 2, "name every group differently"),
    ],
)
def test_units_that_do_not_fit_together_are_refused(groups, message):
    with pytest.raises(ValueError, match=message):
        structure_of(unit_with(*groups))


def test_other_impossible_units_are_refused():
    with pytest.raises(ValueError, match="either an unweighted term or kernels"):
        Nodes("x", 2)
    with pytest.raises(ValueError, match="at least one node"):
        Nodes("x", 0, unweighted=lambda r: r.constant)
    with pytest.raises(ValueError, match="outputs <= units"):
        LNL(units=2, outputs=3)
    with pytest.raises(ValueError, match="at least two units"):
        Mixture.of(LNL(units=2))
    with pytest.raises(ValueError, match="cannot be mixed"):
        Mixture.of(LNL(units=2), Sparse(units=4))


def test_weights_are_held_bounded_and_shared():
    network = KernelNetwork.create(LNL(**SIZES), jax.random.key(0), spread=0.5)
    size = network.parameters.size
    assert size == 3 + 3 * 6
    assert float(network.high.min()) == 0.999 and (np.asarray(network.weights["l"]) >= 0).all()
    frozen = network.freeze("z", 0.0, np.s_[:, 0])
    assert frozen.parameters.size == size - 3 and (np.asarray(frozen.weights["z"][:, 0]) == 0).all()
    positive = frozen.bound("z", 0.0, np.inf, np.s_[:, 1:4])
    assert (np.asarray(positive.weights["z"][:, 1:4]) >= 0).all()
    np.testing.assert_array_equal(positive.with_parameters(-jnp.ones(size - 3)).weights["z"][:, 1:4], 0)
    shared = frozen.share(("z", 0, 1), ("z", 1, 2), ("l", 2, 0))
    assert shared.sharing and not frozen.sharing and shared.parameters.size == size - 5
    moved = shared.with_parameters(shared.parameters + 0.25)
    assert float(moved.weights["z"][0, 1]) == float(moved.weights["z"][1, 2]) == float(moved.weights["l"][2, 0])
    np.testing.assert_allclose(moved.parameters, shared.clip(shared.parameters + 0.25))


def test_impossible_weights_are_refused(drive):
    network = KernelNetwork.create(LNL(**SIZES), jax.random.key(0))
    with pytest.raises(ValueError, match="nodes 'x' have no weights; those that have: l, z"):
        network.with_weights("x", 0.0)
    with pytest.raises(ValueError, match="give the lower one first"):
        network.bound("z", 1.0, 0.0)
    with pytest.raises(ValueError, match="none of which is frozen"):
        network.freeze("l").share(("l", 0, 0), ("z", 0, 0))
    with pytest.raises(ValueError, match="give a standard deviation"):
        KernelNetwork.create(LNL(**SIZES), jax.random.key(0), spread=-1.0)
    with pytest.raises(ValueError, match="the signal has 1 channels"):
        network.run(Signal.sampled(np.zeros((4, 1))))


def test_an_explosion_is_not_passed_off_as_a_run():
    network = KernelNetwork.create(Linear(units=2), jax.random.key(0)).with_weights("x", 3.0)
    long = Signal.sampled(np.ones((60, 1)))
    with pytest.raises(ExplodedError, match="1 of 1 sequences exploded"):
        network.run(long)
    assert network.run(long, throw=False).exploded.all()


def test_squashing_functions():
    u = np.linspace(-3, 3, 13)
    np.testing.assert_allclose(gate(jnp.asarray(u)), zeta01(u), atol=2e-16)
    for low, high in ((-1.0, 1.0), (0.0, 1.0), (-0.5, 2.0)):
        assert float(jax.grad(lambda v, a=low, b=high: squash(v, a, b))(0.0)) == pytest.approx(1, abs=1e-15)
        assert float(squash(jnp.asarray(1e4), low, high)) == high and float(squash(jnp.asarray(-1e4), low, high)) == low
