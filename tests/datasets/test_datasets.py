"""Data sets: splits, IDX files good and bad, and the order of the batches."""

import gzip
import re
import struct

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from eqprop_field.datasets import (
    DataError,
    batch_order,
    digits,
    fashion,
    folders,
    mnist,
    random_samples,
    read_samples,
    xor,
)


def rows(x):
    return [row.tobytes() for row in x]


def test_digits_are_those_of_scikit_learn_each_once():
    data = digits(0)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [1297, 200, 300]
    together = np.concatenate([data.train.x, data.validation.x, data.test.x])
    assert sorted(rows(together)) == sorted(rows((load_digits().data / 16).astype(np.float32)))
    of_pixels = dict(zip(rows((load_digits().data / 16).astype(np.float32)), load_digits().target, strict=True))
    assert [of_pixels[row] for row in rows(data.test.x)] == data.test.labels.tolist()


def test_digits_keep_every_class_in_proportion_and_depend_on_the_seed_alone():
    data = digits(1)
    for part in (data.train, data.validation, data.test):
        assert np.ptp(np.bincount(part.labels, minlength=10) / len(part)) < 0.02
    np.testing.assert_array_equal(digits(1).test.x, data.test.x)
    assert rows(digits(2).test.x) != rows(data.test.x)


def test_xor_is_exclusive_or():
    data = xor()
    assert [int(a) ^ int(b) for a, b in data.train.x] == data.train.labels.tolist()


@settings(max_examples=25)  # every new number of samples is a compilation
@given(epoch=st.integers(0, 1000), samples=st.integers(1, 60), size=st.integers(1, 70))
def test_batches_hold_every_row_at_most_once(epoch, samples, size):
    order = batch_order(jax.random.key(0), epoch, samples, size)
    used = order.ravel().tolist()
    assert order.shape[1] == min(size, samples) and len(set(used)) == len(used) > samples - min(size, samples)
    assert set(used) <= set(range(samples))


def test_batches_are_the_same_for_the_same_key_and_epoch_only():
    order = batch_order(jax.random.key(3), 5, 100, 10)
    np.testing.assert_array_equal(order, batch_order(jax.random.key(3), 5, 100, 10))
    assert (order != batch_order(jax.random.key(3), 6, 100, 10)).any()
    assert (order != batch_order(jax.random.key(4), 5, 100, 10)).any()


def test_batches_need_samples():
    with pytest.raises(ValueError, match="at least 1"):
        batch_order(jax.random.key(0), 0, 0, 10)


def idx(array, magic):
    return struct.pack(f">{1 + array.ndim}I", magic, *array.shape) + array.astype(np.uint8).tobytes()


def images(n, seed):
    return np.random.default_rng(seed).integers(0, 256, (n, 28, 28))


FILES = {
    "train-images-idx3-ubyte": idx(images(30, 0), 0x803),
    "train-labels-idx1-ubyte": idx(np.arange(30) % 10, 0x801),
    "t10k-images-idx3-ubyte": idx(images(12, 1), 0x803),
    "t10k-labels-idx1-ubyte": idx(np.arange(12) % 10, 0x801),
}


@pytest.fixture
def folder(tmp_path):
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def test_idx_files_are_read_and_split(folder):
    data = mnist(folder, seed=1, validation=7)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [23, 7, 12]
    np.testing.assert_allclose(data.test.x, images(12, 1).reshape(12, 784) / 255, rtol=1e-6)
    np.testing.assert_array_equal(data.test.labels, np.arange(12) % 10)
    label_of = dict(zip(rows(images(30, 0).reshape(30, 784).astype(np.float32) / 255), np.arange(30) % 10, strict=True))
    for part in (data.train, data.validation):
        assert [label_of.pop(row) for row in rows(part.x)] == part.labels.tolist()
    assert not label_of


def test_gzip_other_names_and_the_environment(folder, monkeypatch):
    inner = folder / "all" / "fashion"
    inner.mkdir(parents=True)
    for name, content in FILES.items():
        (inner / (name.replace("-idx", ".idx") + ".gz")).write_bytes(gzip.compress(content))
    monkeypatch.setenv("EQPROP_FIELD_DATA", str(folder / "all"))
    data = fashion(validation=5)
    np.testing.assert_array_equal(data.test.x, mnist(folder, validation=5).test.x)
    assert data.classes[9] == "ankle boot"
    np.testing.assert_array_equal(fashion(folder / "all", validation=5).test.x, data.test.x)


