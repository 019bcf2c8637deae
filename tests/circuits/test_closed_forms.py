"""Circuits small enough that the answer is known on paper, measured in raw ngspice."""

import dataclasses

import numpy as np
import pytest

from eqprop_field.circuits import (
    TIGHT,
    Batch,
    Behavioural,
    Circuit,
    Scaling,
    ScheduleSegment,
    Synapses,
    measure,
    schedule,
)

LEVEL = Behavioural(accuracy=TIGHT)


def single(activation: str, drive: float, windows, *, bounds=None, target=None, tau=1.0, start=0.0) -> Circuit:
    return Circuit(
        activation=activation,
        bounds=bounds,
        groups=(1,),
        tau=np.array([tau]),
        drive=np.array([drive]),
        synapses=Synapses.from_matrix(np.zeros((1, 1))),
        start=np.array([start]),
        target=None if target is None else np.array([target]),
        schedule=windows,
    )


def phases(circuit: Circuit, level: Behavioural = LEVEL):
    return measure(circuit, level.scaling, Batch().run(level.emit(circuit)))


@pytest.mark.parametrize("tau", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("scaling", [Scaling(), Scaling(volt_per_unit=0.07, tau_s=1e-3, leak_ohm=7e5)])
def test_one_neuron_charges_as_an_rc(ngspice, tau, scaling):
    """s(t) = d + (s_0 - d) exp(-t / tau)."""
    (free,) = phases(single("linear", 0.8, (ScheduleSegment(10.0),), tau=tau, start=-0.4), Behavioural(scaling, TIGHT))
    np.testing.assert_allclose(free.states[:, 0], 0.8 - 1.2 * np.exp(-free.times / tau), atol=2e-5)
    assert free.times[0] == 0 and free.times[-1] == 10.0
    # |s - s_end| = 1.2 (exp(-t / tau) - exp(-10 / tau)) falls to 1e-3.
    settled = -tau * np.log(1e-3 / 1.2 + np.exp(-10 / tau))
    assert free.settling_time(1e-3) == pytest.approx(settled, abs=0.05 * tau)


def test_nudged_neuron_relaxes_faster_to_the_weighted_mean(ngspice):
    """s' = d - s + beta (y - s): from d to (d + beta y) / (1 + beta) at the rate 1 + beta."""
    _, nudged = phases(single("tanh", 0.2, schedule(30.0, 12.0, [0.5]), target=1.0))
    rest = (0.2 + 0.5) / 1.5
    np.testing.assert_allclose(nudged.states[:, 0], rest + (0.2 - rest) * np.exp(-1.5 * nudged.times), atol=1e-5)
    assert nudged.end[0] == pytest.approx(rest, abs=1e-8)


def test_clamp_is_entered_and_left(ngspice):
    """d = 1.5 drives the state to the bound at t = ln 3; a nudge to 0 with beta = 1 takes it away again."""
    circuit = single("hard_sigmoid", 1.5, schedule(20.0, 15.0, [1.0]), bounds=(0.0, 1.0), target=0.0)
    free, nudged = phases(circuit)
    np.testing.assert_allclose(free.states[:, 0], np.minimum(1.5 * (1 - np.exp(-free.times)), 1.0), atol=2e-5)
    np.testing.assert_allclose(nudged.states[:, 0], 0.75 + 0.25 * np.exp(-2 * nudged.times), atol=5e-5)


def test_clamp_holds_at_the_lower_bound_until_pushed_up(ngspice):
    """The nudge beta (y - s) = 2 against the drive -0.5: s' = 1.5 - 3 s from 0."""
    circuit = single("relu", -0.5, schedule(20.0, 10.0, [2.0]), bounds=(0.0, float("inf")), target=1.0)
    free, nudged = phases(circuit)
    np.testing.assert_array_equal(free.states, 0.0)
    np.testing.assert_allclose(nudged.states[:, 0], 0.5 * (1 - np.exp(-3 * nudged.times)), atol=5e-5)


def test_without_the_clamp_the_state_overshoots_the_bound(ngspice):
    (free,) = phases(single("hard_sigmoid", 1.5, (ScheduleSegment(20.0),)))
    assert free.end[0] == pytest.approx(1.5, abs=1e-7)


def test_two_nudges_in_one_transient_start_from_the_same_free_state(ngspice):
    circuit = single("linear", 0.2, schedule(30.0, 20.0, [0.4, -0.4]), target=1.0)
    free, plus, back, minus = phases(circuit)
    assert plus.end[0] == pytest.approx(0.6 / 1.4, abs=1e-8)
    assert back.end[0] == pytest.approx(free.end[0], abs=1e-8)
    assert minus.end[0] == pytest.approx((0.2 - 0.4) / 0.6, abs=1e-5)  # the rate is 0.6: exp(-12) is left
    assert [phase.times[0] for phase in (plus, back, minus)] == [0.0, 0.0, 0.0]


def test_explicit_inputs_are_the_folded_drive(ngspice, pair):
    weights, rates = np.array([[0.5, -0.2], [0.0, 0.3]]), np.array([0.9, 0.4])
    explicit = dataclasses.replace(pair, input_rates=rates, input_synapses=Synapses.from_matrix(weights))
    folded = dataclasses.replace(pair, drive=pair.drive + weights @ rates)
    for one, other in zip(phases(explicit), phases(folded), strict=True):
        np.testing.assert_allclose(one.end, other.end, atol=1e-9)


def test_resampling_reaches_third_order_accuracy(ngspice):
    (free,) = phases(single("linear", 0.8, (ScheduleSegment(10.0),)))
    times = np.linspace(0, 10, 777)
    np.testing.assert_allclose(free.at(times)[:, 0], 0.8 * (1 - np.exp(-times)), atol=2e-5)
