"""The pictures in the documentation are what their scripts draw: schematics of every level, a field in its lines."""

import importlib.util
import pathlib
import runpy

import jax
import numpy as np
import pytest

import eqprop_field as epf
from eqprop_field.circuits import LEVELS

_DOCS = pathlib.Path(__file__).parents[1] / "docs"


def _script(name):
    spec = importlib.util.spec_from_file_location(name, _DOCS / f"{name}.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def test_every_level_has_a_schematic(tmp_path):
    pytest.importorskip("schemdraw", reason="schemdraw, of the extra `schematics`, is not installed")
    _script("schematics").draw(tmp_path)
    drawn = {path.name for path in tmp_path.iterdir()}
    assert drawn == {f"schematic_{name}.png" for name in LEVELS}
    page = (_DOCS / "circuits.md").read_text(encoding="utf-8")
    for name in drawn:
        assert (_DOCS / "images" / name).exists() and f"images/{name}" in page


def test_the_lines_in_the_picture_of_a_field_make_that_field():
    field, x, _ = runpy.run_path(str(_DOCS / "examples" / "gallery_wilson_cowan.py"))["example"]()
    lines = _script("any_field").shown()
    names = {"jax": jax, "epf": epf, "theta": field.theta}
    exec("\n".join(lines), names)
    made, state = names["field"], jax.tree.map(lambda leaf: leaf + 0.3, field.initial_state(1))
    assert len(lines) <= 10
    jax.tree.map(np.testing.assert_array_equal, (made(state, x), made.tau), (field(state, x), field.tau))
