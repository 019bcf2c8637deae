"""Fidelity: what is said of a circuit's updates, against finite differences and limits that must hold."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eqprop_field as epf
from eqprop_field.circuits import (
    SWEPT_PARAMETERS,
    Batch,
    Behavioural,
    Chip,
    CircuitGradient,
    Conditions,
    Fidelity,
    FidelitySweep,
    MonteCarlo,
    NgspiceSubstrate,
    OnChip,
    OtaC,
    SweptParameter,
    Variation,
    fidelity,
    montecarlo,
    update_fidelity,
)
from eqprop_field.circuits.library import subcircuit

X, Y = np.array([[0.3, 0.8], [0.9, 0.1]]), np.array([[0.9], [0.2]])
CHIP = Conditions(variation=Variation.everywhere(0.1, 0.05), beta=0.01)


@pytest.fixture(scope="module")
def net() -> epf.LayeredField:
    return epf.LayeredField.create(jax.random.key(1), (2, 3, 1), activation=epf.activation("tanh"), gain=0.7)


def chip_of(net: epf.LayeredField, conditions: Conditions, number: int) -> Chip:
    return Chip.draw(jax.random.fold_in(jax.random.key(0), number), net, conditions.variation)


def test_chip_gradient_is_what_finite_differences_of_the_chip_say(ngspice, net):
    """Every programmed parameter is changed a little, and the chip settled again."""
    substrate = OnChip(chip_of(net, CHIP, 4), epf.Equilibrium(tol=1e-13, check_stability=False))
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


def test_of_devices_it_is_the_gradient_of_the_circuit_itself(ngspice, net):
    """Of OTAs that saturate early; with parts of the user's own, which nobody says how to program, it is the ODE's."""
    level = OtaC(linear_range=1.5)
    substrate = NgspiceSubstrate(level=level, free_time=40.0, nudged_time=40.0, tol=1e-4)
    measured = epf.EqProp(epf.Nudging.symmetric(0.1), substrate).estimate(net, X[:1], Y[:1])
    ours = jax.flatten_util.ravel_pytree(measured.gradient)[0]

    def cosine(true: epf.Estimate) -> float:
        theirs = jax.flatten_util.ravel_pytree(true.gradient)[0]
        return float(ours @ theirs / np.linalg.norm(ours) / np.linalg.norm(theirs))

    to_circuit = cosine(CircuitGradient(substrate).estimate(net, X[:1], Y[:1]))
    assert abs(to_circuit - cosine(epf.ImplicitGradient().at(net, X[:1], Y[:1], measured.free))) > 1e-3
    found = update_fidelity(net, X[:1], Y[:1], Conditions(level=level))
    assert found.cosine_to_chip_gradient == pytest.approx(to_circuit, abs=1e-5)
    found = update_fidelity(net, X, Y, Conditions(level=Behavioural(synapse=subcircuit("synapse"))))
    assert found.verdict == "converged"
    assert found.cosine_to_chip_gradient == pytest.approx(found.cosine_to_nominal_gradient, abs=1e-5)


def test_nominal_circuit_does_ideal_equilibrium_propagation(ngspice, net):
    found = update_fidelity(net, X, Y, Conditions(beta=0.01))
    assert found.cosine_to_ideal_eqprop > 1 - 1e-6
    assert found.cosine_to_chip_gradient == pytest.approx(found.cosine_to_nominal_gradient, abs=1e-6)
    assert 4 < found.settling_free < 40
    assert update_fidelity(net, X, Y, Conditions(beta=1e-17)).verdict == "below_resolution"  # rounding is no update


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
    broken.write_text('#!/bin/sh\n[ "$1" = --version ] && echo ngspice-0 || exit 1\n')
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
    assert found.verdict == "not_settled" and "not at rest" in found.failure


def test_samples_that_do_not_rest_are_in_no_mean(ngspice, net):
    """Short phases, and a tolerance between what is left of the motion of both samples."""
    substrate, nudging = NgspiceSubstrate(free_time=8.0, nudged_time=8.0), epf.Nudging.symmetric(0.1)
    free, nudged = substrate.phases(net, X, nudging.nudges(epf.Quadratic(), jnp.asarray(Y)), throw=False)
    residuals = np.max([solution.residual for solution in (free, *nudged)], axis=0)
    conditions = Conditions(time=8.0, tol=float(np.sqrt(residuals.prod())))
    found, k = update_fidelity(net, X, Y, conditions), int(np.argmin(residuals))
    alone = update_fidelity(net, X[[k, k]], Y[[k, k]], conditions)
    assert found.settled == 0.5 and found.verdict != "converged" and "not at rest" in found.failure
    assert alone.settled == 1.0 and alone.failure is None
    assert found.cosine_to_ideal_eqprop == pytest.approx(alone.cosine_to_ideal_eqprop, rel=1e-12)
    assert found.settling_free == alone.settling_free


def test_noise_is_no_lack_of_rest(ngspice, net):
    """A noisy state never rests, but phases that are too short move by more than their noise."""
    noisy = dataclasses.replace(CHIP, noise=0.003, beta=0.1)
    assert noisy.rest == pytest.approx(noisy.tol + 0.012)
    assert update_fidelity(net, X, Y, noisy).verdict == "converged"
    assert update_fidelity(net, X, Y, dataclasses.replace(noisy, time=1.5)).verdict == "not_settled"


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
        | {"verdict": "converged" if settled[k] == 1 else "not_settled"}
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
    dotted = [float(line.get_ydata()[0]) for line in main.get_lines() if line.get_linestyle() == ":"]
    assert dotted and np.allclose(dotted, np.degrees(np.arccos(0.95)))
    assert [row["verdict"] for row in means] == ["not_settled", "converged", "converged"]
    assert [row["passed"] for row in means] == [0.0, 1.0, 1.0]
    assert sweep.failure.startswith("2 of 6 circuits were not at rest")
    failed = dataclasses.replace(sweep, runs=[{**sweep.runs[2], "failed": 2}])
    assert failed.failure.startswith("ngspice gave no result for 2 samples")


def test_a_sweep_that_is_to_show_where_settling_ends_fails_where_nothing_rests():
    times = {"offset": dataclasses.replace(SWEPT_PARAMETERS["offset"], unsettling=True)}
    assert dataclasses.replace(sweep_of(np.ones((3, 2)), [0.0, 0.5, 1.0]), parameters=times).failure is None
    assert dataclasses.replace(sweep_of(np.ones((3, 2)), [0.0, 0.0, 0.5]), parameters=times).failure is not None
    assert SWEPT_PARAMETERS["time"].unsettling
    assert sum(parameter.unsettling for parameter in SWEPT_PARAMETERS.values()) == 1


def test_a_mean_over_chips_leaves_those_in_motion_out():
    sweep = sweep_of(np.array([[0.9, 0.5], [0.9, 0.5], [0.9, 0.5]]), [1.0, 1.0, 1.0])
    moving = {**sweep.runs[1], "settled": 0.5, "verdict": "wrong_branch"}
    (first, *_) = dataclasses.replace(sweep, runs=[sweep.runs[0], moving, *sweep.runs[2:]]).means()
    assert first["cosine_to_ideal_eqprop"] == 0.9
    assert first["settled"] == 0.75 and first["verdict"] == "wrong_branch"


def test_many_chips_are_spread_over_those_for_which_a_measure_exists():
    names = [field.name for field in dataclasses.fields(Fidelity)]
    rests, broken = {"verdict": "converged", "failed": 0}, {"verdict": "simulator_failed", "failed": 1}
    runs = [{"chip": k, **dict.fromkeys(names, 1.0 + k), **rests} for k in range(3)]
    runs.append({"chip": 3, **dict.fromkeys(names, math.nan), **broken})
    found = MonteCarlo(runs, passing=2.0)
    spread = found.summary()["measures"]["settling_free"]
    assert (spread["min"], spread["median"], spread["max"]) == (1.0, 2.0, 3.0)
    assert found.passed == 0.5 and found.failure is not None
    panels = found.plot().figure.get_axes()
    assert len(panels) == 4 and sum(bar.get_height() for bar in panels[0].patches) == 3
    shares = [line.get_xdata()[0] for line in panels[0].get_lines()]
    assert shares == [*np.percentile([1.0, 2.0, 3.0], (5, 50, 95)).tolist(), 2.0]  # and the pass line
    assert len(panels[1].get_lines()) == 4 and len(panels[2].get_lines()) == 3
    assert all(tick == round(tick) for panel in panels for tick in panel.get_yticks())  # chips are counted
    far = MonteCarlo(runs, passing=-20.0).plot()
    assert far.get_legend().get_texts()[0].get_text() == "pass line -20, far to the left" and far.get_xlim()[0] > 0
    nothing = MonteCarlo(runs[3:], passing=0.5)
    assert nothing.pictures() == {} and nothing.summary()["measures"]["settling_free"]["mean"] is None


def test_a_chip_that_does_not_rest_does_not_pass_and_is_in_no_spread():
    names = [field.name for field in dataclasses.fields(Fidelity)]
    runs = [{"chip": k, **dict.fromkeys(names, 0.99), "verdict": "converged", "failed": 0} for k in range(2)]
    runs[1] |= {"verdict": "not_settled", "cosine_to_ideal_eqprop": 1.0}
    found = MonteCarlo(runs, passing=0.9)
    assert found.passed == 0.5 and found.failure.startswith("1 of 2 circuits were not at rest")
    assert found.summary()["measures"]["cosine_to_ideal_eqprop"]["max"] == 0.99
    assert found.summary()["verdicts"] == {"converged": 1, "not_settled": 1}
    assert sum(bar.get_height() for bar in found.plot().patches) == 1


def test_the_verdict_says_which_cosine_it_judges():
    """Chips that follow equilibrium propagation on a network on which it is not the gradient."""
    names = [field.name for field in dataclasses.fields(Fidelity)]
    row = {"chip": 0, **dict.fromkeys(names, 0.99), "verdict": "converged", "failed": 0}
    found = MonteCarlo([row | {"cosine_to_chip_gradient": 0.085}], passing=0.95)
    assert found.summary()["judged_by"] == "cosine_to_ideal_eqprop"
    assert (found.passed, found.passed_by_chip_gradient) == (1.0, 0.0)
    assert "NOT the gradient of this network (mean cosine 0.085)" in found.lines()[-1]
    shares = [line for line in found.lines() if line.startswith("at rest, and a cosine to")]
    assert "ideal EqProp of at least 0.95: 100.0%" in shares[0] and shares[0].endswith("(the verdict)")
    assert "own gradient of at least 0.95: 0.0%" in shares[1]
    good = MonteCarlo([row], passing=0.95)
    assert not any("NOT" in line for line in good.lines())


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
        ({"passing": math.nan}, "passing=nan"),
        ({"parameters": ["bits"], "values": [math.inf]}, "finite"),
        ({"parameters": ["bits"], "values": [math.nan]}, "finite"),
        ({"parameters": ["bits"], "values": [2.5]}, "whole number"),
    ):
        with pytest.raises(ValueError, match=says):
            fidelity(net, X, Y, **wrong)
