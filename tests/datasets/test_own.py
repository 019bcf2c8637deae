"""One's own data: how they are split, scaled and read, and what is refused."""

import csv

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import eqprop_field as epf
from eqprop_field.datasets import read_dataset

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(40, 3))
WORDS = np.array(["no", "yes", "perhaps", "yes"] * 10)


@given(samples=st.integers(5, 60), validation=st.floats(0, 0.4), test=st.floats(0, 0.4), seed=st.integers(0, 9))
def test_every_sample_is_in_one_part(samples, validation, test, seed):
    x, y = np.arange(2.0 * samples).reshape(samples, 2), np.arange(float(samples)) + 0.5
    data = epf.Dataset.of(x, y, validation=validation, test=test, seed=seed, scale=None)
    parts = (data.train, data.validation, data.test)
    assert sorted(np.concatenate([part.y[:, 0] for part in parts])) == list(y)
    for part in parts:
        assert len(part) >= 1
        np.testing.assert_array_equal(part.x[:, 0], 2 * (part.y[:, 0] - 0.5))


def test_inputs_are_scaled_by_the_samples_that_are_learnt_from():
    x = np.column_stack([X, np.ones(40)])
    data, plain = (epf.Dataset.of(x, WORDS, scale=scale) for scale in ((-1.0, 1.0), None))
    low, high = plain.train.x[:, 0].min(), plain.train.x[:, 0].max()
    np.testing.assert_array_equal(data.train.x[:, :3].min(axis=0), [-1, -1, -1])
    np.testing.assert_array_equal(data.train.x[:, :3].max(axis=0), [1, 1, 1])
    np.testing.assert_array_equal(data.train.x[:, 3], -1)
    expected = np.clip(np.interp(plain.test.x[:, 0], (low, high), (-1, 1)), -1, 1)
    np.testing.assert_allclose(data.test.x[:, 0], expected, atol=1e-6)


def test_classes_have_names_and_an_order():
    data = epf.Dataset.of(X, WORDS, scale=None)
    assert data.classes == ("no", "perhaps", "yes")
    everything = {tuple(row): name for row, name in zip(X.astype(np.float32).tolist(), WORDS, strict=True)}
    for row, label in zip(data.test.x.tolist(), data.test.labels, strict=True):
        assert data.classes[label] == everything[tuple(row)]
    assert epf.Dataset.of(X, np.array(["10", "9", "x", "2"] * 10)).classes == ("2", "9", "10", "x")
    assert epf.Dataset.of(X, np.arange(40) % 4).classes == ("0", "1", "2", "3")
    assert epf.Dataset.of(X, X[:, 0]).classes == ()


@pytest.mark.parametrize(
    "y, options, said",
    [
        (np.zeros(40, int), {}, "one class alone"),
        (WORDS, {"validation": 0.6, "test": 0.5}, "leave something to learn from"),
        (WORDS, {"validation": -0.1}, "leave something to learn from"),
        (WORDS, {"classes": ["no", "yes"]}, "label -1 in row 2"),
        (WORDS[:5], {}, "x has 40 rows and y has 5"),
        (np.full(40, np.nan), {}, "y holds NaN"),
        ([object()] * 40, {}, "give an array of real numbers"),
    ],
)
def test_what_cannot_be_learnt_is_refused(y, options, said):
    with pytest.raises(ValueError, match=said):
        epf.Dataset.of(X, y, **options)


@pytest.fixture
def table(tmp_path):
    def write(columns, name="t.csv"):
        with open(tmp_path / name, "w", newline="") as file:
            csv.writer(file).writerows([list(columns), *zip(*columns.values(), strict=True)])
        return tmp_path / name

    return write


def test_a_table_gives_what_its_arrays_give(table, tmp_path):
    columns = {"a": X[:, 0], "kind": WORDS, "b": X[:, 1], "size": X[:, 2]}
    path = table(columns)
    read, made = read_dataset(path, ["kind"], seed=3), epf.Dataset.of(X, WORDS, seed=3, name="t.csv")
    assert read_dataset(path, "kind").classes == read.classes
    assert read.name == "t.csv" and read.classes == made.classes
    for part in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(read, part).x, getattr(made, part).x)
        np.testing.assert_array_equal(getattr(read, part).y, getattr(made, part).y)
    numbers = read_dataset(table({"a": X[:, 0], "b": X[:, 1], "size": X[:, 2]}), scale=None)
    assert numbers.classes == () and numbers.train.x.shape[1] == 2
    assert read_dataset(tmp_path / "t.csv", ["a", "size"], scale=None).train.y.shape[1] == 2
    np.savez(tmp_path / "t.npz", x=X, y=WORDS)
    np.testing.assert_array_equal(read_dataset(tmp_path / "t.npz", seed=3).train.x, made.train.x)


@pytest.mark.parametrize(
    "columns, labels, said",
    [
        ({"a": X[:, 0], "kind": WORDS}, ["sort"], "has no sort: it has a, kind"),
        ({"a": X[:, 0], "kind": ["", *WORDS[1:]]}, [], "column kind, row 1 is empty"),
        ({"a": ["", *X[1:, 0]], "kind": WORDS}, [], "column a, row 1 is empty or NaN"),
        ({"a": X[:, 0], "kind": WORDS}, ["kind", "kind"], "given twice"),
        ({"0.25": X[:, 0], "-1": X[:, 1]}, [], "begins with numbers"),
        ({"a": ["one", *X[1:, 0]], "kind": WORDS}, [], "column a, row 1 holds 'one'"),
        ({"a": X[:, 0], "number": range(40)}, [], "40 classes in 40 rows"),
        ({"kind": WORDS}, [], "an input is needed"),
        ({"a": [], "kind": []}, [], "no rows"),
    ],
)
def test_tables_that_hold_no_data_are_refused(table, columns, labels, said):
    with pytest.raises(ValueError, match=said):
        read_dataset(table(columns), labels)


def test_files_that_hold_no_data_are_refused(tmp_path):
    np.savez(tmp_path / "t.npz", x=X)
    (tmp_path / "t.txt").write_text("a")
    for name, said in {"t.npz": "has no y", "t.txt": "give a .csv file", "no.csv": "does not exist"}.items():
        with pytest.raises(ValueError, match=said):
            read_dataset(tmp_path / name)
