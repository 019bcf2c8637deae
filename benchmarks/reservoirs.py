"""Echo state networks beside reservoirpy: paired ratios, one run, the same weights for both.

    python benchmarks/reservoirs.py [--json] [--repeats 5] [--neurons 100 500 1000]

The Roessler attractor's x_1 goes in and x_2 is to come out: 4000 samples to fit, the next 2000 to test, float64. Both
get the same sparse weights (density 0.1, spectral radius 0.9), leak 0.3, washout 200 and ridge 1e-6. Both run on one
core, where the system lets us say so, and take turns, so that the machine's moods meet both; the ratio is the median
over the turns, with the lowest and the highest beside it.
Compilation, once a size, is not in the times; it is told apart.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from typing import Any

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import jax
import numpy as np
import scipy.sparse

jax.config.update("jax_enable_x64", True)

import reservoirpy
from reservoirpy.nodes import Reservoir as Pool
from reservoirpy.nodes import Ridge

from eqprop_field.datasets import roessler
from eqprop_field.sequence import EchoState, Reservoir, Signal

TRAIN, TEST, LEAK, RIDGE, WASHOUT = 4000, 2000, 0.3, 1e-6, 200


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    found = run()
    return time.perf_counter() - began, found


def compare(neurons: int, repeats: int) -> dict[str, float]:
    """Fit and run of both, in turns."""
    path = roessler(TRAIN + TEST)
    x, y = path[:, :1] / np.abs(path[:, 0]).max(), path[:, 1:2] / np.abs(path[:, 1]).max()
    key = jax.random.key(0)
    weights = Reservoir.create(key, neurons=neurons, inputs=1, radius=0.9, input_scale=0.5)
    network = EchoState(weights, LEAK)
    early, whole = Signal.sampled(x[:TRAIN]), Signal.sampled(x)
    parts = {"W": scipy.sparse.csr_matrix(np.asarray(weights.weights)), "Win": np.asarray(weights.input_weights)}

    def theirs() -> Any:
        model = Pool(**parts, bias=np.zeros(neurons), lr=LEAK) >> Ridge(ridge=RIDGE)
        return model.fit(x[:TRAIN], y[:TRAIN], warmup=WASHOUT)

    def mine() -> EchoState:
        return network.fit(early, y[:TRAIN], washout=WASHOUT, ridge=RIDGE)

    def run_theirs(model: Any) -> np.ndarray:
        for node in model.nodes:
            node.reset()
        return model.run(x)

    def run_mine(fitted: EchoState) -> np.ndarray:
        return np.asarray(fitted.run(whole).outputs)[:, 0]

    compilation, fitted = timed(mine)
    run_mine(fitted)
    seconds: dict[str, list[float]] = {"fit": [], "their fit": [], "run": [], "their run": []}
    for _ in range(repeats):
        for name, fit, run in (("", mine, run_mine), ("their ", theirs, run_theirs)):
            took, model = timed(fit)
            seconds[f"{name}fit"].append(took)
            took, outputs = timed(lambda model=model, run=run: run(model))
            seconds[f"{name}run"].append(took)
            error = float(np.mean((outputs[TRAIN:] - y[TRAIN:]) ** 2))
            seconds.setdefault(f"{name}error", []).append(error)
    ratios = {step: np.divide(seconds[f"their {step}"], seconds[step]) for step in ("fit", "run")}
    return {
        "neurons": neurons,
        "fit_ratio": float(np.median(ratios["fit"])),
        "fit_low": float(ratios["fit"].min()),
        "fit_high": float(ratios["fit"].max()),
        "fit_seconds": float(np.median(seconds["fit"])),
        "run_ratio": float(np.median(ratios["run"])),
        "error": seconds["error"][-1],
        "their_error": seconds["their error"][-1],
        "first_fit_seconds": compilation,
    }


def main() -> None:
    """Measures, prints a table (or JSON), and says on what machine."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--repeats", type=int, default=5, help="turns that count")
    parser.add_argument("--neurons", type=int, nargs="+", default=[100, 500, 1000], help="sizes of the reservoir")
    options = parser.parse_args()
    results = []
    for neurons in options.neurons:
        results.append(found := compare(neurons, options.repeats))
        if not options.json:
            print(
                "N = {neurons:5d}: fit {fit_seconds:.2f} s, {fit_ratio:.1f}x ({fit_low:.1f} to {fit_high:.1f}) as fast "
                "as reservoirpy; run {run_ratio:.1f}x; test error {error:.1e} and {their_error:.1e}; the first fit, "
                "which compiles, {first_fit_seconds:.1f} s".format(**found)
            )
    machine = {
        "cores": os.cpu_count(),
        "processor": platform.machine(),
        "jax": jax.__version__,
        "reservoirpy": reservoirpy.__version__,
        "dtype": "float64",
    }
    print(json.dumps({"results": results, "machine": machine}, indent=2) if options.json else f"\n{machine}")


if __name__ == "__main__":
    main()
