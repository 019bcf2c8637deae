"""Engines: both give the same numbers; whatever ngspice does, the user gets one sentence and nothing stays behind."""

import os
import pathlib
import signal
import stat
import subprocess
import sys
import tempfile
import time

import numpy as np
import pytest

from eqprop_field.circuits import (
    Batch,
    Netlist,
    NgspiceMissing,
    Shared,
    SimulatorFailed,
    find_library,
    find_ngspice,
    find_pyspice,
    parse_raw,
    run_all,
)


@pytest.fixture
def temporary(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """Where engines put their private folders during this test."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def fake(tmp_path: pathlib.Path):
    """Makes an executable that poses as ngspice."""

    def make(body: str) -> str:
        path = tmp_path / "fake-ngspice"
        path.write_text(f"#!/bin/sh\necho the log of it\n{body}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return str(path)

    return make


def gone(pid: int) -> bool:
    """Whether a process has ended (a zombie has)."""
    for _ in range(100):
        try:
            os.kill(pid, 0)
            if pathlib.Path(f"/proc/{pid}/stat").exists():
                if pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                    return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.02)
    return False


@pytest.fixture
def shared(ngspice: str, temporary: pathlib.Path):
    """The PySpice engine, where libngspice is installed."""
    del ngspice
    try:
        engine = Shared(recycle_after=3, timeout_s=60.0)
    except NgspiceMissing as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    with engine:
        yield engine
    assert list(temporary.iterdir()) == []


def test_what_is_installed_is_found(ngspice):
    found = find_ngspice()
    assert os.path.samefile(found.path, ngspice)
    said = subprocess.run([ngspice, "--version"], capture_output=True, text=True, check=True).stdout
    assert f"ngspice-{found.version}" in said
    assert found.klu == ("KLU" in said)
    assert find_pyspice()


@pytest.mark.parametrize("given", [None, "/nowhere/ngspice"])
def test_missing_ngspice_says_how_to_install_it(given, netlist, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(NgspiceMissing, match="apt install ngspice"):
        Batch(given).run(netlist)
    with pytest.raises(NgspiceMissing):
        run_all(Batch(given), [netlist] * 3, 2)


def test_missing_library_says_so(tmp_path):
    with pytest.raises(NgspiceMissing, match="no libngspice at"):
        find_library(tmp_path / "libngspice.so")


def test_an_executable_that_is_none_is_named(tmp_path, netlist):
    path = tmp_path / "ngspice"
    path.write_bytes(b"\x7fELF not really")
    path.chmod(0o755)
    with pytest.raises(SimulatorFailed, match="could not be started"):
        Batch(path).run(netlist)


def test_batch_leaves_nothing_and_repeats_itself(netlist, ngspice, temporary):
    first, second = Batch(ngspice).run(netlist), Batch(ngspice).run(netlist)
    np.testing.assert_array_equal(first.volts, second.volts)
    assert first.times_s[-1] == pytest.approx(netlist.end_s, rel=1e-12)
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("exit 1", "exit code 1"),
        ("kill -9 $$", "killed by signal 9"),
        ("echo 'Timestep too small; time = 1e-6'; exit 1", "exit code 1: its time steps became too small, as where a"),
        ("exit 0", "without writing a result"),
        ("printf 'Title: x\\nFlags: real\\n' > out.raw", "no binary section"),
        ("printf 'rubbish' > out.raw; exit 0", "no binary section"),
    ],
)
def test_dying_simulator_is_one_sentence_with_its_log(body, says, fake, netlist, temporary):
    with pytest.raises(SimulatorFailed, match=says) as caught:
        Batch(fake(body)).run(netlist)
    assert "the log of it" in str(caught.value)
    assert list(temporary.iterdir()) == []


def test_hanging_simulator_is_ended_with_all_its_children(fake, netlist, tmp_path, temporary):
    pids = tmp_path / "pids"
    engine = Batch(fake(f"sleep 600 & echo $! > {pids}; echo $$ >> {pids}; wait"), timeout_s=0.5)
    begun = time.monotonic()
    with pytest.raises(SimulatorFailed, match=r"within 0\.5 s"):
        engine.run(netlist)
    assert time.monotonic() - begun < 10
    assert all(gone(int(pid)) for pid in pids.read_text().split())
    assert list(temporary.iterdir()) == []


def test_a_simulator_that_no_longer_gets_ahead_is_ended(fake, netlist, temporary, monkeypatch):
    monkeypatch.setattr("eqprop_field.circuits.ngspice.batch._STALL_S", 0.5)
    engine = Batch(fake("printf ' Reference value :  1.00000e-06 \\r Reference value :  2.50000e-06 \\r'; sleep 600"))
    with pytest.raises(SimulatorFailed, match=r"stood still at 2\.5e-06 s"):
        engine.run(netlist)
    assert list(temporary.iterdir()) == []


def test_partial_and_stale_results_are_not_mistaken(fake, netlist, ngspice, tmp_path, temporary):
    """A real result cut short, and a real result of another, shorter transient."""
    whole = tmp_path / "whole.raw"
    (tmp_path / "net.cir").write_text(netlist.text)
    subprocess.run([ngspice, "-n", "-b", "net.cir", "-r", str(whole)], cwd=tmp_path, check=True, capture_output=True)
    assert len(Batch(fake(f"cp {whole} out.raw")).run(netlist).times_s) > 10
    data = whole.read_bytes()
    for cut, says in ((len(data) - 5, "inside a point"), (len(data) - 24, "header says")):
        whole.write_bytes(data[:cut])
        with pytest.raises(SimulatorFailed, match=says):
            Batch(fake(f"cp {whole} out.raw")).run(netlist)
    whole.write_bytes(data)
    longer = Netlist(netlist.text, netlist.state_nodes, 2 * netlist.end_s, netlist.map)
    with pytest.raises(SimulatorFailed, match="stopped at"):
        Batch(fake(f"cp {whole} out.raw")).run(longer)
    other = Netlist(netlist.text, (*netlist.state_nodes, "s2"), netlist.end_s, netlist.map)
    with pytest.raises(SimulatorFailed, match=r"no v\(s2\)"):
        Batch(fake(f"cp {whole} out.raw")).run(other)
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("kind", ["batch", "shared"])
def test_hostile_start_up_files_are_not_executed(kind, netlist, ngspice, tmp_path, monkeypatch, request):
    for variable, name in (("HOME", ".spiceinit"), ("SPICE_SCRIPTS", "spinit")):
        folder = tmp_path / variable
        folder.mkdir()
        (folder / name).write_text(f"* hostile\nshell touch {tmp_path}/owned-{variable}\n")
        (folder / "spice.rc").write_text(f"* hostile\nshell touch {tmp_path}/owned-{variable}\n")
        monkeypatch.setenv(variable, str(folder))
    monkeypatch.chdir(tmp_path / "HOME")
    monkeypatch.setenv("SPICE_LIB_DIR", str(tmp_path))
    # The bait works: the same program runs it when it is not kept away.
    subprocess.run([ngspice, "-b", "/dev/null"], capture_output=True, check=False, timeout=30)
    baits = [tmp_path / "owned-HOME", tmp_path / "owned-SPICE_SCRIPTS"]
    assert any(bait.exists() for bait in baits)
    for bait in baits:
        bait.unlink(missing_ok=True)
    engine = Batch() if kind == "batch" else request.getfixturevalue("shared")
    engine.run(netlist)
    assert not any(bait.exists() for bait in baits)


def test_shared_engine_gives_the_same_numbers_across_recycling(netlist, ngspice, shared):
    expected = Batch(ngspice).run(netlist)
    for _ in range(5):
        got = shared.run(netlist)
        np.testing.assert_array_equal(got.times_s, expected.times_s)
        np.testing.assert_array_equal(got.volts, expected.volts)


def test_shared_engine_survives_a_bad_netlist_and_a_crash(netlist, shared):
    expected = shared.run(netlist)
    bad = Netlist(netlist.text.replace("r0 tanh ", "r0 nosuch "), netlist.state_nodes, netlist.end_s, {})
    with pytest.raises(SimulatorFailed):
        shared.run(bad)
    np.testing.assert_array_equal(shared.run(netlist).volts, expected.volts)
    (worker,) = shared._alive
    os.kill(worker.process.pid, signal.SIGKILL)
    with pytest.raises(SimulatorFailed, match="died"):
        shared.run(netlist)
    np.testing.assert_array_equal(shared.run(netlist).volts, expected.volts)
    assert gone(worker.process.pid)


def test_shared_engine_ends_a_run_that_takes_too_long(netlist, shared):
    text = netlist.text.replace(".tran ", ".tran 1e-13 1 0 1e-13 uic\n*")
    endless = Netlist(text, netlist.state_nodes, 1.0, {})
    shared.run(netlist)
    (worker,) = shared._alive
    shared.timeout_s = 0.5
    with pytest.raises(SimulatorFailed, match=r"within 0\.5 s"):
        shared.run(endless)
    assert gone(worker.process.pid)


def test_one_failure_does_not_end_the_others(netlist, ngspice):
    bad = Netlist(netlist.text.replace("r0 tanh ", "r0 nosuch "), netlist.state_nodes, netlist.end_s, {})
    results = run_all(Batch(ngspice), [netlist, bad, netlist], 3)
    assert isinstance(results[1], SimulatorFailed)
    np.testing.assert_array_equal(results[0].volts, results[2].volts)


def test_the_users_interrupt_leaves_no_process(fake, netlist, tmp_path):
    """Ctrl-C in the middle of a batch, in a Python of its own."""
    pids = tmp_path / "pids"
    executable = fake(f"echo $$ >> {pids}; sleep 600 & echo $! >> {pids}; wait")
    netlist.write(tmp_path / "net.cir")
    script = f"""
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background may ignore it
from eqprop_field.circuits import Batch, Netlist, run_all
n = Netlist(open({str(tmp_path / "net.cir")!r}).read(), ("s0", "s1"), {netlist.end_s!r}, {{}})
run_all(Batch({executable!r}), [n] * 4, 2)
"""
    root = str(pathlib.Path(__file__).parents[2])
    environment = os.environ | {"PYTHONPATH": root, "TMPDIR": str(tmp_path)}
    python = subprocess.Popen([sys.executable, "-c", script], env=environment, stderr=subprocess.PIPE, text=True)
    for _ in range(600):
        if pids.exists() and len(pids.read_text().split()) >= 4:
            break
        time.sleep(0.05)
    python.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in python.communicate(timeout=30)[1]
    assert all(gone(int(pid)) for pid in pids.read_text().split())
    assert not list(tmp_path.glob("eqprop-circuit-*"))


def test_what_a_run_used_and_left_is_kept_where_it_is_asked_for(ngspice, netlist, temporary, tmp_path, fake):
    kept = tmp_path / "kept"
    found = Batch(keep_raw=kept).run(netlist)
    (deck,) = kept.glob("run_????????.cir")
    assert deck.read_text() == netlist.text and {path.suffix for path in kept.iterdir()} == {".cir", ".raw", ".log"}
    vectors = parse_raw(deck.with_suffix(".raw").read_bytes())
    np.testing.assert_array_equal(vectors["time"], found.times_s)
    np.testing.assert_array_equal(vectors["v(s0)"], found.volts[:, 0])
    assert deck.with_suffix(".log").read_text() == found.log
    failed = tmp_path / "failed"
    with pytest.raises(SimulatorFailed, match="exit code 3"):
        Batch(fake("exit 3"), keep_raw=failed).run(netlist)
    assert {path.suffix for path in failed.iterdir()} == {".cir", ".log"} and list(temporary.iterdir()) == []
