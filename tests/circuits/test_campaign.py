"""Campaigns: the same rows whoever does them, in one file, through kills, hangs, breaks and resumptions."""

import importlib
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eqprop_field as epf
from eqprop_field.circuits import (
    Cell,
    Conditions,
    FidelityCampaign,
    TaskFailed,
    Variation,
    WorkerDied,
    read_campaign,
    run_campaign,
    update_fidelity,
    work_through,
)

_TASK = '''
import os, pathlib, time
from eqprop_field.circuits import AbstractTask

class Squares(AbstractTask):
    """Logs who did what; does something nasty in one run, the first `nasty_times` times."""
    def __init__(self, folder, runs=12, nasty=None, nasty_run=3, nasty_times=1):
        self.folder, self.runs, self.nasty, self.nasty_run = pathlib.Path(folder), runs, nasty, nasty_run
        self.nasty_times = nasty_times
    def __len__(self):
        return self.runs
    def __call__(self, index):
        with open(self.folder / "log", "a") as log:
            log.write(f"{index} {os.getpid()}\\n")
        if index == self.nasty_run and self.nasty:
            tries = self.folder / "tries"
            done = len(tries.read_text()) if tries.exists() else 0
            if done < self.nasty_times:
                tries.write_text("x" * (done + 1))
                if self.nasty == "raise":
                    raise ValueError("seven is not a number")
                (self.folder / "victim.part").write_text(str(os.getpid()))
                os.replace(self.folder / "victim.part", self.folder / "victim")
                time.sleep(600)
        time.sleep(0.01)
        return {"square": float(index**2), "name": f"run {index}", "count": index}
    def describe(self):
        return {"kind": "squares", "runs": self.runs}
'''
EXPECTED = [{"square": float(i**2), "name": f"run {i}", "count": i} for i in range(12)]


@pytest.fixture
def squares(tmp_path, monkeypatch):
    """A task that workers can import, and the folder of its log."""
    (tmp_path / "squares_task.py").write_text(_TASK)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    module = importlib.import_module("squares_task")
    yield lambda **options: module.Squares(tmp_path, **options)
    sys.modules.pop("squares_task")
    assert list((tmp_path / "temporary").iterdir()) == []
    for line in (tmp_path / "log").read_text().splitlines():
        assert gone(int(line.split()[1]))


def gone(pid: int) -> bool:
    """Whether a process has ended, or will as soon as its parent looks (a zombie)."""
    try:
        os.kill(pid, 0)
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (ProcessLookupError, FileNotFoundError):
        return True


def kills_the_victim(folder: pathlib.Path, times: int = 1) -> threading.Thread:
    """Kills the worker that sits in the nasty run, as the system does when memory runs out."""

    def kill() -> None:
        for _ in range(times):
            while not (folder / "victim").exists():
                time.sleep(0.02)
            pid = int((folder / "victim").read_text())
            (folder / "victim").unlink()
            os.kill(pid, signal.SIGKILL)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    return thread


def test_rows_do_not_depend_on_workers(squares, tmp_path):
    for workers in (1, 2):
        path = tmp_path / f"{workers}.h5"
        told = []
        rows = run_campaign(squares(), path, workers=workers, progress=lambda done, total, told=told: told.append(done))
        assert rows == EXPECTED
        assert told == list(range(13))
        said, columns = read_campaign(path)
        assert said == {"kind": "squares", "runs": 12}
        assert columns["run"].tolist() == list(range(12))
        assert columns["name"].tolist() == [row["name"] for row in EXPECTED]
        np.testing.assert_array_equal(columns["square"], np.arange(12) ** 2.0)


def test_a_killed_worker_costs_its_own_run_alone_which_is_done_again(squares, tmp_path):
    killer = kills_the_victim(tmp_path)
    rows = run_campaign(squares(nasty="hang"), tmp_path / "runs.h5", workers=2)
    killer.join(5)
    assert rows == EXPECTED
    done = [int(line.split()[0]) for line in (tmp_path / "log").read_text().splitlines()]
    assert sorted(done) == sorted([*range(12), 3])


def test_a_run_that_kills_every_worker_is_named_and_the_others_are_kept(squares, tmp_path):
    kills_the_victim(tmp_path, times=3)
    with pytest.raises(WorkerDied, match="run 3 ended 3 workers"):
        run_campaign(squares(nasty="hang", nasty_times=3), tmp_path / "runs.h5", workers=1)
    kept = read_campaign(tmp_path / "runs.h5")[1]["run"].tolist()
    assert len(kept) >= 3 and 3 not in kept
    assert run_campaign(squares(), tmp_path / "runs.h5", workers=1) == EXPECTED


def test_a_run_that_hangs_is_ended(squares):
    with pytest.raises(WorkerDied, match=r"after 0\.5 s"):
        list(work_through(squares(nasty="hang", nasty_run=0), [0], workers=1, attempts=1, timeout_s=0.5))


def test_an_error_in_a_run_is_the_campaigns(squares, tmp_path):
    with pytest.raises(TaskFailed, match="run 3: ValueError: seven is not a number"):
        run_campaign(squares(nasty="raise"), tmp_path / "runs.h5", workers=1)
    assert read_campaign(tmp_path / "runs.h5")[1]["run"].tolist() == [0, 1, 2]