@pytest.mark.parametrize(
    ("load", "inside", "named"),
    [
        (mnist, "MNIST/raw", ""),
        (mnist, "MNIST/raw", "MNIST"),
        (fashion, "FashionMNIST/raw", ""),
        (fashion, "FashionMNIST/raw", "FashionMNIST/raw"),
        (fashion, "fashion-mnist", ""),
    ],
)
def test_folders_of_torchvision_and_debian_are_found(load, inside, named, folder, tmp_path):
    place = tmp_path / "root" / inside
    place.mkdir(parents=True)
    for k, (name, content) in enumerate(FILES.items()):  # gzipped or not, whatever the name says
        (place / f"{name}{'.gz' if k % 2 else ''}").write_bytes(gzip.compress(content) if k < 2 else content)
    found = load(tmp_path / "root" / named, validation=5)
    np.testing.assert_array_equal(found.train.x, mnist(folder, validation=5).train.x)
    other = {mnist: fashion, fashion: mnist}[load]
    with pytest.raises(DataError, match="holds no train-images-idx3-ubyte, nor does a folder"):
        other(tmp_path / "root", validation=5)


@pytest.mark.parametrize("variable", ["", "nowhere"])
def test_debian_is_asked_where_nothing_else_has_them(variable, folder, monkeypatch):
    place = folder / "debian" / "fashion-mnist"
    place.mkdir(parents=True)
    for name, content in FILES.items():
        (place / name).write_bytes(content)
    monkeypatch.setattr(folders, "_SYSTEM", folder / "debian")
    monkeypatch.setenv("EQPROP_FIELD_DATA", variable and str(folder / variable))
    np.testing.assert_array_equal(fashion(validation=5).test.x, mnist(folder, validation=5).test.x)


def cut(content):
    return content[:-1]


DAMAGE = {
    "only 23519 bytes": ("train-images-idx3-ubyte", cut),
    "more bytes": ("train-labels-idx1-ubyte", lambda c: c + b"\0"),
    "ends within its header": ("t10k-images-idx3-ubyte", lambda c: c[:10]),
    "instead of 0x00000803": ("t10k-images-idx3-ubyte", lambda c: FILES["t10k-labels-idx1-ubyte"]),
    "claims the shape": ("train-images-idx3-ubyte", lambda c: struct.pack(">4I", 0x803, 2**32 - 1, 28, 28) + c[16:]),
    "(1000000, 28, 28), where": (
        "train-images-idx3-ubyte",
        lambda c: struct.pack(">4I", 0x803, 10**6, 28, 28) + c[16:],
    ),
    "but 29 labels": ("train-labels-idx1-ubyte", lambda c: idx(np.zeros(29), 0x801)),
    "where images have 28 x 28": ("t10k-images-idx3-ubyte", lambda c: idx(np.zeros((12, 14, 56)), 0x803)),
    "up to 10, not 9": ("t10k-labels-idx1-ubyte", lambda c: idx(np.full(12, 10), 0x801)),
}


@pytest.mark.parametrize("message", DAMAGE)
def test_damage_is_named_and_mended(message, folder):
    name, spoil = DAMAGE[message]
    (folder / name).write_bytes(spoil(FILES[name]))
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        mnist(folder, validation=5)
    assert "https://" in str(caught.value)


@pytest.mark.parametrize("spoil", [cut, lambda c: b"no gzip", lambda c: c[:40] + b"\xff" * 20 + c[60:]])
def test_a_damaged_gzip_is_an_error_of_ours(spoil, folder):
    name = "train-images-idx3-ubyte"
    (folder / name).unlink()
    (folder / (name + ".gz")).write_bytes(spoil(gzip.compress(FILES[name])))
    with pytest.raises(DataError, match="cannot be read"):
        mnist(folder, validation=5)


def test_missing_data_says_where_to_get_them(tmp_path, folder, monkeypatch):
    monkeypatch.delenv("EQPROP_FIELD_DATA", raising=False)
    monkeypatch.setattr(folders, "_SYSTEM", tmp_path / "nowhere")
    for call in (mnist, fashion, lambda: mnist(tmp_path / "nowhere"), lambda: mnist(folder, validation=30)):
        with pytest.raises(DataError, match="https://"):
            call()


def test_the_real_mnist(mnist_dir):
    data = mnist(mnist_dir)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [50_000, 10_000, 10_000]
    assert np.bincount(data.test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_samples_of_files(tmp_path):
    random = np.random.default_rng(0)
    x, y = random.random((3, 4)), random.random((3, 2))
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    for read, wrote in zip(
        read_samples(tmp_path / "x.npy", tmp_path / "y.npy", (4, 2), np.float64), (x, y), strict=True
    ):
        np.testing.assert_array_equal(read, wrote)
    np.save(tmp_path / "y.npy", y[:2])
    with pytest.raises(ValueError, match="y 2: give one target"):
        read_samples(tmp_path / "x.npy", tmp_path / "y.npy", (4, 2))
    with pytest.raises(ValueError, match=r"x .*needs \(batch, 5\)"):
        read_samples(tmp_path / "x.npy", tmp_path / "y.npy", (5, 2))


def test_random_samples():
    x, y = random_samples(jax.random.key(0), 50, (4, 2))
    assert (x.shape, y.shape, x.dtype) == ((50, 4), (50, 2), np.float32)
    assert 0 <= x.min() < 0.1 < 0.9 < x.max() <= 1
    with pytest.raises(ValueError, match="samples=0"):
        random_samples(jax.random.key(0), 0, (4, 2))
