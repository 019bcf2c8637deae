"""Standard tasks against the equations that they are named by, written another way."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from eqprop_field.datasets import SIGNAL_TASKS, signal_task


@pytest.mark.parametrize("name", SIGNAL_TASKS)
def test_a_task_is_drawn_from_its_seed(name):
    one, same, other = (signal_task(name, 120, seed=seed) for seed in (1, 1, 2))
    assert len(one.inputs) == len(one.targets) == 120 and one.inputs.ndim == one.targets.ndim == 2
    np.testing.assert_array_equal(one.targets, same.targets)
    assert np.isfinite(one.inputs).all() and np.nanstd(one.targets) > 0.01
    assert not np.array_equal(one.inputs, other.inputs)


@pytest.mark.parametrize(("name", "order"), [("narma-10", 10), ("narma-20", 20)])
def test_narma_follows_its_recurrence(name, order):
    task = signal_task(name, 200)
    u, y = task.inputs[:, 0], np.concatenate([[0.0], task.targets[:, 0]])
    windows = np.lib.stride_tricks.sliding_window_view(y[:-1], order).sum(axis=1)
    now, k = y[order - 1 : -1], order - 1
    linear = 0.3 * now + 0.05 * now * windows + 1.5 * u[:-k] * u[k:]
    expected = linear + 0.1 if order == 10 else np.tanh(linear + 0.01) + 0.2
    np.testing.assert_allclose(y[order:], expected, rtol=1e-12)


def test_mackey_glass_obeys_its_delay_equation():
    """The slope, by a spline through the samples, against the right-hand side with the sample 17 earlier."""
    from scipy.interpolate import CubicSpline

    task = signal_task("mackey-glass", 300)
    x = task.inputs[:, 0]
    slope = CubicSpline(np.arange(300), x).derivative()(np.arange(30, 270))
    now, past = x[30:270], x[13:253]
    assert np.abs(slope - (0.2 * past / (1 + past**10) - 0.1 * now)).max() < 2e-3
    np.testing.assert_array_equal(task.targets[:-84, 0], x[84:])


def test_lorenz_goes_on_as_another_integrator_says():
    """From three samples of both coordinates the second one follows, and then the next samples."""
    task = signal_task("lorenz", 400)
    x, z = task.inputs[:, 0], task.targets[:, 0]
    h = 0.05
    slope = (x[0] - 8 * x[1] + 8 * x[3] - x[4]) / (12 * h)

    def velocity(_, s):
        return [10 * (s[1] - s[0]), s[0] * (28 - s[2]) - s[1], s[0] * s[1] - 8 / 3 * s[2]]

    on = solve_ivp(velocity, (0, 2 * h), [x[2], x[2] + slope / 10, z[2]], t_eval=[h, 2 * h], rtol=1e-10).y
    np.testing.assert_allclose(on[[0, 2]], [x[3:5], z[3:5]], atol=0.3)  # of 40: the slope is of fourth order
    assert 5 < x.std() < 10 and 20 < z.mean() < 27


def test_symbols_are_remembered_and_multiplied():
    xor, copy = signal_task("delayed-xor", 200), signal_task("copy", 200)
    for k in range(10, 200):
        assert xor.targets[k, 0] == xor.inputs[k - 1, 0] * xor.inputs[k - 4, 0]
        assert copy.targets[k, 0] == copy.inputs[k - 10, 0]


def test_adding_asks_for_the_marked_values_at_every_tenth_sample():
    task = signal_task("adding", 205)
    for begin in range(0, 200, 10):
        part, asked = task.inputs[begin : begin + 10], task.targets[begin : begin + 10, 0]
        assert part[:, 1].sum() == 2 and np.isnan(asked[:-1]).all()
        assert asked[-1] == pytest.approx(part[:, 0] @ part[:, 1])
    assert np.isnan(task.targets[200:]).all()


def test_the_square_wave_is_a_quarter_of_a_period_behind():
    task = signal_task("sine-to-square", 400)
    square, sine = task.targets[:, 0], task.inputs[:, 0]
    assert set(square) == {-0.5, 0.5}
    assert abs(np.corrcoef(square, sine)[0, 1]) < 0.1 and np.corrcoef(square[6:], sine[:-6])[0, 1] > 0.85


def test_what_is_no_task_is_refused():
    with pytest.raises(ValueError, match="there is no task 'narma': choose of narma-10, "):
        signal_task("narma", 200)
    with pytest.raises(ValueError, match="samples=20: give at least 100"):
        signal_task("copy", 20)
