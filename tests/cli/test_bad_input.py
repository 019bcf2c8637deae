"""Whatever is wrong with what users hand over: exit code 2, one sentence, and nothing written."""

import os
import pathlib
import pickle
import struct

import numpy as np
import pytest


def write_npy(array):
    return lambda path: np.save(path, array)


def with_header(shape: object, text: str = "{{'descr': '<f8', 'fortran_order': False, 'shape': {}}}"):
    """A .npy file whose header promises more than there is, or is none."""

    def write(path: pathlib.Path) -> None:
        header = text.format(shape).encode().ljust(117) + b"\n"
        path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + b"\0" * 64)

    return write


def archive(path: pathlib.Path) -> None:
    with path.open("wb") as file:
        np.savez(file, x=np.ones((2, 4)))


ARRAYS = {
    "absent": (lambda path: path.unlink(), "does not exist"),
    "folder": (lambda path: (path.unlink(), path.mkdir()), "is a folder"),
    "empty": (lambda path: path.write_bytes(b""), "numpy.save"),
    "text": (lambda path: path.write_text("1 2 3"), "numpy.save"),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-9]), "numpy.save"),
    "pickle": (lambda path: path.write_bytes(pickle.dumps(np.ones((2, 4)))), "numpy.save"),
    "objects": (lambda path: np.save(path, np.array([{}, {}]), allow_pickle=True), "numpy.save"),
    "archive": (archive, "several arrays"),
    "huge": (with_header((10**9, 4)), "numpy.save"),
    "overflowing": (with_header((2**62, 4)), "numpy.save"),
    "of truth": (with_header((True, 4)), "numpy.save"),
    "half a shape": (with_header("(2, 4"), "numpy.save"),
    "of bytes": (with_header((2, 4), "{{b'descr': '<f8', 'fortran_order': False, 'shape': {}}}"), "numpy.save"),
    "brackets": (with_header("(" * 60), "numpy.save"),
    "pipe": (lambda path: (path.unlink(), os.mkfifo(path)), "is a pipe or a device"),
    "complex": (write_npy(np.ones((2, 4), complex)), "complex"),
    "strings": (write_npy(np.array([["a"] * 4])), "real numbers"),
    "flat": (write_npy(np.ones(4)), "(batch, 4)"),
    "wide": (write_npy(np.ones((2, 5))), "(batch, 4)"),
    "no samples": (write_npy(np.ones((0, 4))), "(batch, 4)"),
    "more samples": (write_npy(np.ones((3, 4))), "3 samples"),
    "NaN": (write_npy(np.array([[0.0] * 4, [0, np.nan, 0, 0]])), "in 1 of 2 rows"),
    "infinity": (write_npy(np.full((2, 4), np.inf)), "in 2 of 2 rows"),
}


@pytest.mark.parametrize("wrong", ARRAYS)
@pytest.mark.parametrize("command", ["simulate", "export", "circuit"])
def test_inputs(run, folder, sample, wrong, command):
    spoil, about = ARRAYS[wrong]
    spoil(folder / "x.npy")
    out = folder / ("o.cir" if command == "export" else "o")
    assert_refused(run(command, *sample, "--out", out), about, out)


def test_targets(run, folder, sample):
    np.save(folder / "y.npy", np.ones((2, 4)))
    assert_refused(run("simulate", *sample, "--out", folder / "o"), "--target", folder / "o")


NETWORKS = {
    "absent": lambda path: path.unlink(),
    "folder": lambda path: (path.unlink(), path.mkdir()),
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-5]),
    "pickle": lambda path: path.write_bytes(pickle.dumps({"W": 1})),
    "no JSON": lambda path: path.write_bytes(struct.pack("<Q", 4) + b"net!" + b"\0" * 20),
}


@pytest.mark.parametrize("wrong", NETWORKS)
def test_networks(run, folder, sample, wrong):
    NETWORKS[wrong](folder / "net.safetensors")
    assert_refused(run("simulate", *sample, "--out", folder / "o"), "net.safetensors", folder / "o")


@pytest.mark.parametrize(
    ("options", "about"),
    [
        (["--beta", "0"], "beta=0"),
        (["--beta", "-1"], "beta=-1"),
        (["--beta", "nan"], "beta"),
        (["--tol", "0"], "--tol"),
        (["--tol", "nan"], "--tol"),
        (["--max-time", "0"], "--max-time"),
        (["--max-time", "nan"], "--max-time"),
        (["--max-time", "inf"], "--max-time"),
        (["--points", "1"], "--points"),
    ],
)
def test_numbers_without_meaning(run, folder, sample, options, about):
    assert_refused(run("simulate", *sample, *options, "--out", folder / "o"), about, folder / "o")


@pytest.mark.parametrize("option", ["--sizes 3,2", "--gain 4", "--activation tanh", "--density 0.5", "--tau 2"])
def test_a_network_file_is_not_described_anew(run, folder, option):
    net = folder / "net.safetensors"
    assert_refused(run("stability", net, *option.split(), "--out", folder / "o"), "two networks", folder / "o")


