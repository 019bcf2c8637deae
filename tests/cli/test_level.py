"""The options of a level on the command line are the fields of its class."""

import dataclasses

import pytest

from eqprop_field.circuits import LEVELS, Process, Scaling, Transistor
from eqprop_field.cli.command import Refused
from eqprop_field.cli.level import _FIELDS, LevelOptions, ProcessOptions

_NO_OPTIONS = {"scaling", "accuracy"}
_NO_FIELDS = {"level", "explicit_inputs"} | {field.name for field in dataclasses.fields(Scaling)}


def test_every_option_belongs_to_a_level_and_every_level_has_its_options():
    offered = {_FIELDS.get(field.name, field.name) for field in dataclasses.fields(LevelOptions)} - _NO_FIELDS
    of_levels = {field.name for level in LEVELS.values() for field in dataclasses.fields(level)} - _NO_OPTIONS
    assert offered == of_levels


def test_defaults_are_the_levels_own():
    for name, level in LEVELS.items():
        built = LevelOptions(level=name).build()
        assert dataclasses.replace(built, accuracy=level().accuracy) == level()


def test_scales_that_are_given_replace_the_levels_own():
    built = LevelOptions(level="transistor", tau_s=1e-3, leak_ohm=1e7).build()
    assert built.scaling == Scaling(0.07, 1e-3, 1e7)


def test_a_process_that_is_stated_is_found_and_sets_the_unit(ngspice):
    built = LevelOptions(level="transistor", process=ProcessOptions(corner="bsim3", celsius=85.0), tau_s=1e-3).build()
    process = Process.find("generic", "bsim3", 85.0)
    assert built == Transistor(process=process, scaling=Scaling(process.volt_per_unit, 1e-3, 3.5e6))
    with pytest.raises(Refused, match="--pdk, --corner or --celsius is an option of --level transistor, not of ota"):
        LevelOptions(level="ota", process=ProcessOptions(pdk="sky130")).build()
