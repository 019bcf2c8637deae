"""Raw files: complete ones are read, all others are refused."""

import subprocess

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


def test_raw_files_of_other_kinds_are_named():
    with pytest.raises(DamagedRawFile, match="several plots"):
        parse_raw(raw(VALUES) + raw(VALUES))
    with pytest.raises(DamagedRawFile, match="written in ASCII"):
        parse_raw(raw(VALUES).split(b"Binary:\n")[0] + b"Values:\n 0\t0.0\n\t1.0\n\t2.0\n")
    with pytest.raises(DamagedRawFile, match="names a vector twice"):
        parse_raw(raw(VALUES).replace(b"V(S1)", b"v(s0)"))


def test_what_ngspice_itself_writes_otherwise_is_named(ngspice, tmp_path):
    """Two analyses in one file, and ASCII."""
    deck = "d\nR1 a 0 1\nV1 a 0 1\n.control\n{}\n.endc\n.end\n"
    two = "op\ntran 1u 3u\nwrite out.raw op1.all tran1.all"
    for commands, match in ((two, "several plots"), ("set filetype=ascii\nop\nwrite out.raw", "in ASCII")):
        (tmp_path / "d.cir").write_text(deck.format(commands))
        subprocess.run([ngspice, "-n", "-b", "d.cir"], cwd=tmp_path, capture_output=True, timeout=30)
        with pytest.raises(DamagedRawFile, match=match):
            parse_raw((tmp_path / "out.raw").read_bytes())
