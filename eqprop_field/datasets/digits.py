"""Handwritten digits of 8 x 8 pixels, as scikit-learn brings them along: nothing to download."""

import numpy as np

from .base import Dataset, Samples

_VALIDATION, _TEST = 200, 300


def digits(seed: int = 0) -> Dataset:
    """The 1797 digits of the UCI Optical Recognition set: 64 inputs, 10 classes.

    Args:
        seed: of the split into 1297 training, 200 validation and 300 test samples, every class in its proportion.
    """
    # Here, because scikit-learn takes longer to import than all the rest.
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    x, labels = load_digits(return_X_y=True)
    x, labels = np.asarray(x) / 16, np.asarray(labels, np.int64)
    rest, test = train_test_split(np.arange(len(x)), test_size=_TEST, random_state=seed, stratify=labels)
    train, validation = train_test_split(rest, test_size=_VALIDATION, random_state=seed, stratify=labels[rest])
    parts = (Samples.of(x[rows], labels[rows], 10) for rows in (train, validation, test))
    return Dataset("digits", *parts, classes=tuple(str(digit) for digit in range(10)))
