"""Raw files: complete ones are read, all others are refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eqprop_field.circuits import DamagedRawFile, parse_raw


def raw(values: np.ndarray, points: int | None = None, flags: str = "real") -> bytes:
    names = ["time", *(f"V(S{i})" for i in range(values.shape[1] - 1))]
    header = (
        f"Title: t\nDate: Sat: 1\nPlotname: Transient Analysis\nFlags: {flags}\nNo. Variables: {values.shape[1]}\n"
        f"No. Points: {len(values) if points is None else points}      \nVariables:\n"
    )
    header += "".join(f"\t{i}\t{name}\tvoltage\n" for i, name in enumerate(names))
    return header.encode() + b"Binary:\n" + values.astype("<f8").tobytes()


VALUES = np.arange(12.0).reshape(4, 3)


@pytest.mark.parametrize("points", [None, 0])
def test_complete_file_is_read_whatever_the_header_counts(points):
    vectors = parse_raw(raw(VALUES, points))
    assert list(vectors) == ["time", "v(s0)", "v(s1)"]
    np.testing.assert_array_equal(np.stack(list(vectors.values()), axis=1), VALUES)


@given(st.integers(0, len(raw(VALUES)) - 1))
def test_every_truncation_is_refused(length):
    with pytest.raises(DamagedRawFile):
        parse_raw(raw(VALUES)[:length])


@given(st.binary(max_size=300))
def test_rubbish_is_refused(data):
    with pytest.raises(DamagedRawFile):
        parse_raw(data)


def test_complex_plots_and_wrong_counts_are_refused():
    with pytest.raises(DamagedRawFile, match="complex"):
        parse_raw(raw(VALUES, flags="complex"))
    with pytest.raises(DamagedRawFile, match="says 3 points"):
        parse_raw(raw(VALUES, points=3))
