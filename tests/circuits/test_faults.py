"""What can go wrong around ngspice, done for real: kills, full disks, interrupts, poison, hostile names."""

import dataclasses
import os
import pathlib
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np
import pytest

from eqprop_field.circuits import (
    Batch,
    Behavioural,
    Netlist,
    NgspiceMissing,
    Shared,
    SimulatorFailed,
    find_ngspice,
)
from eqprop_field.circuits.ngspice import sandbox

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


_PARENTS = {
    "engine": "from eqprop_field.circuits import Batch, run_all\nrun_all(Batch({fake!r}), [n] * 4, 2)",
    "campaign": "from sleepers import Sleepers\nfrom eqprop_field.circuits import run_campaign\n"
    "run_campaign(Sleepers({fake!r}, n), workers=2)",
}
_SLEEPERS = """
from eqprop_field.circuits import AbstractTask, Batch

class Sleepers(AbstractTask):
    def __init__(self, fake, netlist):
        self.fake, self.netlist = fake, netlist
    def __len__(self):
        return 4
    def __call__(self, index):
        Batch(self.fake).run(self.netlist)
    def describe(self):
        return {}
"""


@pytest.mark.parametrize("kind", _PARENTS)
def test_nothing_outlives_a_parent_that_is_killed(kind, netlist, tmp_path):
    """Not the simulators, what they started, the workers, and not their folders."""
    pids, fake = tmp_path / "pids", tmp_path / "fake"
    fake.write_text(f"#!/bin/sh\necho $$ >> {pids}; sleep 600 & echo $! >> {pids}; echo $PPID >> {pids}; wait\n")
    fake.chmod(0o755)
    netlist.write(tmp_path / "net.cir")
    (tmp_path / "sleepers.py").write_text(_SLEEPERS)
    (tmp_path / "temporary").mkdir()
    script = f"""
from eqprop_field.circuits import Netlist
n = Netlist(open({str(tmp_path / "net.cir")!r}).read(), ("s0", "s1"), {netlist.end_s!r}, {{}})
{_PARENTS[kind].format(fake=str(fake))}
"""
    paths = os.pathsep.join([str(tmp_path), str(_ROOT)])
    environment = os.environ | {"PYTHONPATH": paths, "TMPDIR": str(tmp_path / "temporary")}
    python = subprocess.Popen([sys.executable, "-c", script], env=environment)
    for _ in range(1200):
        if pids.exists() and len(pids.read_text().split()) >= 6:
            break
        time.sleep(0.05)
    assert list((tmp_path / "temporary").iterdir())
    python.kill()
    python.wait()
    found = [int(pid) for pid in pids.read_text().split()]
    assert len(found) == 6 and all(gone(pid) for pid in found)
    for _ in range(60):
        if not (left := list((tmp_path / "temporary").iterdir())):
            break
        time.sleep(0.05)
    assert left == []


_WINDOWS = {
    "the folder is made": "",
    "the child waits, and its guard does not know it": "sandbox._tell = lambda *_: os.kill(os.getpid(), 9)",
    "the guard knows the child, which still waits": (
        "told = sandbox._tell\nsandbox._tell = lambda *_: (told(*_), os.kill(os.getpid(), 9))"
    ),
}


@pytest.mark.parametrize("moment", _WINDOWS)
def test_nothing_is_left_where_a_parent_is_killed_as_it_starts_a_child(moment, temporary):
    script = f"""
import os, sys
from eqprop_field.circuits.ngspice import sandbox
with sandbox.private_folder() as folder:
    assert folder.is_dir()
    {_WINDOWS[moment].replace(chr(10), chr(10) + "    ")}
    if "child" in {moment!r}:
        sandbox.Child(["sleep", "600"], folder, pass_fds=[int(sys.argv[1])])
    os.kill(os.getpid(), 9)
"""
    held, holder = os.pipe()
    environment = os.environ | {"PYTHONPATH": str(_ROOT), "TMPDIR": str(temporary)}
    command = [sys.executable, "-c", script, str(holder)]
    assert subprocess.run(command, env=environment, pass_fds=[holder], check=False).returncode == -signal.SIGKILL
    os.close(holder)
    assert select.select([held], [], [], 10.0)[0] and os.read(held, 1) == b""  # whoever held it has ended
    os.close(held)
    for _ in range(100):
        if not (left := list(temporary.iterdir())):
            break
        time.sleep(0.05)
    assert left == []


def test_folders_of_processes_that_are_no_more_are_swept(temporary, monkeypatch):
    monkeypatch.setattr(sandbox, "_STALE_S", -1.0)
    (temporary / "eqprop-campaign-dead" / "eqprop-circuit-dead").mkdir(parents=True)
    (temporary / "somebody-elses").mkdir()
    sandbox._sweep.cache_clear()
    with sandbox.private_folder("campaign") as held:
        sandbox._sweep.cache_clear()
        with sandbox.private_folder() as folder:
            assert {path.name for path in temporary.iterdir()} == {"somebody-elses", held.name, folder.name}
    assert [path.name for path in temporary.iterdir()] == ["somebody-elses"]


def test_a_place_without_room_is_one_sentence(temporary, netlist, monkeypatch, tmp_path):
    fake = tmp_path / "fake"
    fake.write_text("#!/bin/sh\nprintf 'Title: x' > out.raw\n")
    fake.chmod(0o755)
    with monkeypatch.context() as full:
        full.setattr(sandbox.shutil, "disk_usage", lambda path: type("usage", (), {"free": 0}))
        with pytest.raises(SimulatorFailed, match=r"the disk of .*temporary is full.*TMPDIR"):
            Batch(fake).run(netlist)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(OSError, match="no room for temporary files .*TMPDIR"):
        Batch(fake).run(netlist)


def test_a_log_is_kept_by_its_head_and_its_tail(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"begun\n" + b"x" * 1_000_000 + b"\nended")
    log = sandbox.read_log(path)
    assert log.startswith("begun") and log.endswith("ended") and len(log) < 140_000
    left_out = 1_000_012 - 2 * 65536
    assert f"... {left_out} bytes left out ..." in log
    for size in (0, 10, 65536, 65537, 131072):
        path.write_bytes(b"y" * size)
        assert sandbox.read_log(path) == "y" * size


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits another process's memory")
def test_a_simulator_that_takes_too_much_memory_fails(netlist, temporary, tmp_path):
    fake = tmp_path / "fake"
    fake.write_text("#!/bin/sh\nsleep 0.2\nhead -c 200000000 /dev/zero | tail -c 199999999 > /dev/null || exit 7\n")
    fake.chmod(0o755)
    with pytest.raises(SimulatorFailed, match="exit code 7"):
        Batch(fake, memory_bytes=100_000_000).run(netlist)
    with pytest.raises(SimulatorFailed, match="without writing a result"):
        Batch(fake).run(netlist)


def test_what_does_not_call_itself_ngspice_is_none(tmp_path):
    with pytest.raises(NgspiceMissing, match="/true is no ngspice"):
        find_ngspice("/bin/true")
