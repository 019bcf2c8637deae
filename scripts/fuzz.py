"""Damaged files for every reader: each is refused with the reader's own error, or read as if it were whole.

Sound files are cut, flipped, stretched and given numbers that are too large, by Hypothesis. Counted are the inputs
that were refused, those that were read as the sound file, those that were read as another (a fault where the file has
checksums), and the faults: errors of another kind, hangs, and more than 1 GiB of memory.

Usage: fuzz.py [--inputs 10000] [--seed 0] [READER ...]
"""

import argparse
import collections
import dataclasses
import functools
import gzip
import json
import pathlib
import re
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

import eqprop_field as epf
from eqprop_field.circuits import campaign_file, library, parse_raw, read_campaign
from eqprop_field.datasets import mnist, read_array
from eqprop_field.kernel_networks import table
from eqprop_field.training import CheckpointError
from eqprop_field.training.checkpoint import Checkpoint, RunState

_LONGEST_S = 10
_MOST_BYTES = 2**30
_NUMBERS = [b"-1", b"0", b"4294967296", b"9223372036854775807", b"1" + 400 * b"0", b"1e999", b"NaN", b"true", b"[]"]


@dataclasses.dataclass(frozen=True)
class Reader:
    """One kind of file.

    Attributes:
        write: writes a sound one into a folder, and returns its path.
        read: reads it, and returns all that was found as plain values.
        refusal: the reader's own error.
        has_checksums: whether a changed number must be noticed.
    """

    write: Callable[[pathlib.Path], pathlib.Path]
    read: Callable[[pathlib.Path], Any]
    refusal: type[Exception] = ValueError
    has_checksums: bool = False


class Hang(BaseException):
    """A reader took longer than it may."""


# The readers.

_FIELD = epf.LayeredField.create(jax.random.key(0), (3, 4, 2), gain=0.8)


