"""The benchmark of circuits: that both sides run, and that a bare library that dies is named."""

import sys

import jax
import pytest

import eqprop_field as epf
from eqprop_field.circuits import NgspiceMissing, find_library, find_pyspice


@pytest.fixture
def module(ngspice):
    import eqprop_field.benchmarks  # noqa: F401  the function of that name hides the module

    return sys.modules["eqprop_field.benchmarks.circuits"]


@pytest.fixture
def library(module):
    try:
        find_pyspice()
        return find_library()
    except NgspiceMissing as error:
        pytest.skip(str(error))


def test_both_sides_run_the_same_netlists(module, library):
    netlists = module._netlists(epf.LayeredField.create(jax.random.key(0), (2, 4, 1)), 3)
    found = module._against_the_library("name", library, netlists, 2, 1)
    assert found.ratio > 0 and found.skipped is None and found.goal == 0.8


def test_a_bare_library_that_dies_is_named(module, tmp_path):
    netlists = module._netlists(epf.LayeredField.create(jax.random.key(0), (2, 4, 1)), 1)
    with module._Raw(str(tmp_path / "nowhere.so"), netlists) as raw, pytest.raises(RuntimeError, match="died"):
        raw.ask("run")


def test_without_a_library_the_line_is_left_out(module, monkeypatch, tmp_path):
    monkeypatch.setenv("NGSPICE_LIBRARY_PATH", str(tmp_path / "nowhere.so"))
    (line,) = module.circuits(1)
    assert line.skipped is not None and "libngspice" in line.skipped
