"""Fidelity: what is said of a circuit's updates, against finite differences and limits that must hold."""

import dataclasses
import math

import jax
import numpy as np
import pytest

import eqprop_field as epf
from eqprop_field.circuits import (
    SWEPT_PARAMETERS,
    Batch,
    Chip,
    Conditions,
    Fidelity,
    FidelitySweep,
    MonteCarlo,
    NgspiceSubstrate,
    OnChip,
    SweptParameter,
    Variation,
    fidelity,
    montecarlo,
    update_fidelity,
)

X, Y = np.array([[0.3, 0.8], [0.9, 0.1]]), np.array([[0.9], [0.2]])
CHIP = Conditions(variation=Variation.everywhere(0.1, 0.05), beta=0.01)


@pytest.fixture(scope="module")
def net() -> epf.LayeredField:
    return epf.LayeredField.create(jax.random.key(1), (2, 3, 1), activation=epf.activation("tanh"), gain=0.7)


def chip_of(net: epf.LayeredField, conditions: Conditions, number: int) -> Chip:
    return Chip.draw(jax.random.fold_in(jax.random.key(0), number), net, conditions.variation)


def test_chip_gradient_is_what_finite_differences_of_the_chip_say(ngspice, net):
    """Every programmed parameter is changed a little, and the chip settled again."""
    substrate = OnChip(chip_of(net, CHIP, 4), epf.Equilibrium(tol=1e-13))
    parameters, back = jax.flatten_util.ravel_pytree(net.parameters())

    @jax.jit
    def cost(flat, x, y):
        field = jax.tree.map(lambda new, old: old if new is None else new, back(flat), net, is_leaf=lambda n: n is None)
        return epf.Quadratic()(substrate.settle(field, x[None], throw=False).state[0], y[None])[0]

    circuit = NgspiceSubstrate(chip=substrate.chip, free_time=60.0, nudged_time=60.0)
    measured = epf.EqProp(epf.Nudging.symmetric(0.01), circuit)
    cosines = []
    for x, y in zip(X, Y, strict=True):
        steps = 1e-4 * np.eye(len(parameters))
        true = np.array([cost(parameters + h, x, y) - cost(parameters - h, x, y) for h in steps])
        ours = jax.flatten_util.ravel_pytree(measured.estimate(net, x[None], y[None]).gradient)[0]
        cosines.append(ours @ true / np.linalg.norm(ours) / np.linalg.norm(true))
    found = update_fidelity(net, X, Y, dataclasses.replace(CHIP, time=60.0), chip=4)
    assert found.cosine_to_chip_gradient == pytest.approx(np.mean(cosines), abs=1e-5)
    assert abs(found.cosine_to_chip_gradient - found.cosine_to_nominal_gradient) > 1e-3  # it is not the nominal one
    assert found.lowest_cosine <= found.cosine_to_nominal_gradient
    assert found.settled == 1.0 and found.failed == 0 and math.isnan(found.joules_update)


def test_nominal_circuit_does_ideal_equilibrium_propagation(ngspice, net):
    found = update_fidelity(net, X, Y, Conditions(beta=0.01))
    assert found.cosine_to_ideal_eqprop > 1 - 1e-6
    assert found.cosine_to_chip_gradient == pytest.approx(found.cosine_to_nominal_gradient, abs=1e-6)
    assert 4 < found.settling_free < 40


@pytest.mark.parametrize("name", list(SWEPT_PARAMETERS))
def test_a_parameter_at_its_bad_end_makes_updates_worse(ngspice, net, name):
    wider = {"time": (32.0, 1.0), "gain": (1e4, 5.0), "bandwidth": (1000.0, 0.3), "bits": (8.0, 1.0)}
    good, bad = wider.get(name, (SWEPT_PARAMETERS[name].values[0], SWEPT_PARAMETERS[name].values[-1]))
    better, worse = (
        update_fidelity(net, X, Y, SWEPT_PARAMETERS[name].apply(Conditions(), value), chip=1) for value in (good, bad)
    )
    assert better.cosine_to_ideal_eqprop > 0.999
    assert worse.cosine_to_ideal_eqprop < better.cosine_to_ideal_eqprop - 1e-5


def test_simulators_that_fail_are_counted_and_not_averaged(net, tmp_path):
    broken = tmp_path / "ngspice"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    found = update_fidelity(net, X, Y, Conditions(), engine=Batch(broken))
    assert found.failed == 2 and found.settled == 0.0
    assert all(
        math.isnan(value)
        for value in (
            found.cosine_to_ideal_eqprop,
            found.cosine_to_chip_gradient,
            found.cosine_to_nominal_gradient,
            found.settling_free,
        )
    )


def test_phases_that_were_too_short_say_so(ngspice, net):
    found = update_fidelity(net, X, Y, Conditions(time=1.0))
    assert found.settled == 0.0 and found.cosine_to_ideal_eqprop < 0.9


