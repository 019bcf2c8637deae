"""What all results have in common: they show and save themselves, with a picture or without one."""

import dataclasses
import json
import sys

import pytest

import eqprop_field as epf
from eqprop_field import benchmarks, circuits
from eqprop_field.results import AbstractResult, NoPictureError, known


@dataclasses.dataclass(frozen=True, repr=False)
class Numbers(AbstractResult):
    """A result that nothing draws."""

    stem = "numbers"
    values: tuple[float, ...]

    def rows(self):
        return [{"value": known(value)} for value in self.values]

    def summary(self):
        return {"count": len(self.values), "largest": known(max(self.values)), "values": list(self.values)}


RESULT = Numbers((1.0, float("nan"), 1 / 3))


def test_a_result_without_a_picture_saves_its_table_and_its_summary(tmp_path):
    with pytest.raises(NoPictureError, match="no picture of a Numbers"):
        RESULT.plot()
    saved = RESULT.save(tmp_path / "o", seed=3)
    assert saved["files"] == ["numbers.csv", "summary.json"]
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == saved["files"]
    assert (tmp_path / "o" / "numbers.csv").read_text() == f'value\n1.0\n""\n{1 / 3}\n'
    written = json.loads((tmp_path / "o" / "summary.json").read_text())
    assert written == {**saved, "values": [1.0, None, 1 / 3]}
    assert (saved["seed"], saved["out"]) == (3, str(tmp_path / "o"))


def test_a_result_is_one_line_a_few_lines_or_a_table_of_html():
    assert repr(RESULT) == "Numbers(count=3, largest=1)"
    assert str(RESULT) == "count: 3\nlargest: 1"
    assert RESULT._repr_html_() == (
        "<table><tr><td>count</td><td>3</td></tr><tr><td>largest</td><td>1</td></tr></table>"
    )
    assert RESULT.to_pandas()["value"].isna().tolist() == [False, True, False]


def test_without_pandas_the_message_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ValueError, match=r"pip install 'eqprop-field\[pandas\]', or read rows\(\)"):
        RESULT.to_pandas()


def every_result(parent: type = AbstractResult):
    for child in parent.__subclasses__():
        yield child
        yield from every_result(child)


def test_every_result_names_its_files_and_keeps_the_one_line_that_results_have():
    assert {epf.Alignment, circuits.Agreement, benchmarks.Benchmark} <= set(every_result())
    for result in every_result():
        if result is not Numbers and not result.__name__.startswith("Abstract"):
            assert result.stem, result
            assert result.__repr__ is AbstractResult.__repr__, result