def _tensors(named: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
    arrays = {name: np.asarray(array) for name, array in named.items()}
    return {name: (array.dtype.str, array.shape, array.tobytes()) for name, array in arrays.items()}


def _write_network(folder: pathlib.Path) -> pathlib.Path:
    epf.save_network(folder / "net.safetensors", _FIELD)
    return folder / "net.safetensors"


def _read_network(path: pathlib.Path) -> Any:
    field = epf.load_network(path)
    return epf.storage.describe(field), _tensors(field.tensors())


def _checkpoint(path: pathlib.Path) -> tuple[Checkpoint, RunState]:
    """A checkpoint as `train` keeps it, and the beginning of its run."""
    state = RunState(_FIELD, optimiser=(), best=_FIELD, history=[])
    return Checkpoint(path, {"seed": 0, "network": epf.storage.describe(_FIELD)}, 20.0), state


def _write_checkpoint(folder: pathlib.Path) -> pathlib.Path:
    keep, state = _checkpoint(folder / "checkpoint.safetensors")
    errors = {"train_error": 0.5, "validation_error": 0.25, "train_objective": 0.1}
    state.record({"epoch": 1, **errors, "verdicts": {"converged": 9}, "seconds": 1.5})
    state.batch = 1
    keep.save(state)
    return keep.path


def _read_checkpoint(path: pathlib.Path) -> Any:
    keep, beginning = _checkpoint(path)
    state = keep.load(beginning, epochs=3, batches=2)
    return _tensors(state.tensors()), state.history, state.batch, state.seconds


_SAMPLES = np.linspace(0, 1, 18).reshape(6, 3)


def _write_npy(folder: pathlib.Path) -> pathlib.Path:
    np.save(folder / "x.npy", _SAMPLES)
    return folder / "x.npy"


def _write_npz(folder: pathlib.Path) -> pathlib.Path:
    np.savez_compressed(folder / "x.npz", x=_SAMPLES)
    return folder / "x.npz"


def _write_csv(folder: pathlib.Path) -> pathlib.Path:
    np.savetxt(folder / "x.csv", _SAMPLES, delimiter=",", header="a,b,c", comments="")
    return folder / "x.csv"


def _read_samples(path: pathlib.Path) -> Any:
    return _tensors({"x": read_array(path, 3, np.float64)})


def _write_idx(folder: pathlib.Path, pack: Callable[[bytes], bytes], ending: str) -> pathlib.Path:
    for part, count in (("train", 6), ("t10k", 3)):
        pixels = bytes(k % 251 for k in range(count * 784))
        (folder / f"{part}-images-idx3-ubyte{ending}").write_bytes(
            pack(struct.pack(">4I", 0x803, count, 28, 28) + pixels)
        )
        (folder / f"{part}-labels-idx1-ubyte{ending}").write_bytes(
            pack(struct.pack(">2I", 0x801, count) + bytes(count))
        )
    return folder / f"train-images-idx3-ubyte{ending}"


_gzip = functools.partial(gzip.compress, mtime=0)


def _read_idx(path: pathlib.Path) -> Any:
    data = mnist(path.parent, validation=2)
    return [_tensors({"x": part.x, "y": part.y}) for part in (data.train, data.validation, data.test)]


def _write_raw(folder: pathlib.Path) -> pathlib.Path:
    names = "".join(f"\t{k}\tv(s{k})\tvoltage\n" for k in range(3))
    header = (
        f"Title: t\nPlotname: Transient Analysis\nFlags: real\nNo. Variables: 3\nNo. Points: 4\nVariables:\n{names}"
    )
    path = folder / "out.raw"
    path.write_bytes(header.encode() + b"Binary:\n" + np.arange(12.0).tobytes())
    return path


def _write_campaign(folder: pathlib.Path) -> pathlib.Path:
    rows: dict[int, Any] = {k: {"cosine": 1 / (k + 1), "verdict": "converged", "chip": k} for k in range(6)}
    campaign_file.write_campaign(folder / "runs.h5", {"kind": "x"}, campaign_file.columns_of(rows))
    return folder / "runs.h5"


def _read_campaign(path: pathlib.Path) -> Any:
    description, columns = read_campaign(path)
    return description, _tensors(columns)


def _write_subcircuit(folder: pathlib.Path) -> pathlib.Path:
    path = folder / "own.sub"
    path.write_text(f"{library.subcircuit('ota').text}\n{library.subcircuit('ota_neuron').text}\n", encoding="ascii")
    return path


def _write_table(folder: pathlib.Path) -> pathlib.Path:
    row = dict.fromkeys(table._MEASURED, 0.5) | {"unit": "LNL", "size": 2, "rule": "lbfgs", "seed": 0}
    (folder / "runs.json").write_text(json.dumps({"settings": {"nrmse": 0.1}, "rows": [row, row]}))
    return folder / "runs.json"


READERS = {
    "network": Reader(_write_network, _read_network, epf.NetworkFileError, True),
    "checkpoint": Reader(_write_checkpoint, _read_checkpoint, CheckpointError, True),
    "campaign": Reader(_write_campaign, _read_campaign, has_checksums=True),
    "npy": Reader(_write_npy, _read_samples),
    "npz": Reader(_write_npz, _read_samples, has_checksums=True),
    "csv": Reader(_write_csv, _read_samples),
    "idx": Reader(functools.partial(_write_idx, pack=bytes, ending=""), _read_idx, epf.DataError),
    "idx.gz": Reader(functools.partial(_write_idx, pack=_gzip, ending=".gz"), _read_idx, epf.DataError, True),
    "raw": Reader(_write_raw, lambda path: _tensors(parse_raw(path.read_bytes()))),
    "subcircuit": Reader(_write_subcircuit, lambda path: library.read_subcircuit(path).text),
    "runs": Reader(_write_table, lambda path: table._kept(path, {"nrmse": 0.1}, resume=True)),
}


# Damage.


def damaged(content: bytes) -> st.SearchStrategy[bytes]:
    """The content after one to four accidents."""
    return st.lists(st.one_of(_accidents(content)), min_size=1, max_size=4).map(
        lambda accidents: functools.reduce(lambda data, accident: accident(data), accidents, content)
    )


def _accidents(content: bytes) -> list[st.SearchStrategy[Callable[[bytes], bytes]]]:
    place, short = st.integers(0, len(content) - 1), st.integers(1, 64)
    numbers = [match.span() for match in re.finditer(rb"\d+", content[:4096])] or [(0, 1)]

    def flip(at: int, bit: int) -> Callable[[bytes], bytes]:
        return lambda data: data[:at] + bytes([byte ^ 1 << bit for byte in data[at : at + 1]]) + data[at + 1 :]

    def put(at: int, lost: int, new: bytes) -> Callable[[bytes], bytes]:
        return lambda data: data[:at] + new + data[at + lost :]

    def repeat(at: int, length: int, times: int) -> Callable[[bytes], bytes]:
        return lambda data: data[:at] + times * data[at : at + length] + data[at + length :]

    def end(at: int) -> Callable[[bytes], bytes]:
        return lambda data: data[:at]

    return [
        st.builds(flip, place, st.integers(0, 7)),
        st.builds(put, place, st.integers(0, 8), st.binary(max_size=16)),
        st.builds(
            lambda span, new: put(span[0], span[1] - span[0], new), st.sampled_from(numbers), st.sampled_from(_NUMBERS)
        ),
        st.builds(repeat, place, short, st.integers(0, 200)),
        st.builds(end, place),
    ]


# One reader.


def fuzz(name: str, inputs: int, start: int, folder: pathlib.Path) -> tuple[collections.Counter[str], list[str]]:
    """How many damaged files a reader refused, read as the sound one, and read as another; and its faults."""
    reader, counts, faults = READERS[name], collections.Counter[str](), []
    path = reader.write(folder)
    content, whole = path.read_bytes(), reader.read(path)

    @seed(start)
    @settings(
        max_examples=inputs,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(damaged(content))
    def attempt(data: bytes) -> None:
        path.write_bytes(data)
        outcome = _outcome(reader, path, whole)
        counts[outcome] += 1
        if outcome.startswith("fault"):
            faults.append(f"{outcome}: {data[:2000]!r}")

    attempt()
    return counts, faults


def _outcome(reader: Reader, path: pathlib.Path, whole: Any) -> str:
    def stop(number: int, frame: Any) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(_LONGEST_S)
    try:
        found = reader.read(path)
    except reader.refusal as error:
        return "refused" if len(str(error).splitlines()) == 1 else "fault: more than one line"
    except Hang:
        return "fault: hang"
    except Exception as error:  # noqa: BLE001  # what is looked for
        where = traceback.extract_tb(error.__traceback__)[-1]
        return f"fault: {type(error).__name__} in {pathlib.Path(where.filename).name} line {where.lineno}"
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    if repr(found) == repr(whole):  # NaN equals itself here
        return "as the sound file"
    return "fault: a changed number" if reader.has_checksums else "as another file"


# All of them, each in a process of its own: a crash is counted too.


def _one(name: str, inputs: int, start: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        before = _peak()
        counts, faults = fuzz(name, inputs, start, pathlib.Path(folder))
        print(json.dumps({"counts": counts, "faults": faults[:20], "bytes": _peak() - before}))


def _peak() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> int:
    """Runs the readers asked for, prints the table, and returns 1 for a fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("readers", nargs="*", metavar="READER", default=[], help=", ".join(READERS))
    parser.add_argument("--inputs", type=int, default=10_000, help="damaged files a reader")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given_ = parser.parse_args()
    if unknown := set(given_.readers) - set(READERS):
        parser.error(f"unknown readers {', '.join(sorted(unknown))}: choose from {', '.join(READERS)}")
    if given_.one:
        _one(given_.readers[0], given_.inputs, given_.seed)
        return 0
    failed = False
    print(f"{'reader':<12} {'inputs':>8} {'refused':>8} {'as sound':>9} {'as another':>11} {'faults':>7} {'MiB':>6}")
    for name in given_.readers or READERS:
        command = [sys.executable, __file__, name, "--one", "--inputs", str(given_.inputs), "--seed", str(given_.seed)]
        ran = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if ran.returncode:
            failed = True
            print(f"{name:<12} ended with code {ran.returncode}")
            continue
        found = json.loads(ran.stdout.splitlines()[-1])
        counts = collections.Counter(found["counts"])
        faults = sum(count for outcome, count in counts.items() if outcome.startswith("fault"))
        failed |= faults > 0 or found["bytes"] > _MOST_BYTES
        print(
            f"{name:<12} {counts.total():>8} {counts['refused']:>8} {counts['as the sound file']:>9} "
            f"{counts['as another file']:>11} {faults:>7} {found['bytes'] / 2**20:>6.0f}",
            flush=True,
        )
        for fault in found["faults"]:
            print(f"  {fault[:300]}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
