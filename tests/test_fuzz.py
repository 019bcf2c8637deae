"""Damaged files in short; `make fuzz` tries ten thousand a reader."""

import pytest

from scripts import fuzz


@pytest.mark.parametrize("name", fuzz.READERS)
def test_damaged_files_are_refused_or_read_as_whole(name, tmp_path):
    counts, faults = fuzz.fuzz(name, 150, 1, tmp_path)
    assert not faults
    assert counts["refused"] > 30 and counts.total() == 150


def test_faults_are_found(tmp_path, monkeypatch):
    """A reader that misreads, one that fails in its own way, and one that hangs are told apart."""
    network = fuzz.READERS["network"]

    def fails(path):
        return {}[path.read_bytes()[0] == 1] if path.read_bytes() != sound else 0

    def hangs(path):
        while path.read_bytes() != sound:
            pass

    for read, outcome in (
        (lambda path: path.read_bytes(), "fault: a changed number"),
        (fails, "fault: KeyError"),
        (hangs, "fault: hang"),
    ):
        sound = network.write(tmp_path).read_bytes()
        monkeypatch.setattr(fuzz, "_LONGEST_S", 1)
        monkeypatch.setitem(fuzz.READERS, "faulty", fuzz.Reader(network.write, read, OSError, True))
        counts, faults = fuzz.fuzz("faulty", 2, 0, tmp_path)
        assert any(fault.startswith(outcome) for fault in faults) and counts["refused"] == 0