def test_a_broken_campaign_is_taken_up(squares, tmp_path):
    def broken(done: int, total: int) -> None:
        if done == 5:
            raise RuntimeError("the lights went out")

    with pytest.raises(RuntimeError, match="lights"):
        run_campaign(squares(), tmp_path / "runs.h5", workers=1, progress=broken)
    assert len(read_campaign(tmp_path / "runs.h5")[1]["run"]) == 5
    (tmp_path / "log").unlink()
    assert run_campaign(squares(), tmp_path / "runs.h5", workers=1) == EXPECTED
    done = sorted(int(line.split()[0]) for line in (tmp_path / "log").read_text().splitlines())
    assert done == list(range(5, 12))
    assert run_campaign(squares(), tmp_path / "runs.h5") == EXPECTED  # nothing left to do


def test_files_of_others_are_refused_and_left_alone(squares, tmp_path):
    path = tmp_path / "runs.h5"
    run_campaign(squares(), path, workers=1)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="another campaign"):
        run_campaign(squares(runs=13), path)
    assert path.read_bytes() == before
    for content, said in ((b"", "no HDF5 file"), (b"rubbish", "no HDF5 file"), (before[:200], "damaged")):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"runs\.h5 is {said}"):
            run_campaign(squares(), path)
        assert path.read_bytes() == content


def test_the_users_interrupt_keeps_the_rows_and_ends_everyone(squares, tmp_path):
    task = squares()
    script = f"""
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background may ignore it
from squares_task import Squares
from eqprop_field.circuits import run_campaign
run_campaign(Squares({str(task.folder)!r}, nasty="hang"), {str(tmp_path / "runs.h5")!r}, workers=2)
"""
    paths = os.pathsep.join([str(tmp_path), str(pathlib.Path(__file__).parents[2])])
    environment = os.environ | {"PYTHONPATH": paths, "TMPDIR": str(tmp_path / "temporary")}
    python = subprocess.Popen([sys.executable, "-c", script], env=environment, stderr=subprocess.PIPE, text=True)
    for _ in range(1200):
        if (tmp_path / "log").exists() and len((tmp_path / "log").read_text().splitlines()) == 12:
            break
        time.sleep(0.05)
    time.sleep(0.3)
    python.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in python.communicate(timeout=30)[1]
    kept = read_campaign(tmp_path / "runs.h5")[1]["run"].tolist()
    assert kept == [i for i in range(12) if i != 3]


def test_workers_import_nothing_from_the_current_folder(squares, tmp_path, monkeypatch):
    hostile = tmp_path / "hostile"
    for name in ("circuits/__init__.py", "eqprop_field/__init__.py", "jax.py", "random.py", "numpy.py"):
        (hostile / name).parent.mkdir(parents=True, exist_ok=True)
        (hostile / name).write_text(f"open({str(tmp_path / 'owned')!r}, 'w')\n")
    monkeypatch.chdir(hostile)
    assert run_campaign(squares(), workers=1) == EXPECTED
    assert not (tmp_path / "owned").exists()


@pytest.fixture
def circuits_campaign():
    """Three chips of a small network, and one cell whose ngspice has little to do."""
    field = epf.LayeredField.create(jax.random.key(0), (2, 3, 1), activation=epf.activation("tanh"))
    conditions = Conditions(variation=Variation.everywhere(0.05, 0.02), time=20.0, tol=1e-3)
    cells = [Cell("chip", 0.05, k, conditions) for k in range(3)]
    return FidelityCampaign(field, np.array([[0.3, -0.8], [0.9, 0.5]]), np.array([[0.5], [-0.5]]), cells, seed=3)


@pytest.mark.slow
def test_circuits_give_the_same_rows_in_a_worker_as_here(ngspice, circuits_campaign, tmp_path):
    here = [circuits_campaign(index) for index in range(3)]
    there = run_campaign(circuits_campaign, tmp_path / "runs.h5", workers=1)
    for ours, theirs in zip(here, there, strict=True):
        assert ours.keys() == theirs.keys()
        for name in ours:
            # Another number of threads may round otherwise.
            assert ours[name] == theirs[name] or ours[name] == pytest.approx(theirs[name], rel=1e-9, nan_ok=True)
    assert len({row["cosine_to_nominal_gradient"] for row in there}) == 3
    task = circuits_campaign
    field = jax.tree.map(jnp.asarray, task.field)
    direct = update_fidelity(field, task.x, task.y, task.cells[1].conditions, chip=1, seed=3)
    assert direct.cosine_to_nominal_gradient == here[1]["cosine_to_nominal_gradient"]


@pytest.mark.slow
def test_a_cluster_gives_the_same_rows_and_replaces_the_dead(squares, tmp_path):
    distributed, dask = pytest.importorskip("distributed"), pytest.importorskip("dask")
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None, "host": "127.0.0.1"}
    scratch = dask.config.set({"temporary-directory": str(tmp_path / "dask")})
    with scratch, distributed.LocalCluster(**options) as cluster:
        killer = kills_the_victim(tmp_path)
        assert (
            run_campaign(squares(nasty="hang"), tmp_path / "runs.h5", scheduler=cluster.scheduler_address) == EXPECTED
        )
        killer.join(5)
    with pytest.raises(ValueError, match="no Dask scheduler answers"):
        run_campaign(squares(runs=13), tmp_path / "other.h5", scheduler="tcp://127.0.0.1:9")
