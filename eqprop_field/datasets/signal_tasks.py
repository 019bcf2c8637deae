"""Standard tasks for networks that read signals: a series goes in, another is to come out, sample by sample."""

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy.integrate import solve_ivp

from .roessler import roessler


@dataclasses.dataclass(frozen=True)
class SignalTask:
    """One series of a task.

    Attributes:
        inputs: (time, inputs).
        targets: (time, outputs); NaN where none is asked for.
    """

    inputs: Float[np.ndarray, "time inputs"]
    targets: Float[np.ndarray, "time outputs"]


def signal_task(name: str, samples: int, *, seed: int = 0) -> SignalTask:
    """A standard task by its name, see `SIGNAL_TASKS`.

    Args:
        name: which.
        samples: how long the series is.
        seed: of what is drawn; of a chaotic series, of where it begins.

    Raises:
        ValueError: for a name that is not there, or fewer than 100 samples.
    """
    if name not in SIGNAL_TASKS:
        raise ValueError(f"there is no task {name!r}: choose of {', '.join(SIGNAL_TASKS)}")
    if samples < 100:
        raise ValueError(f"samples={samples}: give at least 100")
    inputs, targets = SIGNAL_TASKS[name](samples, np.random.default_rng(seed))
    wide = lambda values: values.reshape(samples, -1)  # noqa: E731
    return SignalTask(wide(inputs), wide(targets))


_Series = tuple[np.ndarray, np.ndarray]


def _narma(order: int, samples: int, draws: np.random.Generator) -> _Series:
    u = draws.uniform(0, 0.5, samples)
    y = np.zeros(samples + 1)
    for t in range(order - 1, samples):
        summed = 0.3 * y[t] + 0.05 * y[t] * y[t - order + 1 : t + 1].sum() + 1.5 * u[t - order + 1] * u[t]
        y[t + 1] = summed + 0.1 if order == 10 else np.tanh(summed + 0.01) + 0.2
    return u, y[1:]


def _mackey_glass(samples: int, draws: np.random.Generator, ahead: int = 84) -> _Series:
    """By the classical Runge-Kutta method in steps of 0.1, the delayed state interpolated in between."""
    fine, delay, burn_in = 10, 170, 5000
    steps = burn_in + fine * (samples + ahead)
    x = np.concatenate([1.2 + 0.2 * draws.uniform(-1, 1, delay + 1), np.empty(steps)])
    h = 1 / fine
    slope = lambda now, past: 0.2 * past / (1 + past**10) - 0.1 * now  # noqa: E731
    for t in range(delay, delay + steps):
        begin, end = x[t - delay], x[t - delay + 1]
        middle = 0.5 * (begin + end)
        k1 = slope(x[t], begin)
        k2 = slope(x[t] + 0.5 * h * k1, middle)
        k3 = slope(x[t] + 0.5 * h * k2, middle)
        k4 = slope(x[t] + h * k3, end)
        x[t + 1] = x[t] + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    series = x[delay + burn_in :: fine]
    return series[:samples], series[ahead : ahead + samples]


def _lorenz(samples: int, draws: np.random.Generator) -> _Series:
    def velocity(_: float, s: np.ndarray) -> list[float]:
        return [10 * (s[1] - s[0]), s[0] * (28 - s[2]) - s[1], s[0] * s[1] - 8 / 3 * s[2]]

    times = 20 + 0.05 * np.arange(samples)
    path = solve_ivp(velocity, (0, times[-1]), draws.normal(size=3), t_eval=times, method="DOP853", rtol=1e-9).y
    return path[0], path[2]


def _roessler(samples: int, draws: np.random.Generator) -> _Series:
    path = roessler(samples + 20, step=0.1, start=(1 + draws.uniform(), 1.0, 0.0))
    return path[:samples, 0], path[20:, 0]


def _delayed_xor(samples: int, draws: np.random.Generator) -> _Series:
    u = draws.choice([-1.0, 1.0], samples)
    y = np.full(samples, np.nan)
    y[4:] = u[3:-1] * u[:-4]
    return u, y


def _copy(samples: int, draws: np.random.Generator) -> _Series:
    u = draws.choice([-1.0, 1.0], samples)
    y = np.full(samples, np.nan)
    y[10:] = u[:-10]
    return u, y


def _adding(samples: int, draws: np.random.Generator, length: int = 10) -> _Series:
    values, marks, y = draws.uniform(0, 1, samples), np.zeros(samples), np.full(samples, np.nan)
    for begin in range(0, samples - length + 1, length):
        marked = begin + draws.choice(length - 1, 2, replace=False)
        marks[marked] = 1
        y[begin + length - 1] = values[marked].sum()
    return np.stack([values, marks], axis=1), y


def _sine_to_square(samples: int, draws: np.random.Generator) -> _Series:
    phase = 2 * np.pi * (np.arange(samples) / 25 + draws.uniform())
    return np.sin(phase), np.where(np.sin(phase - np.pi / 2) >= 0, 0.5, -0.5)


SIGNAL_TASKS: dict[str, Callable[[int, np.random.Generator], _Series]] = {
    "narma-10": lambda samples, draws: _narma(10, samples, draws),
    "narma-20": lambda samples, draws: _narma(20, samples, draws),
    "mackey-glass": _mackey_glass,
    "lorenz": _lorenz,
    "roessler": _roessler,
    "delayed-xor": _delayed_xor,
    "copy": _copy,
    "adding": _adding,
    "sine-to-square": _sine_to_square,
}
r"""Standard tasks by name; each draws a series of so many samples.

- `narma-10`: $y(t+1) = 0.3\,y(t) + 0.05\,y(t)\sum_{i<10} y(t-i) + 1.5\,u(t-9)\,u(t) + 0.1$ from u uniform in
  [0, 0.5]; `narma-20` likewise over 20 samples, as $\tanh(\dots + 0.01) + 0.2$. Sources: Atiya & Parlos 2000; Rodan &
  Tino 2011.
- `mackey-glass`: $\dot x = 0.2\,x(t-17) / (1 + x(t-17)^{10}) - 0.1\,x$ every time unit; 84 of them ahead, in one leap.
- `lorenz`: the third coordinate from the first, every 0.05 time units; `roessler`: the first one 2 time units ahead,
  every 0.1.
- `delayed-xor`: $u(t-1)\,u(t-4)$ of symbols that are -1 or 1; `copy`: $u(t-10)$ of the same.
- `adding`: at every tenth sample the sum of the two values since the last that a second input marked.
- `sine-to-square`: a square wave a quarter of a period behind a sine of 25 samples. Source: Atiya & Parlos 2000.
"""
