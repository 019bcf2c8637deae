"""The options of a level on the command line are the fields of its class."""

import dataclasses

import pytest

from eqprop_field.circuits import FAST, LEVELS, NORMAL, TIGHT, OtaC, Process, Scaling, Transistor
from eqprop_field.cli.command import Refused
from eqprop_field.cli.level import _FIELDS, LevelOptions, ProcessOptions

_NO_OPTIONS = {"scaling"}
_NO_FIELDS = {"level", "explicit_inputs", "models"} | {field.name for field in dataclasses.fields(Scaling)}

BSIM3 = ProcessOptions(corner="level3,bsim3", celsius=(27.0, 85.0))


def test_every_option_belongs_to_a_level_and_every_level_has_its_options():
    offered = {_FIELDS.get(field.name, field.name) for field in dataclasses.fields(LevelOptions)} - _NO_FIELDS
    of_levels = {field.name for level in LEVELS.values() for field in dataclasses.fields(level)} - _NO_OPTIONS
    assert offered == of_levels


def test_defaults_are_the_levels_own():
    for name, level in LEVELS.items():
        built = LevelOptions(level=name).build()
        assert dataclasses.replace(built, accuracy=level().accuracy) == level()


def test_accuracy_is_chosen_and_otherwise_the_levels_own():
    chosen = lambda level, said=None: LevelOptions(level=level, accuracy=said).build().accuracy  # noqa: E731
    assert chosen("behavioural") == TIGHT and chosen("behavioural", "normal") == NORMAL
    assert chosen("ota") == chosen("ota", "normal") == LEVELS["ota"]().accuracy
    assert {chosen(level, "fast") for level in ("behavioural", "opamp")} == {FAST}
    assert chosen("ota", "tight") == TIGHT


def test_scales_that_are_given_replace_the_levels_own():
    built = LevelOptions(level="transistor", tau_s=1e-3, leak_ohm=1e7).build()
    assert built.scaling == Scaling(0.07, 1e-3, 1e7)


def test_a_process_that_is_stated_is_found_and_sets_the_unit(ngspice):
    built = LevelOptions(
        level="transistor", process=ProcessOptions(corner="bsim3", celsius=(85.0,)), tau_s=1e-3
    ).build()
    process = Process.find("generic", "bsim3", 85.0)
    assert built == Transistor(process=process, scaling=Scaling(process.volt_per_unit, 1e-3, 3.5e6))
    with pytest.raises(Refused, match="--pdk, --corner, --celsius or --vdd is an option of --level transistor"):
        LevelOptions(level="ota", process=ProcessOptions(pdk="sky130")).build()


def test_lists_are_all_their_combinations_where_several_are_taken(ngspice):
    options = LevelOptions(level="ota,transistor", process=BSIM3, linear_range=3.0, tau_s=1e-3)
    built = options.each()
    corners = [f"generic {corner} {celsius}C" for corner in ("level3", "bsim3") for celsius in (27, 85)]
    assert list(built) == ["ota", *corners]
    assert built["ota"] == OtaC(linear_range=3.0, scaling=Scaling(tau_s=1e-3))
    assert {level.process for level in built.values() if isinstance(level, Transistor)} == {
        Process.find("generic", corner, celsius) for corner in ("level3", "bsim3") for celsius in (27.0, 85.0)
    }
    lower = LevelOptions(level="transistor", process=ProcessOptions(vdd=(0.4, 0.5))).each()
    assert {name: level.process.vdd for name, level in lower.items()} == {"generic 0.4V": 0.4, "generic 0.5V": 0.5}
    with pytest.raises(Refused, match="one circuit, not 5: choose among ota, generic level3 27C"):
        options.build()
    with pytest.raises(Refused, match="--level optical: there are behavioural"):
        LevelOptions(level="ota,optical").each()


def test_models_are_for_parts_of_ones_own(tmp_path):
    (tmp_path / "m.lib").write_text(".lib tt\n.model dio d is='2*1e-15'\n.endl\n")
    (tmp_path / "n.sub").write_text(".subckt n s r\nD1 s 0 dio\nRr r 0 1\n.ends\n")
    at_tt = LevelOptions(neuron=tmp_path / "n.sub", models=f"{tmp_path}/m.lib:tt").build()
    assert at_tt.neuron is not None and "is=2e-15" in at_tt.neuron.text
    with pytest.raises(Refused, match="give --neuron, --synapse or --nudge"):
        LevelOptions(models=f"{tmp_path}/m.lib:tt").build()
    with pytest.raises(ValueError, match="has no corner ss: it has tt"):
        LevelOptions(neuron=tmp_path / "n.sub", models=f"{tmp_path}/m.lib:ss").build()
