"""Training killed at random moments: does it end in the same bits, what is lost, and what is left behind?

A run is killed (SIGKILL) and resumed until it is finished, then compared with one that was not; then another begins,
until there were as many kills as asked for. A fault is a run that ends in other bits, more than 30 seconds lost, a file
of no result, or a process that goes on.

Usage: kill.py [--kills 50] [--seed 0] [--epochs 10]
"""

import argparse
import hashlib
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

_MOST_S = 30.0
_RESULTS = {"checkpoint.safetensors", "history.csv", "history.jsonl"}


def train(folder: str, epochs: int) -> None:
    """The run: prints `begun`, and at its end a digest of all that it has learnt."""
    import jax
    import numpy as np

    import eqprop_field as epf

    data = epf.digits(0)
    rule = epf.EqProp(nudging=epf.Nudging.symmetric(0.2), substrate=epf.Equilibrium(tol=1e-3, solver=epf.Sweeps(100)))
    field = epf.LayeredField.create(jax.random.key(0), (64, 32, 10), gain=0.25)
    settings = epf.Settings(epochs=epochs, batch_size=4, learning_rates=(0.05, 0.2), optimiser="momentum")
    print("begun", flush=True)
    run = epf.train(field, rule, data, settings, out=folder, resume=True, checkpoint_seconds=0.5, progress=False)
    digest = hashlib.sha256()
    for network in (run.field, run.last_field):
        for name, tensor in sorted(network.tensors().items()):
            digest.update(name.encode() + np.asarray(tensor).tobytes())
    errors = [(entry["train_objective"], entry["validation_error"], entry["verdicts"]) for entry in run.history]
    digest.update(repr((errors, run.best_epoch, run.test_error)).encode())
    print(digest.hexdigest(), flush=True)


def _start(folder: pathlib.Path, epochs: int) -> subprocess.Popen[str]:
    """A run in a session of its own, waited for until it has begun."""
    command = [sys.executable, __file__, "--train", str(folder), "--epochs", str(epochs)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    if process.stdout.readline() != "begun\n":
        raise SystemExit("the run did not begin")
    return process


def _survives(session: int) -> bool:
    try:
        os.killpg(session, 0)
    except ProcessLookupError:
        return False
    return True


def kill_at_random(kills: int, epochs: int, seed: int, work: pathlib.Path) -> list[str]:
    """Prints a line a kill and a summary; returns the faults."""
    moments, faults, lost, runs = random.Random(seed), [], [], 0
    straight = _start(work / "straight", epochs)
    begun = time.time()
    expected, _ = straight.communicate()
    seconds = time.time() - begun
    print(f"not killed: {seconds:.1f} s\n{'kill':>4} {'after s':>8} {'lost s':>7} {'half written':>13}")
    folder = work / "run 0"
    while len(lost) < kills or folder.exists():
        process, began = _start(folder, epochs), time.time()
        if len(lost) < kills:
            try:
                ended, _ = process.communicate(timeout=moments.uniform(0, seconds))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                lost.append(time.time() - max(began, _saved(folder)))
                process.communicate()
                half = len(set(os.listdir(folder)) - _RESULTS) if folder.exists() else 0
                print(f"{len(lost):>4} {time.time() - began:>8.2f} {lost[-1]:>7.2f} {half:>13}", flush=True)
                faults += [f"kill {len(lost)}: a process goes on"] if _survives(process.pid) else []
                continue
        else:
            ended, _ = process.communicate()
        faults += [] if ended == expected else [f"run {runs} ended in other bits"]
        faults += [f"run {runs} left {name}" for name in set(os.listdir(folder)) - _RESULTS]
        runs += 1
        folder = work / f"run {runs}"
    if max(lost) > _MOST_S:
        faults.append(f"{max(lost):.1f} s were lost")
    print(f"{len(lost)} kills in {runs} runs, at most {max(lost):.2f} s lost; faults: {'; '.join(faults) or 'none'}")
    return faults


def _saved(folder: pathlib.Path) -> float:
    path = folder / "checkpoint.safetensors"
    return path.stat().st_mtime if path.exists() else 0.0


def main() -> int:
    """Kills as often as asked, and returns 1 for a fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--train", metavar="FOLDER", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.train:
        train(given.train, given.epochs)
        return 0
    with tempfile.TemporaryDirectory() as work:
        return int(bool(kill_at_random(max(given.kills, 1), given.epochs, given.seed, pathlib.Path(work))))


if __name__ == "__main__":
    sys.exit(main())
