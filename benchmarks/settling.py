"""How fast a network settles: paired ratios, one run, the same residual for everyone.

    python benchmarks/settling.py [--json] [--repeats 7]

Each line compares two ways to the same free equilibrium of the same network and inputs. The two take turns, so the
machine's moods meet both; the ratio is the median over the turns, with the lowest and the highest beside it. Every
state is checked to reach the residual max_i |mu_i| <= 1e-4 before its time counts. Compilation is not in the times.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable

import jax
import numpy as np
from scipy.integrate import solve_ivp

import eqprop_field as epf
from eqprop_field.vector_fields.base import flatten_state

RESIDUAL = 1e-4
KEY = jax.random.key(0)


def layered(batch: int) -> tuple[epf.AbstractVectorField, np.ndarray]:
    """784-512-512-10, half-scale Glorot, hard sigmoid."""
    field = epf.LayeredField.create(KEY, (784, 512, 512, 10), gain=0.5)
    return field, np.asarray(jax.random.uniform(KEY, (batch, 784)))


def graph(batch: int) -> tuple[epf.AbstractVectorField, np.ndarray]:
    """50 neurons, all joined, tanh."""
    field = epf.GraphField.create(KEY, neurons=50, inputs=10, outputs=10, activation=epf.activation("tanh"))
    return field, np.asarray(jax.random.uniform(KEY, (batch, 10)))


def by(substrate: epf.AbstractSubstrate, field: epf.AbstractVectorField, x: np.ndarray) -> Callable[[], float]:
    """Settling with one of our substrates; returns the residual it reached."""
    return lambda: float(np.max(substrate.settle(field, x, throw=False).residual))


def by_scipy(field: epf.AbstractVectorField, x: np.ndarray) -> Callable[[], float]:
    """scipy's RK45 on a tanh network, the batch as one state, stopped at the residual; matrix products by numpy."""
    w = np.asarray(field.recurrent_matrix())
    drive = np.asarray(flatten_state(field.drive(jax.numpy.asarray(x))))

    def velocity(t: float, flat: np.ndarray) -> np.ndarray:
        s = flat.reshape(drive.shape).astype(np.float32)
        return (np.tanh(s) @ w.T + drive - s).ravel()

    def moving(t: float, flat: np.ndarray) -> float:
        return float(np.abs(velocity(t, flat)).max() - 0.9 * RESIDUAL)

    moving.terminal = True

    def run() -> float:
        start = np.zeros(drive.size)
        solved = solve_ivp(velocity, (0, 500), start, rtol=RESIDUAL / 10, atol=RESIDUAL / 10, events=moving)
        return float(np.abs(velocity(0, solved.y[:, -1])).max())

    return run


def paired(mine: Callable[[], float], other: Callable[[], float], repeats: int) -> dict[str, float]:
    """The other's time over mine, taken in turns; both must reach the residual."""
    seconds: dict[str, list[float]] = {"mine": [], "other": []}
    for turn in range(repeats + 1):
        for name, run in (("mine", mine), ("other", other)):
            began = time.perf_counter()
            residual = run()
            if turn:  # the first turn compiles
                seconds[name].append(time.perf_counter() - began)
            if not residual <= RESIDUAL:
                raise SystemExit(f"{name} stopped at a residual of {residual:.1e}, above {RESIDUAL:g}: no comparison")
    ratios = np.divide(seconds["other"], seconds["mine"])
    return {
        "ratio": float(np.median(ratios)),
        "low": float(ratios.min()),
        "high": float(ratios.max()),
        "milliseconds": 1e3 * float(np.median(seconds["mine"])),
    }


def main() -> None:
    """Measures, prints a table (or JSON), and says on what machine."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--repeats", type=int, default=7, help="turns that count")
    options = parser.parse_args()
    results = []
    deep = "784-512-512-10"
    for name, make, batch in ((deep, layered, 20), (deep, layered, 128), ("graph 50", graph, 256)):
        field, x = make(batch)
        fast = by(epf.Equilibrium(tol=RESIDUAL), field, x)
        others = {
            "Trajectory, Tsit5": by(epf.Trajectory(tol=RESIDUAL), field, x),
            "Trajectory, Euler 0.5": by(epf.Trajectory(solver=epf.ProjectedEuler(), step=0.5, tol=RESIDUAL), field, x),
        }
        if not field.projected:  # scipy has no projected dynamics: its error control crawls along the clipping
            others["scipy RK45"] = by_scipy(field, x)
        for other, run in others.items():
            result = {"name": f"{name}, batch {batch}: Equilibrium v. {other}", **paired(fast, run, options.repeats)}
            results.append(result)
            if not options.json:
                print("{name:62s} {milliseconds:7.1f} ms {ratio:6.1f}x  ({low:.1f} to {high:.1f})".format(**result))
    machine = {"cores": os.cpu_count(), "processor": platform.machine(), "jax": jax.__version__, "dtype": "float32"}
    print(json.dumps({"results": results, "machine": machine}, indent=2) if options.json else f"\n{machine}")


if __name__ == "__main__":
    main()
