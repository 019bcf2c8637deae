"""Lists on the command line: whatever is typed, a value or one sentence."""

import itertools

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eqprop_field import draw_network, load_network
from eqprop_field.cli.arguments import _betas, _gains, _names, _rates, _sizes, _symmetries


@given(st.lists(st.integers(-5, 10**9), min_size=1))
def test_sizes_round_trip(sizes):
    assert _sizes(",".join(map(str, sizes))) == tuple(sizes)


@given(st.floats(-1, 1), st.floats(-1, 1), st.integers(2, 50))
def test_sweeps_run_from_first_to_last_in_equal_steps(a, b, count):
    first, last = min(a, b), max(a, b)
    sweep = _symmetries(f"{first!r}:{last!r}:{count}")
    assert len(sweep) == count
    assert sweep[0] == pytest.approx(first, abs=1e-11)
    assert sweep[-1] == pytest.approx(last, abs=1e-11)
    steps = [q - p for p, q in itertools.pairwise(sweep)]
    assert steps == pytest.approx([(last - first) / (count - 1)] * (count - 1), abs=1e-11)


def test_the_default_sweep_holds_zero_and_a_single_number_is_a_symmetries():
    assert 0.0 in _symmetries("-1:1:11")
    assert _symmetries("0.3") == (0.3,)
    assert _symmetries("-1:1:1") == (-1.0,)


@pytest.mark.parametrize("parse", [_sizes, _symmetries, _gains, _rates, _betas, _names])
@given(text=st.text())
def test_anything_else_is_refused_in_one_sentence(parse, text):
    try:
        parse(text)
    except ValueError as refusal:
        said = str(refusal)
        assert ":" in said or "at least one" in said
        assert len(said) < 200 + 8 * len(text)


@pytest.mark.parametrize(
    "text", ["2", "-1:2:5", "-1:1:0", "1:-1:5", "nan:1:3", "nan", "inf", "-1:1", "-1:1:3:4", "-1:1:2.5"]
)
def test_sweeps_that_mean_nothing(text):
    with pytest.raises(ValueError, match="FIRST:LAST:COUNT"):
        _symmetries(text)


@pytest.mark.parametrize("text", ["-0.5:2:4", "inf", "2:1:3", "0:1e9:2"])
def test_gains_that_mean_nothing(text):
    with pytest.raises(ValueError, match="gains"):
        _gains(text)
    assert _gains("0.5:2:4") == (0.5, 1.0, 1.5, 2.0)


@pytest.mark.parametrize(
    "option",
    [("--seeds", "0"), ("--seeds", "2.5"), ("--samples", "-3"), ("--seed", "-1"), ("--seed", str(2**32))],
)
def test_numbers_out_of_range_are_refused_by_their_option(run, tmp_path, option):
    refused = run("align", "--sizes", "3,2", *option, "--out", tmp_path / "o")
    assert refused.code == 2 and refused.out == ""
    assert len(refused.err.splitlines()) == 1
    assert option[0] in refused.err and "give a whole number" in refused.err


@pytest.mark.parametrize("time", ["0", "-1", "inf", "nan", "long"])
def test_times_are_finite_and_above_0(run, tmp_path, time):
    refused = run("stability", "--sizes", "3,2", "--time", time, "--out", tmp_path / "o")
    assert refused.code == 2 and "--time" in refused.err and "above 0" in refused.err


@pytest.mark.parametrize("tol", ["0", "-1e-6", "1", "inf", "nan"])
def test_tolerances_lie_between_0_and_a_tenth(run, tmp_path, tol):
    refused = run("align", "--sizes", "3,2", "--tol", tol, "--out", tmp_path / "o")
    assert refused.code == 2 and refused.out == ""
    assert "--tol" in refused.err and "at most 0.1" in refused.err


def test_a_hopfield_network_with_skips_and_time_constants_is_drawn_as_it_is_described(run, tmp_path):
    said = ("--field", "hopfield", "--sizes", "4,3,2", "--skips", "0-2", "--lateral", "0,1", "--tau", "2,1")
    assert run("init", *said, "--out", tmp_path / "net.safetensors").code == 0
    field = load_network(tmp_path / "net.safetensors")
    expected = draw_network(
        jax.random.key(0), (4, 3, 2), kind="hopfield", skips=[(0, 2)], lateral=[0, 1], tau=(2.0, 1.0)
    )
    for name, tensor in expected.tensors().items():
        np.testing.assert_array_equal(field.tensors()[name], tensor)
    np.testing.assert_array_equal(field.time_constants(), [1, 1, 2, 2, 2])