@pytest.mark.parametrize("command", ["export", "circuit"])
def test_beta_of_a_circuit(run, folder, sample, command):
    out = folder / "o.cir"
    assert_refused(run(command, *sample, "--beta", "0", "--out", out), "beta=0", out)


@pytest.mark.parametrize(
    ("options", "about"),
    [
        ([], "no network"),
        (["--sizes", "3"], "sizes"),
        (["--sizes", "3,0,2"], "sizes"),
        (["--sizes", f"1{400 * '0'},2"], "whole numbers of at least 1 and below 2^31"),
        (["--graph", f"1{400 * '0'}", "--inputs", "2", "--outputs", "1"], "neurons=1000"),
        (["--sizes", "3,2", "--graph", "5"], "two networks"),
        (["--sizes", "3,2", "--density", "0.5"], "two networks"),
        (["--gain", "0.3"], "no network is described"),
        (["--graph", "5"], "--inputs"),
        (["--graph", "5", "--inputs", "2", "--outputs", "9"], "outputs"),
        (["--graph", "5", "--inputs", "2", "--outputs", "1", "--density", "0"], "density"),
        (["--sizes", "3,2", "--activation", "step"], "step"),
        (["--sizes", "3,2", "--gain", "nan"], "--gain"),
        (["--sizes", "3,2", "--symmetry", "1.5"], "--symmetry"),
        (["--sizes", "3,2", "--symmetry", "nan"], "--symmetry"),
        (["--sizes", "3,2", "--seed", "-1"], "--seed"),
    ],
)
def test_networks_that_cannot_be_drawn(run, tmp_path, options, about):
    out = tmp_path / "n.safetensors"
    assert_refused(run("init", *options, "--out", out), about, out)


@pytest.mark.parametrize(
    ("options", "about"),
    [
        (["--rules", "magic"], "magic"),
        (["--rules", ","], "at least one"),
        (["--seeds", "0"], "--seeds"),
        (["--samples", "-3"], "--samples"),
        (["--beta", "1"], "beta=1"),
    ],
)
def test_sweeps_that_cannot_be_made(run, tmp_path, options, about):
    assert_refused(run("align", "--sizes", "3,2", *options, "--out", tmp_path / "o"), about, tmp_path / "o")


@pytest.mark.parametrize(
    ("options", "about"),
    [
        (["--rule", "magic"], "magic"),
        (["--sizes", "63,10"], "64 inputs"),
        (["--epochs", "0"], "epochs"),
        (["--learning-rates", "0.1,0.2,0.3"], "learning_rates"),
        (["--learning-rates", "fast"], "fast"),
        (["--beta", "0"], "beta=0"),
        (["--gain", "inf"], "--gain"),
        (["--data", "mnist"], "get its four IDX files"),
    ],
)
def test_training_that_cannot_start(run, tmp_path, monkeypatch, options, about):
    monkeypatch.delenv("EQPROP_FIELD_DATA", raising=False)
    said = run("train", *options, "--out", tmp_path / "o")
    assert (said.code, len(said.err.splitlines())) == (2, 1)
    assert about in said.err


def test_data_in_an_empty_folder(run, tmp_path):
    said = run("train", "--data", "mnist", "--data-dir", tmp_path, "--out", tmp_path / "o")
    assert_refused(said, "train-images", tmp_path / "o")


@pytest.mark.parametrize("command", ["simulate", "circuit", "align", "train", "demo"])
def test_out_is_a_file(run, folder, sample, command):
    arguments = {"simulate": sample, "circuit": sample, "align": ["--sizes", "3,2"]}.get(command, [])
    (folder / "o").write_text("mine")
    said = run(command, *arguments, "--out", folder / "o")
    assert (said.code, len(said.err.splitlines())) == (2, 1)
    assert (folder / "o").read_text() == "mine"


def test_out_below_a_file(run, folder, sample):
    said = run("simulate", *sample, "--out", folder / "x.npy" / "o")
    assert (said.code, len(said.err.splitlines())) == (2, 1)


def test_sample_that_is_not_there(run, folder, sample):
    assert_refused(run("export", *sample, "--sample", "2", "--out", folder / "o.cir"), "0 to 1", folder / "o.cir")


@pytest.mark.parametrize("command", ["circuit", "simulate"])
def test_no_ngspice(run, folder, sample, monkeypatch, command):
    monkeypatch.setenv("PATH", str(folder))
    options = ["--substrate", "circuit"] if command == "simulate" else []
    said = run(command, *sample, *options, "--out", folder / "o")
    assert (said.code, len(said.err.splitlines())) == (2, 1)
    assert "install" in said.err


def assert_refused(said, about: str, out: pathlib.Path) -> None:
    """Exit code 2, one sentence that names the matter, and nothing written."""
    assert said.code == 2
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert about in said.err
    assert not out.exists()