def test_conditions_without_meaning_are_refused():
    for wrong, says in (({"beta": 0.0}, "beta"), ({"time": -1.0}, "time"), ({"noise": math.inf}, "noise")):
        with pytest.raises(ValueError, match=says):
            Conditions(**wrong)


def test_chips_of_two_seeds_differ_and_of_one_do_not(ngspice, net):
    one, same, other = (update_fidelity(net, X, Y, CHIP, chip=2, seed=seed) for seed in (5, 5, 6))
    assert one == dataclasses.replace(same, joules_inference=one.joules_inference, joules_update=one.joules_update)
    assert one.cosine_to_nominal_gradient != other.cosine_to_nominal_gradient


def sweep_of(cosines: np.ndarray, settled: list[float]) -> FidelitySweep:
    """Two chips at three values, as measured by nobody."""
    runs = [
        {"parameter": "offset", "value": value, "chip": chip}
        | dict.fromkeys((field.name for field in dataclasses.fields(Fidelity)), 1.0)
        | {"cosine_to_ideal_eqprop": float(cosines[k, chip]), "settled": settled[k], "failed": 0}
        for k, value in enumerate((0.1, 1.0, 10.0))
        for chip in range(2)
    ]
    return FidelitySweep(runs, {"offset": SWEPT_PARAMETERS["offset"]})


def test_a_sweep_has_means_and_a_picture_of_angles(tmp_path):
    sweep = sweep_of(np.cos(np.radians([[10.0, 30.0], [1.0, 3.0], [0.1, 0.3]])), [0.5, 1.0, 1.0])
    means = sweep.summary()["rows"]
    assert [row["value"] for row in means] == [0.1, 1.0, 10.0] and {row["chips"] for row in means} == {2}
    assert means[0]["cosine_to_ideal_eqprop"] == pytest.approx(np.cos(np.radians([10.0, 30.0])).mean())
    main = sweep.plot()
    line, hollow = main.get_lines()[:2]
    np.testing.assert_allclose(line.get_ydata(), [20.0, 2.0, 0.2], rtol=1e-6)
    assert hollow.get_xdata().tolist() == [0.1]
    assert main.figure.get_axes()[1].get_xlabel() == SWEPT_PARAMETERS["offset"].title
    assert sweep.plot(main) is main
    assert sweep.save(tmp_path)["files"] == ["fidelity.csv", "fidelity_offset.png", "summary.json"]
    assert sweep.failure is None
    failed = dataclasses.replace(sweep, runs=[{**sweep.runs[0], "failed": 2}])
    assert failed.failure.startswith("ngspice gave no result for 2 samples")


def test_many_chips_are_spread_over_those_for_which_a_measure_exists():
    names = [field.name for field in dataclasses.fields(Fidelity)]
    runs = [{"chip": k, **dict.fromkeys(names, 1.0 + k), "failed": 0} for k in range(3)]
    runs.append({"chip": 3, **dict.fromkeys(names, math.nan), "failed": 1})
    found = MonteCarlo(runs, passing=2.0)
    spread = found.summary()["measures"]["settling_free"]
    assert (spread["min"], spread["median"], spread["max"]) == (1.0, 2.0, 3.0)
    assert found.passed == 0.5 and found.failure is not None
    panels = found.plot().figure.get_axes()
    assert len(panels) == 4 and sum(bar.get_height() for bar in panels[0].patches) == 3
    shares = [line.get_xdata()[0] for line in panels[0].get_lines()]
    assert shares == np.percentile([1.0, 2.0, 3.0], (5, 50, 95)).tolist()
    nothing = MonteCarlo(runs[3:], passing=0.5)
    assert nothing.pictures() == {} and nothing.summary()["measures"]["settling_free"]["mean"] is None


@pytest.mark.slow
def test_sweeps_and_chips_need_no_file(ngspice, net):
    mine = SweptParameter("beta", (0.05, 0.1), lambda conditions, value: dataclasses.replace(conditions, beta=value))
    swept = fidelity(net, X, Y, {"mine": mine}, conditions=Conditions(time=20.0, tol=1e-3), workers=1)
    assert [(row["parameter"], row["value"]) for row in swept.rows()] == [("mine", 0.05), ("mine", 0.1)]
    drawn = montecarlo(net, X, Y, 2, conditions=dataclasses.replace(CHIP, time=20.0, tol=1e-3), seed=5, workers=1)
    direct = update_fidelity(net, X, Y, dataclasses.replace(CHIP, time=20.0, tol=1e-3), chip=1, seed=5)
    assert drawn.rows()[1]["cosine_to_nominal_gradient"] == pytest.approx(direct.cosine_to_nominal_gradient, rel=1e-9)
    assert direct.rows() == [dataclasses.asdict(direct)] and direct.failure is None
    for wrong, says in (
        ({"parameters": ["colour"]}, "colour"),
        ({"values": [1.0]}, "one parameter"),
        ({"chips": 0}, "chips=0"),
    ):
        with pytest.raises(ValueError, match=says):
            fidelity(net, X, Y, **wrong)
