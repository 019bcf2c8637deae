"""Exclusive or: the smallest task that needs a hidden layer."""

import numpy as np

from .base import Dataset, Samples


def xor() -> Dataset:
    """The four samples of x_1 XOR x_2: 2 inputs, 2 classes; the same four to learn, to choose and to test."""
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    samples = Samples.of(x, np.array([0, 1, 1, 0]), 2)
    return Dataset("xor", samples, samples, samples, classes=("equal", "different"))
