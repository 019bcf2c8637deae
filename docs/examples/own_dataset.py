"""A data set of your own: two arrays and a split, and `epf.train` learns from them.

Földiák's bars (1990), here as classes: images of 5 x 5 pixels with one horizontal or one vertical bar and noise; the
network is to say which way the bar lies. No pixel by itself tells: the two means over all images are the same.
"""

import jax
import numpy as np

import eqprop_field as epf

SIDE = 5


def samples(count, rng):
    """`count` images, one row each, in [0, 1], with the class 0 for a horizontal and 1 for a vertical bar."""
    labels, places = rng.integers(0, 2, count), rng.integers(0, SIDE, count)
    images = np.zeros((count, SIDE, SIDE))
    for image, label, place in zip(images, labels, places, strict=True):
        image[(place, slice(None)) if label == 0 else (slice(None), place)] = 1.0
    noisy = np.clip(images + 0.2 * rng.standard_normal(images.shape), 0.0, 1.0)
    return epf.Samples.of(noisy.reshape(count, -1), labels, classes=2)


def bars(seed=0):
    rng = np.random.default_rng(seed)
    return epf.Dataset(
        name="bars",
        train=samples(400, rng),  # what is learnt from
        validation=samples(100, rng),  # what the best epoch is chosen by
        test=samples(500, rng),  # what is reported, once
        classes=("horizontal", "vertical"),
    )


if __name__ == "__main__":
    field = epf.LayeredField.create(jax.random.key(0), (SIDE**2, 20, 2), symmetry=1.0)
    settings = epf.Settings(epochs=10, batch_size=20, learning_rates=(0.1, 0.3))
    run = epf.train(field, epf.EqProp(), bars(), settings, progress=False)
    for entry in run.history[::3]:
        print(f"epoch {entry['epoch']:2}  validation error {100 * entry['validation_error']:4.1f} %")
    print(f"test error {100 * run.test_error:.1f} %, by chance 50 %")
