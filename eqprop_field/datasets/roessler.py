"""The Roessler attractor as a task for recurrent networks: one coordinate goes in, another is to come out."""

import numpy as np
from jaxtyping import Float

_BURN_IN = 100.0  # time units until the attractor is reached
_FINEST = 0.01  # longest step of the integration


def roessler(
    samples: int,
    *,
    step: float = 0.1,
    a: float = 0.2,
    b: float = 0.2,
    c: float = 5.7,
    start: tuple[float, float, float] = (1.0, 1.0, 0.0),
) -> Float[np.ndarray, "samples 3"]:
    r"""A trajectory on the Roessler attractor.

    $$\dot x_1 = -x_2 - x_3, \qquad \dot x_2 = x_1 + a x_2, \qquad \dot x_3 = b + x_3 (x_1 - c)$$

    By the classical Runge-Kutta method with steps of 0.01 at most, from `start`, the first 100 time units left out.
    Source: Roessler 1976.

    Args:
        samples: how many.
        step: the time between them.
        a: b: c: the parameters; chaotic by default.
        start: where the integration begins.

    Raises:
        ValueError: for fewer than two samples, a step that is not positive, or parameters or a start from which the
            trajectory leaves every bound.
    """
    if samples < 2 or not 0 < step < np.inf:
        raise ValueError(f"samples={samples}, step={step}: give at least two samples and a step above 0")
    fine = int(np.ceil(step / _FINEST))
    h = step / fine

    def velocity(s: np.ndarray) -> np.ndarray:
        return np.array([-s[1] - s[2], s[0] + a * s[1], b + s[2] * (s[0] - c)])

    def advance(s: np.ndarray) -> np.ndarray:
        k1 = velocity(s)
        k2 = velocity(s + 0.5 * h * k1)
        k3 = velocity(s + 0.5 * h * k2)
        k4 = velocity(s + h * k3)
        return s + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)

    state = np.asarray(start, float)
    path = np.empty((samples, 3))
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(int(np.ceil(_BURN_IN / h))):
            state = advance(state)
        for k in range(samples):
            path[k] = state
            for _ in range(fine):
                state = advance(state)
    if not np.isfinite(path).all():
        raise ValueError(f"a={a}, b={b}, c={c}, start={start}: the trajectory leaves every bound; choose others")
    return path
