"""CIFAR-10's binary files: made ones, read back pixel by pixel, and damaged ones."""

import numpy as np
import pytest

import eqprop_field as epf
from eqprop_field.datasets import DataError, cifar10
from eqprop_field.training import load_dataset

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (6, 4, 32, 32, 3), dtype=np.uint8)  # file, image, row, column, colour
LABELS = RNG.integers(0, 10, (6, 4), dtype=np.uint8)
NAMES = [f"data_batch_{k}.bin" for k in range(1, 6)] + ["test_batch.bin"]


@pytest.fixture
def folder(tmp_path):
    for name, images, labels in zip(NAMES, IMAGES, LABELS, strict=True):
        planes = images.transpose(0, 3, 1, 2)
        (tmp_path / name).write_bytes(b"".join(bytes([k]) + p.tobytes() for k, p in zip(labels, planes, strict=True)))
    return tmp_path


def test_every_pixel_and_label_is_where_it_was(folder):
    data = cifar10(folder, seed=1, validation=6)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [14, 6, 4]
    np.testing.assert_allclose(data.test.x.reshape(4, 32, 32, 3), IMAGES[5] / 255, rtol=1e-6)
    np.testing.assert_array_equal(data.test.labels, LABELS[5])
    learnt = dict(zip((image.tobytes() for image in IMAGES[:5].reshape(20, -1)), LABELS[:5].ravel(), strict=True))
    for part in (data.train, data.validation):
        assert [learnt.pop(np.rint(255 * x).astype(np.uint8).tobytes()) for x in part.x] == part.labels.tolist()
    assert not learnt and data.classes[0] == "airplane"


def test_the_folder_above_and_the_environment_do_as_well(folder, tmp_path, monkeypatch):
    inner = tmp_path / "all" / "cifar-10-batches-bin"
    inner.mkdir(parents=True)
    for name in NAMES:
        (folder / name).rename(inner / name)
    monkeypatch.setenv("EQPROP_FIELD_DATA", str(tmp_path / "all"))
    np.testing.assert_array_equal(cifar10(validation=6).test.x, cifar10(inner, validation=6).test.x)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda content: content[:-1], "holds 12291 bytes, where each image has 3073"),
        (lambda content: b"", "holds 0 bytes"),
        (lambda content: b"\x0a" + content[1:], "has the label 10, where there are 10 classes from 0"),
        (None, "cannot be read"),
    ],
)
def test_damage_is_named_with_where_to_get_the_files(folder, spoil, message):
    path = folder / "data_batch_3.bin"
    path.unlink() if spoil is None else path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(DataError, match=message) as caught:
        cifar10(folder, validation=6)
    assert "cs.toronto.edu" in str(caught.value) and "data_batch_3.bin" in str(caught.value)


def test_the_recipe_fits_the_images(folder):
    with pytest.raises(DataError, match="5000 of the 20 training samples of cifar10 cannot be held out"):
        load_dataset("cifar10", folder)
    field = epf.RECIPES["cifar10"].changed(convolutions=((2, 5, 4), (2, 5, 2))).field()
    assert field.shapes[-1] == (32, 32, 3) and field.n_inputs == cifar10(folder, validation=6).test.x.shape[1]
