"""Seconds, joules and watts of an agreement, against what currents and time constants say; and several in one table."""

import dataclasses

import jax
import numpy as np
import pytest

import eqprop_field as epf
from eqprop_field.circuits import OtaC, Scaling, Transistor, verify, verify_each
from eqprop_field.results import with_unit

X, Y = np.array([[0.6, -0.4]]), np.array([[0.5]])
TIMES = {"free_time": 40.0, "nudged_time": 20.0, "tol": 1e-4}
LEVELS = {
    "cold": Transistor(),
    "slow": Transistor(scaling=Scaling(0.07, 4e-5, 3.5e6)),
    "ota": OtaC(linear_range=0.4),
}


@pytest.fixture(scope="module")
def field():
    return epf.LayeredField.create(jax.random.key(0), (2, 3, 1), activation=epf.activation("tanh"), gain=0.5)


@pytest.fixture(scope="module")
def found(ngspice, field):
    return verify_each(field, X, Y, 0.5, LEVELS, **TIMES)


def test_power_is_what_bias_currents_take_and_seconds_are_time_constants(field, found):
    """Every weight and the nudge take their current twice, in the mirror and in the tail, over both supplies."""
    cold, slow = found.agreements["cold"], found.agreements["slow"]
    weights = np.abs(np.asarray(field.recurrent_matrix())).sum()
    watts = 2 * Transistor().scaling.ampere(1.0) * (weights + 0.5) * (0.45 + 0.9)
    assert cold.power_watt == pytest.approx(watts, rel=0.15)
    assert cold.energy_inference_joule == pytest.approx(cold.power_watt * 40e-5, rel=1e-9)
    assert cold.energy_update_joule == pytest.approx(cold.power_watt * 60e-5, rel=0.02)
    assert slow.power_watt == pytest.approx(cold.power_watt, rel=0.01)
    assert slow.settling_free_second == pytest.approx(4 * cold.settling_free_second, rel=0.05)
    times, states = cold.samples[0].circuit[0].times, cold.samples[0].circuit[0].states
    moving = times[np.abs(states - states[-1]).max(axis=1) > 1e-3].max()
    assert moving <= cold.settling_free_second / 1e-5 < moving + 0.2
    assert np.isnan(found.agreements["ota"].power_watt) and "power" not in str(found.agreements["ota"])
    assert f"{with_unit(cold.power_watt, 'W')}: " in str(cold)


def test_what_moves_has_no_settling_time(ngspice, field):
    found = verify(field, X, Y, 0.5, level=OtaC(), free_time=2.0, nudged_time=2.0)
    assert found.verdict.name == "not_settled" and found.summary()["settling_free_second"] is None


def test_several_agreements_are_those_of_one_circuit_each(field, found):
    alone = verify(field, X, Y, 0.5, level=LEVELS["cold"], **TIMES)
    row, *_ = found.rows()
    assert row["update_cosine"] == pytest.approx(alone.update_cosine, rel=1e-9)
    assert (row["vdd"], row["vss"], row["volt_per_unit"], row["verdict"]) == (0.45, -0.9, 0.07, "agrees")
    assert [row["verdict"] for row in found.rows()] == ["agrees", "agrees", "disagrees"]  # these OTAs saturate
    assert found.summary()["agree"] == 2 and found.failure.startswith("1 of 3 circuits: ota; the first disagrees")
    assert [line.split()[-1] for line in found.lines()[1:]] == ["agrees", "agrees", "disagrees"]
    (agreeing, others) = found.plot().get_lines()
    assert len(agreeing.get_xdata()) == 2 and list(others.get_ydata()) == [2]
    with pytest.raises(ValueError, match="no circuit to compare"):
        verify_each(field, X, Y, 0.5, {})


def test_waveforms_are_the_measured_phases_in_seconds_and_volts(field, found, tmp_path):
    slow = dataclasses.replace(found.agreements["slow"], with_waveforms=True)
    assert "waveforms_0.csv" in slow.save(tmp_path)["files"]
    assert not any("waveforms" in file for file in found.save(tmp_path / "all")["files"])
    table = np.genfromtxt(tmp_path / "waveforms_0.csv", delimiter=",", names=True)
    free, nudged = slow.samples[0].circuit
    assert list(table.dtype.names) == ["phase", "beta", "time_second", "s0", "s1", "s2", "s3"]
    for k, phase in enumerate((free, nudged)):
        rows = table[table["phase"] == k]
        assert set(rows["beta"]) == {phase.beta}
        np.testing.assert_allclose(rows["time_second"], 4e-5 * phase.times, rtol=1e-12)
        np.testing.assert_allclose(rows["s2"], 0.07 * phase.states[:, 2], rtol=1e-12)


@pytest.mark.parametrize(
    ("value", "said"),
    [(5.62e-6, "5.62 uW"), (999.7e-9, "1 uW"), (0.0, "0 W"), (-0.25, "-250 mW"), (3e10, "30 GW"), (float("nan"), "")],
)
def test_quantities_are_said_with_their_unit(value, said):
    assert with_unit(value, "W") == said
