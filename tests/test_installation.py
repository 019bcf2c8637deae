"""The installation: what `doctor` finds, and how a missing part is mended."""

import dataclasses

import jax

from eqprop_field.installation import Component, doctor


def test_what_is_missing_is_named_with_its_mend(tmp_path):
    found = doctor()
    assert found.packages["jax"].found == jax.__version__
    assert found.failure is None
    broken = dataclasses.replace(found, packages=found.packages | {"optax": Component(None, "pip install optax")})
    assert broken.failure == "essential packages are missing: optax"
    assert "pip install optax" in broken.missing
    assert broken.lines()[-1].startswith("  - ")
    assert broken.save(tmp_path)["files"] == ["doctor.csv", "summary.json"]
