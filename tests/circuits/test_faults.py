"""What can go wrong around ngspice, done for real: kills, full disks, interrupts, poison, hostile names."""

import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np
import pytest

from eqprop_field.circuits import Batch, Behavioural, Netlist, NgspiceMissing, Shared, SimulatorFailed

_ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def temporary(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """Where engines put their private folders during this test."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def endless(netlist: Netlist) -> Netlist:
    """A transient that takes hours."""
    card = next(line for line in netlist.text.splitlines() if line.startswith(".tran"))
    return dataclasses.replace(netlist, text=netlist.text.replace(card, ".tran 1e-13 1 0 1e-13 uic"), end_s=1.0)


def shared(**options: float) -> Shared:
    try:
        return Shared(**options)
    except NgspiceMissing as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


def gone(pid: int) -> bool:
    for _ in range(100):
        try:
            os.kill(pid, 0)
            if pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.05)
    return False


def test_ngspice_that_is_killed_in_the_middle_of_a_run_is_named(ngspice, endless, temporary):
    engine, found = Batch(ngspice), []

    def kill() -> None:
        while not (running := list(engine._running)):
            time.sleep(0.02)
        time.sleep(0.3)
        found.append(running[0].pid)
        os.kill(running[0].pid, signal.SIGKILL)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    with pytest.raises(SimulatorFailed, match="killed by signal 9"):
        engine.run(endless)
    assert gone(found[0])
    assert list(temporary.iterdir()) == []


def test_a_full_disk_is_a_failure_and_no_result(ngspice, netlist, tmp_path, temporary):
    """A limit on the size of files stands for the disk: the raw file is cut off."""
    limited = tmp_path / "limited-ngspice"
    limited.write_text(f'#!/bin/sh\nulimit -f 4\nexec {ngspice} "$@"\n')
    limited.chmod(0o755)
    with pytest.raises(SimulatorFailed, match=r"killed by signal 25|exit code|raw file|without writing"):
        Batch(limited).run(netlist)
    assert list(temporary.iterdir()) == []
    assert len(Batch(ngspice).run(netlist).times_s) > 10


@pytest.mark.parametrize("poison", ["Rp s0 0 {nosuch}", ".param a={b+1} b={a+1}\nRp s0 0 {a}", "Xp s0 nosuch"], ids=str)
def test_a_poisoned_library_is_replaced(ngspice, netlist, temporary, poison):
    with shared() as engine:
        before = engine.run(netlist)
        sick = dataclasses.replace(netlist, text=netlist.text.replace(".end\n", f"{poison}\n.end\n"))
        with pytest.raises(SimulatorFailed):
            engine.run(sick)
        np.testing.assert_array_equal(engine.run(netlist).volts, before.volts)
    assert list(temporary.iterdir()) == []


def test_the_users_interrupt_ends_the_shared_library(ngspice, endless, tmp_path):
    """Ctrl-C while both workers are in the middle of a transient, in a Python of its own."""
    shared().close()
    endless.write(tmp_path / "net.cir")
    script = f"""
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background may ignore it
import threading, time
from eqprop_field.circuits import Netlist, Shared, run_all
n = Netlist(open({str(tmp_path / "net.cir")!r}).read(), ("s0", "s1"), 1.0, {{}})
engine = Shared(workers=2)
def tell():
    while len(engine._alive) < 2:
        time.sleep(0.05)
    time.sleep(0.5)
    with open({str(tmp_path / "pids.part")!r}, "w") as file:
        file.write(" ".join(str(worker.process.pid) for worker in engine._alive))
    import os
    os.replace({str(tmp_path / "pids.part")!r}, {str(tmp_path / "pids")!r})
threading.Thread(target=tell, daemon=True).start()
run_all(engine, [n] * 4, 2)
"""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environment = os.environ | {"PYTHONPATH": str(_ROOT), "TMPDIR": str(temporary)}
    python = subprocess.Popen([sys.executable, "-c", script], env=environment, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "pids").exists():
        assert python.poll() is None
        time.sleep(0.05)
    python.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in python.communicate(timeout=120)[1]
    assert all(gone(int(pid)) for pid in (tmp_path / "pids").read_text().split())
    assert list(temporary.iterdir()) == []


def test_no_name_of_the_users_reaches_a_netlist(pair, netlist, ngspice, tmp_path, monkeypatch):
    """Neurons have numbers; an activation is one of the library's; a path is never written into its file."""
    for name in ("tanh\n.control\nshell touch owned\n.endc", "../../etc/passwd", "GND", "tänh", "TANH"):
        with pytest.raises(ValueError, match="no circuit can be built with the activation"):
            Behavioural().emit(dataclasses.replace(pair, activation=name))
    folder = tmp_path / "a\n.control\nshell touch owned\n.endc $HOME"
    path, beside = netlist.write(folder / "gnd.cir")
    assert path.read_text() == netlist.text
    assert "owned" not in path.read_text() + beside.read_text()
    monkeypatch.chdir(folder)
    subprocess.run([ngspice, "-n", "-b", "gnd.cir", "-r", "out.raw"], check=True, capture_output=True)
    assert not (folder / "owned").exists()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    assert len(Batch(ngspice).run(netlist).times_s) > 10
