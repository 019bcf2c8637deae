"""The options of a level on the command line are the fields of its class."""

import dataclasses

from eqprop_field.circuits import LEVELS, Scaling
from eqprop_field.cli.level import _FIELDS, LevelOptions

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
