"""Settling time and energy, from the transient."""

import numpy as np
import pytest

from eqprop_field.circuits import (
    Batch,
    Circuit,
    NgspiceMissing,
    Phase,
    Scaling,
    Shared,
    Synapses,
    Transistor,
    measure,
    schedule,
)

WEIGHTS = np.array([[0.0, 0.6, -0.5], [0.5, 0.0, 0.0], [-0.3, 0.0, 0.0]])
CIRCUIT = Circuit(
    activation="tanh",
    bounds=None,
    groups=(1, 2),
    tau=np.ones(3),
    drive=np.array([0.0, 0.0, 0.0]),
    synapses=Synapses.from_matrix(WEIGHTS),
    start=np.zeros(3),
    target=np.array([0.0]),
    schedule=schedule(20.0, 10.0, [0.5]),
)


def joules(engine, level: Transistor = Transistor()) -> list[float]:  # noqa: B008
    return [phase.joules for phase in measure(CIRCUIT, level.scaling, engine.run(level.emit(CIRCUIT)))]


def test_supplies_give_what_the_bias_currents_take(ngspice):
    """At state 0 pairs take their tail current and the mirror in front of it the same, over both supplies."""
    free, nudged = joules(Batch())
    unit = Transistor().scaling.ampere(1.0)
    # A synapse: bias and tail. The nudge likewise; its tail is 0.5 units, steered past the pair in the free phase.
    watts = 2 * unit * (np.abs(WEIGHTS).sum() + 0.5) * (0.45 + 0.9)
    assert free == pytest.approx(watts * 20 * 1e-5, rel=0.1)
    assert nudged / free == pytest.approx(0.5, rel=0.01)  # half as long, at the same power
    slower = Transistor(scaling=Scaling(0.07, 2e-5, 3.5e6))
    assert joules(Batch(), slower)[0] == pytest.approx(2 * free, rel=0.01)


def test_both_engines_measure_the_same_energy(ngspice):
    try:
        shared = Shared()
    except NgspiceMissing as error:
        pytest.skip(str(error))
    with shared:
        assert joules(shared) == pytest.approx(joules(Batch()), rel=1e-9)


def test_settling_time_of_an_exponential_is_what_paper_says():
    times = np.linspace(0, 30, 30001)
    phase = Phase(0.0, times, 0.5 * (1 - np.exp(-times))[:, None])
    assert phase.settling_time(1e-3) == pytest.approx(np.log(500), abs=2e-3)
    assert phase.joules is None
