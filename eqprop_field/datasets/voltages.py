"""Small tasks whose inputs and targets are voltages of either sign, for circuits that learn by themselves."""

import dataclasses

import numpy as np
from jaxtyping import Float

_INPUT, _TARGET = 0.8, 0.5  # a differential pair takes inputs within -1 and 1 only


@dataclasses.dataclass(frozen=True, eq=False)
class Voltages:
    """A task: inputs within -0.8 and 0.8, targets within -0.5 and 0.5, in the order in which they are to be learnt.

    Attributes:
        name: as on the command line.
        x: inputs to learn from (samples, inputs).
        y: targets (samples, outputs); of a classification 0.5 for the class's own output and -0.5 for the others.
        test_x: inputs to test with (tests, inputs).
        test_y: their targets (tests, outputs).
    """

    name: str
    x: Float[np.ndarray, "samples inputs"]
    y: Float[np.ndarray, "samples outputs"]
    test_x: Float[np.ndarray, "tests inputs"]
    test_y: Float[np.ndarray, "tests outputs"]


def voltages(name: str, seed: int = 0) -> Voltages:
    """One of the tasks.

    Args:
        name: `xor`, the exclusive or of two signs; `regression`, a parabola through nine points, tested between them;
            `digits`, the handwritten digits 0 to 3 on 4 x 4 pixels (means of 2 x 2), 200 to learn and 100 to test.
        seed: of the choice of digits.

    Raises:
        ValueError: for another name.
    """
    if name == "xor":
        x = _INPUT * np.array([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])
        y = -_TARGET * np.sign(x[:, :1] * x[:, 1:])
        return Voltages(name, x, y, x, y)
    if name == "regression":
        points, between = np.linspace(-1, 1, 9)[:, None], np.linspace(-0.9375, 0.9375, 16)[:, None]
        return Voltages(name, _INPUT * points, _parabola(points), _INPUT * between, _parabola(between))
    if name == "digits":
        return _digits(seed)
    raise ValueError(f"unknown task {name!r}: choose one of xor, regression, digits")


def _parabola(points: np.ndarray) -> np.ndarray:
    return _TARGET * (2 * points**2 - 1)


def _digits(seed: int) -> Voltages:
    from sklearn.datasets import load_digits

    images, labels = load_digits(n_class=4, return_X_y=True)
    means = np.asarray(images).reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4)).reshape(-1, 16)
    chosen = np.random.default_rng(seed).permutation(len(means))[:300]
    x = _INPUT * (means[chosen] / 8 - 1)
    y = _TARGET * (2 * np.eye(4)[np.asarray(labels)[chosen]] - 1)
    return Voltages("digits", x[:200], y[:200], x[200:], y[200:])
