"""Files of campaigns: damage is noticed, what refers to elsewhere is refused, one campaign writes at a time."""

import json
import os

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eqprop_field._files import locked_file
from eqprop_field.circuits import AbstractTask, campaign, campaign_file, read_campaign, run_campaign

ROWS = {3: {"square": 9.0, "name": "rün 3", "count": 3}, 12: {"square": 144.0, "name": "", "count": -1}}


class Here(AbstractTask):
    """Runs that need no worker."""

    def __init__(self, kind="here", runs=4, row=lambda index: {"z": index / 2, "a": index, "m": str(index)}):
        self.kind, self.runs, self.row = kind, runs, row

    def __len__(self):
        return self.runs

    def __call__(self, index):
        return self.row(index)

    def describe(self):
        return {"kind": self.kind}


@pytest.fixture(autouse=True)
def _no_processes(monkeypatch):
    monkeypatch.setattr(campaign, "work_through", lambda task, left, workers: ((i, task(i)) for i in left))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("campaign") / "runs.h5"
    campaign_file.write_campaign(path, {"kind": "x"}, campaign_file.columns_of(ROWS))
    return path


def test_rows_come_back_and_other_programs_read_them(written):
    description, columns = read_campaign(written)
    assert (description, campaign_file.rows_of(columns)) == ({"kind": "x"}, ROWS)
    with h5py.File(written) as file:
        assert list(file) == ["run", "square", "name", "count"]
        np.testing.assert_array_equal(file["square"][:], [9.0, 144.0])
        assert file["name"].asstr()[0] == "rün 3"


