"""Training, a campaign and a circuit killed at random moments: do they end in the same bits, and what is left behind?

A run is killed (SIGKILL) and begun again in the same folder until it is finished, then compared with one that was not;
then another begins, until there were as many kills as asked for. Only the process itself is killed: what it started
has to notice. A fault is a run that ends in other bits or with other files, more than 30 seconds lost of what can be
resumed (all but a circuit), and a process or a temporary folder that is still there five seconds after its end.

Usage: kill.py [--kills 50] [--seed 0] [--size 1.0] [train] [campaign] [circuit]
"""

import argparse
import dataclasses
import hashlib
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

_MOST_S = 30.0
_GRACE_S = 5.0


def _digest(*parts: Any) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part if isinstance(part, bytes) else repr(part).encode())
    return digest.hexdigest()


def train(folder: pathlib.Path, size: float) -> str:
    """Learns digits, and gives a digest of all that was learnt."""
    import jax
    import numpy as np

    import eqprop_field as epf

    data = epf.digits(0)
    rule = epf.EqProp(nudging=epf.Nudging.symmetric(0.2), substrate=epf.Equilibrium(tol=1e-3, solver=epf.Sweeps(100)))
    field = epf.LayeredField.create(jax.random.key(0), (64, 32, 10), gain=0.25)
    rates, epochs = (0.05, 0.2), max(1, round(10 * size))
    settings = epf.Settings(epochs=epochs, batch_size=4, learning_rates=rates, optimiser="momentum")
    print("begun", flush=True)
    run = epf.train(field, rule, data, settings, out=folder, resume=True, checkpoint_seconds=0.5, progress=False)
    networks = [sorted(network.tensors().items()) for network in (run.field, run.last_field)]
    tensors = [np.asarray(tensor).tobytes() for network in networks for _, tensor in network]
    errors = [(entry["train_objective"], entry["validation_error"], entry["verdicts"]) for entry in run.history]
    return _digest(*tensors, errors, run.best_epoch, run.test_error)


def _network() -> tuple[Any, Any, Any]:
    import jax
    import numpy as np

    import eqprop_field as epf

    field = epf.LayeredField.create(jax.random.key(0), (2, 4, 1), activation=epf.activation("tanh"), gain=0.8)
    return field, np.array([[0.3, -0.8], [0.9, 0.5]]), np.array([[0.5], [-0.5]])


def campaign(folder: pathlib.Path, size: float) -> str:
    """Simulates chips of a network by two workers, and gives a digest of the fidelity of every one."""
    from eqprop_field import circuits

    folder.mkdir(exist_ok=True)
    field, x, y = _network()
    print("begun", flush=True)
    chips = max(2, round(40 * size))
    return _digest(circuits.montecarlo(field, x, y, chips, path=folder / "runs.h5", workers=2).rows())


def circuit(folder: pathlib.Path, size: float) -> str:
    """Runs a circuit beside its ODE, saves the result, and gives a digest of it."""
    from eqprop_field import circuits

    field, x, y = _network()
    print("begun", flush=True)
    result = circuits.verify(field, x, y, 0.1, workers=1 if size < 1 else 2)
    result.save(folder)
    return _digest(result.verdict.name, result.update_cosine, result.lines())


@dataclasses.dataclass(frozen=True)
class _Kind:
    """What is killed, and the file that keeps what it has done, if any does."""

    run: Callable[[pathlib.Path, float], str]
    kept: str | None


KINDS = {
    "train": _Kind(train, "checkpoint.safetensors"),
    "campaign": _Kind(campaign, "runs.h5"),
    "circuit": _Kind(circuit, None),
}


