"""A driven network and a task that the tests of this folder share."""

import jax
import numpy as np
import pytest

from eqprop_field.sequence import Task, fully_recurrent
from eqprop_field.vector_fields import GraphField

STEP = 0.1


@pytest.fixture(scope="module")
def network() -> GraphField:
    """Six tanh neurons, all joined, strong weights, two inputs, unequal time constants; the first is read."""
    taus = np.linspace(0.5, 1.5, 6)
    return fully_recurrent(jax.random.key(7), neurons=6, inputs=2, outputs=1, spread=0.8, tau=taus)


@pytest.fixture(scope="module")
def task() -> Task:
    """Two sequences of 40 samples, the second with a gap in its targets."""
    t = STEP * np.arange(40)
    u = np.stack([np.stack([np.sin(a * t), np.cos(b * t)], 1) for a, b in ((1.0, 2.0), (1.7, 0.6))], axis=1)
    d = np.stack([np.sin(t)[:, None] ** 2, 0.5 * np.cos(t)[:, None]], axis=1)
    d[10:14, 1] = np.nan
    return Task.of(u, d, STEP)
