"""The schematics in the documentation are drawn by the script, one for every level."""

import importlib.util
import pathlib

import pytest

from eqprop_field.circuits import LEVELS

_DOCS = pathlib.Path(__file__).parents[1] / "docs"


def test_every_level_has_a_schematic(tmp_path):
    pytest.importorskip("schemdraw", reason="schemdraw, of the extra `schematics`, is not installed")
    spec = importlib.util.spec_from_file_location("schematics", _DOCS / "schematics.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.draw(tmp_path)
    drawn = {path.name for path in tmp_path.iterdir()}
    assert drawn == {f"schematic_{name}.png" for name in LEVELS}
    page = (_DOCS / "circuits.md").read_text(encoding="utf-8")
    for name in drawn:
        assert (_DOCS / "images" / name).exists() and f"images/{name}" in page
