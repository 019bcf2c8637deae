"""Shifted and mirrored images against the same by numpy, one pixel at a time."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eqprop_field as epf
from eqprop_field.datasets import xor
from eqprop_field.training import Settings, train
from eqprop_field.training.augmentation import augmented


def moved(image, down, right, mirrored):
    """By an explicit loop: what was at (r - down, c - right) is at (r, c), and 0 comes in from outside."""
    size, out = len(image), np.zeros_like(image)
    for r, c in itertools.product(range(size), repeat=2):
        if 0 <= r - down < size and 0 <= c - right < size:
            out[r, c] = image[r - down, c - right]
    return np.stack([row[::-1] for row in out]) if mirrored else out


@pytest.mark.parametrize(("shift", "flip", "channels"), [(1, False, 1), (0, True, 3), (2, True, 3)])
def test_every_image_is_one_of_its_shifts_and_mirror_images_as_often_as_the_others(shift, flip, channels):
    image = np.random.default_rng(0).uniform(0.1, 1.0, (4, 4, channels))
    ways = list(itertools.product(range(-shift, shift + 1), range(-shift, shift + 1), (False, True)[: 1 + flip]))
    expected = np.stack([moved(image, *way).ravel() for way in ways])
    n = 100 * len(ways)
    found = np.asarray(augmented(jax.random.key(1), jnp.tile(image.ravel(), (n, 1)), shift, flip))
    same = np.all(found[:, None] == expected[None], axis=2)
    assert np.all(same.sum(axis=1) == 1)
    assert np.all(np.abs(same.sum(axis=0) - 100) < 45)  # 4.5 standard deviations


def test_what_is_no_image_and_no_shift_is_refused():
    with pytest.raises(ValueError, match="shift=-1: give a whole number of pixels"):
        Settings(shift=-1)
    data = xor()
    field = epf.LayeredField.create(jax.random.key(0), (2, 4, 2))
    rule = epf.EqProp(epf.Nudging.symmetric(0.1), epf.Equilibrium())
    with pytest.raises(ValueError, match="2 inputs are no square image"):
        train(field, rule, data, Settings(flip=True), progress=False)
