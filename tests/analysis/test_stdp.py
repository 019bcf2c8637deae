"""STDP from the rate rule, against integrals by scipy, closed forms and the statistics of Poisson processes."""

import jax
import numpy as np
import pytest
import scipy.integrate

import eqprop_field as epf

KEY = jax.random.key(3)
U = np.arange(-80.0, 81.0, 4.0)


@pytest.fixture(scope="module")
def poisson():
    return epf.poisson_pairs(KEY, trials=1000)


@pytest.fixture(scope="module")
def histogram():
    return epf.rate_histogram(KEY, trials=1500)


def test_the_curve_of_a_pair_is_odd_and_has_the_sign_of_causality():
    found = epf.spike_pairs(U)
    assert found.oddness < 1e-6
    assert (found.change * U >= 0).all() and (found.change[U > 0] > 0.05 * found.change.max() * np.exp(-4)).all()
    assert U[np.argmax(found.change)] == 4.0


def test_the_closed_form_is_the_integral_by_quadrature():
    def r(t):
        return (np.exp(-t / 20) - np.exp(-t / 2)) * (t >= 0)

    def slope(t):
        return (-np.exp(-t / 20) / 20 + np.exp(-t / 2) / 2) * (t >= 0)

    found = epf.spike_pairs(U[::5])
    for u, exact in zip(found.interval, found.closed_form, strict=True):
        numeric, _ = scipy.integrate.quad(lambda t, u=u: r(t) * slope(t - u), max(u, 0), 900, limit=400, epsabs=1e-12)
        assert exact == pytest.approx(numeric, abs=1e-9)


def test_the_midpoint_rule_converges_to_the_closed_form_with_second_order():
    steps = np.array([0.4, 0.2, 0.1])
    errors = [np.abs(f.change - f.closed_form).max() for f in (epf.spike_pairs(U, step=h) for h in steps)]
    assert errors[-1] < 1e-4
    assert np.polyfit(np.log(steps), np.log(errors), 1)[0] == pytest.approx(2.0, abs=0.2)


def test_the_tail_has_the_time_constant_of_the_trace():
    late = np.arange(100.0, 200.0, 10.0)
    found = epf.spike_pairs(late)
    assert -1 / np.polyfit(late, np.log(found.change), 1)[0] == pytest.approx(20.0, abs=1e-3)


def test_on_poisson_trains_the_curve_is_the_rate_rule(poisson):
    assert len(poisson.expected) == 21
    assert poisson.regression == pytest.approx(1.0, abs=0.1)
    assert poisson.r_squared > 0.9
    # Every point within its own error of the closed form, not the regression alone.
    z = (poisson.measured - poisson.expected) / poisson.error
    assert (z**2).mean() < 2.0 and np.abs(z).max() < 4.5


def test_trains_cut_at_the_same_edges_lose_half():
    found = epf.poisson_pairs(KEY, margin=0.0, duration=600.0, slopes=(-0.1, 0.1), trials=3000)
    assert found.regression == pytest.approx(0.5, abs=0.12)


def test_without_a_drift_or_presynaptic_spikes_nothing_is_learnt():
    found = epf.poisson_pairs(KEY, pre_rates=(0.0, 20.0), slopes=(0.0,), trials=1000)
    assert found.measured[0] == 0.0
    assert abs(found.measured[1]) < 4.5 * found.error[1]


def test_the_rate_rule_sorts_random_pairs_into_the_curve(histogram):
    near = np.abs(histogram.centres) < 40
    assert (np.sign(histogram.change[near]) == np.sign(histogram.centres[near])).all()
    middle = len(histogram.centres) // 2
    np.testing.assert_allclose(1e5 * histogram.change[middle - 1 : middle + 1], [-87, 83], atol=25)
    z = (histogram.change - histogram.expected) / histogram.error
    assert (z**2).mean() < 2.5 and np.abs(z).max() < 4.5


def test_the_histogram_counts_the_pairs_that_poisson_trains_have(histogram):
    starts = 600 - 2 * 120
    expected = 1500 * starts * 0.02 * 0.04 * 10
    np.testing.assert_allclose(histogram.pairs, expected, rtol=0.05)


@pytest.mark.parametrize(
    "make",
    [
        lambda: epf.spike_pairs(U, rise=20.0, decay=20.0),
        lambda: epf.spike_pairs(U, step=0.0),
        lambda: epf.spike_pairs([np.nan]),
        lambda: epf.poisson_pairs(KEY, slopes=[0.2]),
        lambda: epf.poisson_pairs(KEY, margin=700.0),
        lambda: epf.poisson_pairs(KEY, trials=0),
        lambda: epf.rate_histogram(KEY, widest=55),
        lambda: epf.stdp(KEY, trials=0),
        lambda: epf.rate_histogram(KEY, duration=200.0),
        lambda: epf.rate_histogram(KEY, steepest=1.0),
    ],
)
def test_what_cannot_be_measured_is_refused(make):
    with pytest.raises(ValueError, match=r"give|must|needs|may not"):
        make()