class _Place:
    """A folder for the runs of one kind, and one for their temporary files, by which what they started is known."""

    def __init__(self, kind: str, size: float, work: pathlib.Path) -> None:
        self.kind, self.size, self.work, self.temporary = kind, size, work, work / "tmp"
        self.temporary.mkdir(parents=True)

    def start(self, folder: pathlib.Path) -> subprocess.Popen[str]:
        """A run, waited for until it has begun."""
        command = [sys.executable, __file__, "--run", str(folder), "--size", str(self.size), self.kind]
        environment = os.environ | {"TMPDIR": str(self.temporary)}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert process.stdout is not None
        if process.stdout.readline() != "begun\n":
            raise SystemExit("the run did not begin")
        return process

    def left_behind(self) -> list[str]:
        """What is still there after a while: temporary folders, and processes that have this place as theirs."""
        end = time.monotonic() + _GRACE_S
        while left := [f"the folder {name}" for name in os.listdir(self.temporary)] + self._processes():
            if time.monotonic() > end:
                break
            time.sleep(0.05)
        return left

    def _processes(self) -> list[str]:
        mine, found = f"TMPDIR={self.temporary}".encode(), []
        for entry in pathlib.Path("/proc").glob("[0-9]*/environ"):
            try:
                if mine in entry.read_bytes().split(b"\0"):
                    found.append(f"the process {entry.parent.name}")
            except OSError:  # it has ended, or is somebody else's
                continue
        return found


def kill_at_random(kind: str, kills: int, size: float, seed: int, work: pathlib.Path) -> list[str]:
    """Prints a line a kill and a summary; returns the faults."""
    of, place = KINDS[kind], _Place(kind, size, work)
    moments, faults, lost, runs, broken = random.Random(seed), [], [], 0, False
    straight = place.start(work / "straight")
    begun = time.time()
    expected, _ = straight.communicate()
    seconds, results = time.time() - begun, set(os.listdir(work / "straight"))
    print(f"{kind}, not killed: {seconds:.1f} s\n{'kill':>4} {'after s':>8} {'lost s':>7} {'half written':>13}")
    folder = work / "run 0"
    there = lambda: set(os.listdir(folder) if folder.exists() else [])  # noqa: E731
    while len(lost) < kills or broken:
        process, began = place.start(folder), time.time()
        try:
            ended, _ = process.communicate(timeout=moments.uniform(0, seconds) if len(lost) < kills else None)
        except subprocess.TimeoutExpired:
            process.kill()
            lost.append(time.time() - max(began, _written(folder, of.kept)))
            process.communicate()
            print(
                f"{len(lost):>4} {time.time() - began:>8.2f} {lost[-1]:>7.2f} {len(there() - results):>13}", flush=True
            )
            faults += [f"kill {len(lost)} left {thing}" for thing in place.left_behind()]
            broken = True
            continue
        faults += [] if ended == expected else [f"run {runs} ended in other bits"]
        faults += [f"run {runs} left, or left out, {name}" for name in there() ^ results]
        faults += [f"run {runs} left {thing}" for thing in place.left_behind()]
        runs, broken = runs + 1, False
        folder = work / f"run {runs}"
    if of.kept and max(lost) > _MOST_S:
        faults.append(f"{max(lost):.1f} s were lost")
    found = "; ".join(faults) or "none"
    print(f"{kind}: {len(lost)} kills in {runs} runs, at most {max(lost):.2f} s lost; faults: {found}", flush=True)
    return faults


def _written(folder: pathlib.Path, name: str | None) -> float:
    path = folder / (name or "")
    return path.stat().st_mtime if name and path.exists() else 0.0


def main() -> int:
    """Kills as often as asked, and returns 1 for a fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=float, default=1.0, help="of a run, relative to the usual one")
    parser.add_argument("--run", metavar="FOLDER", type=pathlib.Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run:
        print(KINDS[given.kinds[0]].run(given.run, given.size), flush=True)
        return 0
    faults = []
    for kind in given.kinds or KINDS:
        with tempfile.TemporaryDirectory() as work:
            faults += kill_at_random(kind, max(given.kills, 1), given.size, given.seed, pathlib.Path(work))
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
