"""Datasheets: each figure is that of the experiment it belongs to, and the page says them all."""

import dataclasses
import html
import json

import jax
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import eqprop_field as epf
from eqprop_field.circuits import (
    CircuitGradient,
    Conditions,
    NgspiceSubstrate,
    OtaC,
    Process,
    Transistor,
    Variation,
    datasheet,
    part_list,
    update_fidelity,
    verify,
)

X, Y = np.array([[0.6, -0.4]]), np.array([[0.5]])
HOT = dataclasses.replace(Process.generic(), celsius=60.0)
LEVELS = {"nominal": Transistor(), "hot": Transistor(process=HOT)}
CONDITIONS = Conditions(LEVELS["nominal"], Variation.everywhere(0.05, 0.02), beta=0.2, time=60.0, nudged_time=50.0)


@pytest.fixture(scope="module")
def field():
    return epf.LayeredField.create(
        jax.random.key(0), (2, 3, 1), activation=epf.activation("tanh"), gain=0.4, symmetry=1.0
    )


@pytest.fixture(scope="module")
def sheet(ngspice, field):
    return datasheet(field, X, Y, LEVELS, conditions=CONDITIONS, chips=2, passing=0.9, workers=1)


def test_every_figure_is_that_of_its_experiment(field, sheet):
    said = sheet.summary()
    how = {"free_time": 60.0, "nudged_time": 50.0, "tol": CONDITIONS.tol}
    alone = verify(field, X, Y, epf.Nudging.symmetric(0.2), level=LEVELS["nominal"], **how)
    for name in ("settling_free_second", "settling_nudged_second", "power_watt", "energy_update_joule"):
        assert said[name] == pytest.approx(getattr(alone, name), rel=1e-6), name
    true = CircuitGradient(NgspiceSubstrate(level=LEVELS["nominal"], **how)).estimate(field, X, Y)
    ours, theirs = (ravel_pytree(estimate.gradient)[0] for estimate in (alone.circuit, true))
    cosine = float(ours @ theirs / np.linalg.norm(ours) / np.linalg.norm(theirs))
    assert said["cosine_to_own_gradient"] == pytest.approx(cosine, abs=1e-6)
    assert said["transistors"] == part_list(alone.netlists[0].text).elements["transistors"] == 6 * 6 + 2 * 8
    assert (said["supply_volt"], said["verdict"], said["chips"]) == (pytest.approx(1.35), "agrees", 2)
    second = update_fidelity(field, X, Y, CONDITIONS, chip=1)
    assert sheet.chips.column("cosine_to_chip_gradient")[1] == pytest.approx(second.cosine_to_chip_gradient, rel=1e-9)
    assert said["yield"] == np.mean(sheet.chips.column("cosine_to_ideal_eqprop") >= 0.9)
    assert [row["circuit"] for row in said["corners"]] == ["nominal", "hot"] and sheet.failure is None


def test_the_page_holds_the_figures_and_stands_alone(sheet, tmp_path):
    saved = sheet.save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(saved["files"])
    assert json.loads((tmp_path / "datasheet.json").read_text()) == json.loads(json.dumps(sheet.summary()))
    page = (tmp_path / "datasheet.html").read_text()
    for title, value in sheet.figures():
        assert f"<td>{html.escape(title)}</td>" in page and html.escape(value) in page
    assert page.count("data:image/png;base64,") == 3 and "<td>hot</td>" in page and "http" not in page
    assert (tmp_path / "net.cir").read_text() == sheet.nominal.netlists[0].text
    assert len(sheet.figures()) == 13 and str(sheet).splitlines()[0].startswith("settling, free phase")


def test_what_a_level_has_not_is_left_out(ngspice, field):
    sheet = datasheet(field, X, Y, {"ota": OtaC()}, conditions=dataclasses.replace(CONDITIONS, level=OtaC()), chips=0)
    said = sheet.summary()
    absent = ("power_watt", "supply_volt", "energy_update_joule", "yield")
    assert [said[name] for name in absent] == [None] * 4 and said["transistors"] == 0
    assert not {"power", "supply", "gate area"} & {title for title, _ in sheet.figures()}
    with pytest.raises(ValueError, match="no circuit to compare"):
        datasheet(field, X, Y, {})
