"""The Roessler attractor against scipy, and parameters that leave it."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from eqprop_field.datasets import roessler


def test_the_path_is_that_of_scipy():
    path = roessler(40, step=0.1)

    def velocity(t, s):
        return [-s[1] - s[2], s[0] + 0.2 * s[1], 0.2 + s[2] * (s[0] - 5.7)]

    expected = solve_ivp(velocity, (0, 4), path[0], t_eval=0.1 * np.arange(40), rtol=1e-11, atol=1e-12).y.T
    np.testing.assert_allclose(path, expected, atol=1e-6)


def test_it_is_on_the_attractor():
    path = roessler(4000)
    assert np.abs(path[:, 0]).max() == pytest.approx(11.5, abs=1.0) and path[:, 2].min() > 0


def test_a_path_that_escapes_is_refused():
    with pytest.raises(ValueError, match="leaves every bound"):
        roessler(10, a=3.0)
    with pytest.raises(ValueError, match="at least two samples"):
        roessler(1)
