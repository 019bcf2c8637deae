"""Samples in files of every kind: they hold the same numbers, and what holds none is refused in one sentence."""

import io
import sys
import zipfile

import numpy as np
import pytest

from eqprop_field.datasets import read_array, read_samples

X = np.random.default_rng(1).uniform(size=(5, 3))


def standard_input(monkeypatch, content):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def csv_text(array=X, header=""):
    return header + "".join(",".join(map(repr, map(float, row))) + "\n" for row in array)


def test_every_kind_of_file_holds_the_same_array(tmp_path, monkeypatch):
    np.save(tmp_path / "x.npy", X)
    np.savez(tmp_path / "x.npz", X)
    np.savez_compressed(tmp_path / "xy.npz", x=np.asfortranarray(X), y=X[:, :1])
    (tmp_path / "X.NPZ").write_bytes((tmp_path / "xy.npz").read_bytes())
    (tmp_path / "x.csv").write_text(csv_text())
    (tmp_path / "named.csv").write_text(csv_text(header="\ufeffa, b,c\r\n") + "\n", encoding="utf-8")
    for name in ("x.npy", "x.npz", "xy.npz", "X.NPZ", "x.csv", "named.csv"):
        np.testing.assert_array_equal(read_array(tmp_path / name, 3, np.float64), X, err_msg=name)
    x, y = read_samples(f"{tmp_path}/xy.npz:x", f"{tmp_path}/xy.npz:y", (3, 1), np.float64)
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(y, X[:, :1])
    standard_input(monkeypatch, csv_text(header="a,b,c\n").encode())
    np.testing.assert_array_equal(read_samples("-", f"{tmp_path}/xy.npz:y", (3, 1), np.float64)[0], X)


@pytest.mark.parametrize(
    "content, said",
    [
        (b"", "no rows of numbers"),
        (b"a,b,c\n", "no rows of numbers"),
        (b"1,2,3\n4,5\n", "row 2 has 2 cells and the first row 3"),
        (b"1,2,3\n4,x,6\n", "column 2, row 2 holds 'x'"),
        (b"a,1,2\n4,5,6\n", "column 1, row 1 holds 'a'"),
        (b"NA,NA,NA\n4,5,6\n", "column 1, row 1 holds 'NA'"),
        (b"0.5;1;2\n0.5;2;3\n", "column 1, row 1 holds '0.5;2;3'"),
        (b"1,2\n", r"shape \(1, 2\), but this network needs \(batch, 3\)"),
        (b",,\n1,2,3\n", "NaN or infinity in 1 of 2 rows"),
        (b"1,2,1e999\n1,2,3\n", "NaN or infinity in 1 of 2 rows"),
        (b"1,2,1e300\n1,2,3\n", "numbers above 3.4e.38 in 1 of 2 rows: scale them"),
        ("1,2,3".encode("utf-16"), "no CSV file in UTF-8"),
        (b'"' + 200_000 * b"1", "no CSV file in UTF-8"),
    ],
)
def test_text_that_is_no_table_of_numbers_is_refused(tmp_path, monkeypatch, content, said):
    (tmp_path / "x.csv").write_bytes(content)
    standard_input(monkeypatch, content)
    for path in (tmp_path / "x.csv", "-"):
        with pytest.raises(ValueError, match=said):
            read_array(path, 3, name="--input")


def entry(path, content, name="x.npy", **promised):
    """An archive of one array, whose directory may promise more than there is."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
        for attribute, value in promised.items():
            setattr(archive.getinfo(name), attribute, value)


def npy_bytes(array, shape=None):
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    content = stream.getvalue()
    return content if shape is None else content.replace(str(array.shape).encode(), shape, 1)


def test_archives_that_hold_no_array_are_refused(tmp_path):
    path, cut = tmp_path / "x.npz", "no sound .npz file: write it again with numpy.savez"
    np.savez(path, x=X)
    whole = path.read_bytes()
    flipped = whole.replace(X[1].tobytes(), X[2].tobytes())
    for damaged in (b"", whole[:-30], flipped, npy_bytes(X), b"1,2,3"):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=cut):
            read_array(path, 3)
    for content in (npy_bytes(X, b"(10000000000, 3)"), npy_bytes(np.array([[{}]])), b"1,2,3", 5 * b"["):
        entry(path, content)
        with pytest.raises(ValueError, match=cut):
            read_array(path, 3)
    entry(path, npy_bytes(X), file_size=2**40)
    with pytest.raises(ValueError, match=cut):
        read_array(path, 3)
    with zipfile.ZipFile(path, "w"):
        pass
    for place, said in {f"{path}": "has no array: it has nothing", f"{path}:x": "has no x"}.items():
        with pytest.raises(ValueError, match=said):
            read_array(place, 3)
    np.savez(path, x=X)
    for place, said in {f"{path}:y": "has no y: it has x", f"{tmp_path}/no.npz:x": "does not exist"}.items():
        with pytest.raises(ValueError, match=said):
            read_array(place, 3)


def test_two_arrays_that_would_be_one_are_refused(tmp_path, monkeypatch):
    np.savez(tmp_path / "d.npz", x=X, y=X)
    for path, said in {
        "-": "both standard input",
        f"{tmp_path}/d.npz": r"name both arrays, such as .*d\.npz:x",
    }.items():
        with pytest.raises(ValueError, match=said):
            read_samples(path, path, (3, 3))


def test_input_without_an_end_is_refused(monkeypatch):
    monkeypatch.setattr("eqprop_field.datasets.arrays._LONGEST_INPUT", 2**20)
    with open("/dev/zero") as zeros:
        monkeypatch.setattr(sys, "stdin", zeros)
        with pytest.raises(ValueError, match="more than 1 MiB: write it to a .npy file"):
            read_array("-", 3)
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(ValueError, match="no standard input"):
        read_array("-", 3)