@given(st.data())
def test_no_changed_byte_is_taken(written, data):
    """Flipped, lost, inserted: 100 of them here, and one sentence for each."""
    content = bytearray(written.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    how = data.draw(st.sampled_from(["flip", "cut", "insert", "end"]))
    if how == "flip":
        content[place] ^= data.draw(st.integers(1, 255))
    elif how == "cut":
        del content[place : place + data.draw(st.integers(1, 600))]
    elif how == "insert":
        content[place:place] = data.draw(st.binary(min_size=1, max_size=20))
    else:
        content += data.draw(st.binary(min_size=1))
    other = written.with_name("changed.h5")
    other.write_bytes(content)
    with pytest.raises(ValueError, match="changed.h5 is (no HDF5 file|damaged)"):
        read_campaign(other)


def _signed(path, fill):
    """A file of HDF5 with a checksum that is right, as an attacker makes it."""
    with h5py.File(path, "w", userblock_size=512, libver="latest") as file:
        file["run"] = np.arange(2)
        file.attrs["task"] = "{}"
        fill(file)
    body = path.read_bytes()[512:]
    path.write_bytes(campaign_file._head(body) + body)
    return path


def _external(file, secret):
    file.create_dataset("a", (2,), "u1", external=[(str(secret), 0, h5py.h5f.UNLIMITED)])


def _virtual(file, secret):
    layout = h5py.VirtualLayout((2,), "f8")
    layout[:] = h5py.VirtualSource(str(secret), "a", (2,))
    file.create_virtual_dataset("a", layout)


def _replaced(file, name, value):
    del file[name]
    file[name] = value


def _task(text):
    return lambda file, secret: file.attrs.__setitem__("task", text)


@pytest.mark.parametrize(
    "fill",
    [
        _external,
        _virtual,
        lambda file, secret: file.__setitem__("a", h5py.ExternalLink(str(secret), "a")),
        lambda file, secret: file.__setitem__("a", h5py.SoftLink("/run")),
        lambda file, secret: file.create_group("a"),
        lambda file, secret: file.create_dataset("a", (2,), "f8", compression="gzip"),
        lambda file, secret: file.create_dataset("a", (10**12,), "f8"),  # claimed, never written
        lambda file, secret: file.create_dataset("a", data=np.zeros((2, 2))),
        lambda file, secret: file.create_dataset("a", data=np.zeros(2, "f8,i4")),
        lambda file, secret: file.create_dataset("a", data=["x", "y"]),  # by reference into a heap
        lambda file, secret: file.create_dataset("a", data=np.zeros(3)),
        lambda file, secret: file.create_dataset("a", data=np.array([b"\xff", b"\xfe"])),
        lambda file, secret: _replaced(file, "run", np.array([1, 0])),
        lambda file, secret: _replaced(file, "run", np.array([-1, 0])),
        lambda file, secret: _replaced(file, "run", np.array([0.0, 1.0])),
        lambda file, secret: file.__delitem__("run"),
        lambda file, secret: file.attrs.__delitem__("task"),
        _task("["),
        _task("[]"),
        _task("[" * 100_000),
        lambda file, secret: file.attrs.__setitem__("task", np.zeros(3)),
    ],
)
def test_content_of_others_is_refused_in_one_sentence(tmp_path, fill):
    secret = tmp_path / "secret"
    with h5py.File(secret, "w") as file:
        file["a"] = [1.0, 2.0]
    path = _signed(tmp_path / "hostile.h5", lambda file: fill(file, secret))
    with pytest.raises(ValueError, match="hostile.h5 holds no campaign") as refused:
        read_campaign(path)
    assert "\n" not in str(refused.value)


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.h5")
    for path in (tmp_path / "pipe.h5", tmp_path):
        with pytest.raises(ValueError, match="is a folder, a pipe or a device"):
            read_campaign(path)
    with pytest.raises(FileNotFoundError):
        read_campaign(tmp_path / "nothing.h5")


def test_a_place_that_cannot_be_written_to_is_named_before_the_first_run():
    with pytest.raises(OSError, match="cannot write"):
        run_campaign(Here(row=None), "/dev/null/runs.h5")


def test_one_campaign_at_a_time_writes_a_file(tmp_path):
    path = tmp_path / "runs.h5"
    with locked_file(path), pytest.raises(ValueError, match=r"another run is writing to .*runs\.h5"):
        run_campaign(Here(), path)
    (tmp_path / ".runs.h5.lock").touch()  # of a process that was killed
    run_campaign(Here(), path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["runs.h5"]


def test_a_file_that_another_campaign_has_written_meanwhile_is_left_alone(tmp_path):
    """Where the file system knows no locks."""
    path = tmp_path / "runs.h5"

    def meanwhile(index):
        if index == 0:
            campaign_file.write_campaign(path, {"kind": "other"}, campaign_file.columns_of({0: {"b": 1}}))
        return {"b": 2}

    with pytest.raises(ValueError, match=r"runs\.h5 holds another campaign"):
        run_campaign(Here(row=meanwhile), path)
    assert read_campaign(path)[0] == {"kind": "other"}

    def same_campaign(index):
        if index == 0:
            campaign_file.write_campaign(path, {"kind": "here"}, campaign_file.columns_of({7: {"b": 2}}))
        return {"b": 2}

    path.unlink()
    run_campaign(Here(row=same_campaign), path)
    assert read_campaign(path)[1]["run"].tolist() == [0, 1, 2, 3, 7]


@pytest.mark.parametrize("broken_at", [None, 1, 3])
def test_columns_and_kinds_are_the_same_however_often_it_was_broken_off(tmp_path, broken_at):
    def stop(done, total):
        if done == broken_at:
            raise RuntimeError("the lights went out")

    task = Here(row=lambda index: {"z": index / 2 if index else 0, "a": index, "m": str(index)})
    if broken_at:
        with pytest.raises(RuntimeError, match="lights"):
            run_campaign(task, tmp_path / "runs.h5", progress=stop)
    rows = run_campaign(task, tmp_path / "runs.h5")
    expected = [{"z": 0.0, "a": 0, "m": "0"}, {"z": 0.5, "a": 1, "m": "1"}]
    assert [json.dumps(row) for row in rows[:2]] == [json.dumps(row) for row in expected]
    assert [json.dumps(row) for row in run_campaign(task)] == [json.dumps(row) for row in rows]


@pytest.mark.parametrize(
    ("row", "match"),
    [
        ({"b": 1}, "rows differ in their entries"),
        ({"a": "text"}, "rows differ in their entries"),
        ({"a": 1, "run": 2}, "named 'run'"),
        ({"a": 1, "b/c": 2}, "named 'b/c'"),
        ({"a": None}, "a=None: give a number or a text"),
        ({"a": 2**70}, "a=11805.*: give a number or a text"),
        ({"a": [1, 2]}, "give a number or a text"),
        ({"a": "x\0y"}, "give a number or a text"),
    ],
)
def test_rows_that_no_column_holds_are_named_and_the_others_kept(tmp_path, row, match):
    path = tmp_path / "runs.h5"
    with pytest.raises(ValueError, match=match):
        run_campaign(Here(row=lambda index: row if index == 2 else {"a": index}), path)
    assert read_campaign(path)[1]["a"].tolist() == [0, 1]
