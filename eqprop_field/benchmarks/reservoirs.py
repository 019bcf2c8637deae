"""Echo state networks beside reservoirpy's: the same sparse weights, signal, washout and ridge, in float64."""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from scipy.sparse import csr_matrix

from ..datasets import roessler
from ..sequence import EchoStateNetwork, Reservoir, Signal
from . import peers
from .paired import Ratio, paired

_TRAIN, _TEST, _LEAK, _RIDGE, _WASHOUT = 4000, 2000, 0.3, 1e-6, 200


def reservoirs(turns: int, sizes: Sequence[int] = (100, 500, 1000)) -> Iterator[Ratio]:
    """Fitting, running and test error for reservoirs of several sizes: x_1 of the Roessler attractor in, x_2 out."""
    for neurons in sizes:
        name = f"reservoir of {neurons}, {_TRAIN} samples"
        try:
            with jax.enable_x64(True):
                yield from _beside_reservoirpy(name, neurons, turns)
        except peers.Missing as reason:
            yield Ratio.left_out(name, str(reason))


def _beside_reservoirpy(name: str, neurons: int, turns: int) -> Iterator[Ratio]:
    nodes = peers.library("reservoirpy.nodes")
    path = roessler(_TRAIN + _TEST)
    x, y = path[:, :1] / np.abs(path[:, 0]).max(), path[:, 1:2] / np.abs(path[:, 1]).max()
    weights = Reservoir.create(jax.random.key(0), neurons=neurons, inputs=1, radius=0.9, input_scale=0.5)
    network, early, whole = EchoStateNetwork(weights, leak=_LEAK), Signal.sampled(x[:_TRAIN]), Signal.sampled(x)
    parts = {"W": csr_matrix(np.asarray(weights.weights)), "Win": np.asarray(weights.input_weights)}

    def fit_theirs() -> Any:
        model = nodes.Reservoir(**parts, bias=np.zeros(neurons), lr=_LEAK) >> nodes.Ridge(ridge=_RIDGE)
        return model.fit(x[:_TRAIN], y[:_TRAIN], warmup=_WASHOUT)

    def fit_ours() -> Any:
        return network.fit(early, y[:_TRAIN], washout=_WASHOUT, ridge=_RIDGE)

    theirs, ours = fit_theirs(), fit_ours()

    def run_theirs() -> np.ndarray:
        for node in theirs.nodes:
            node.reset()
        return theirs.run(x)

    def run_ours() -> np.ndarray:
        return np.asarray(ours.run(whole).outputs)[:, 0]

    yield paired(f"{name}: fit by reservoirpy", fit_theirs, fit_ours, turns=turns, goal=1.0)
    yield paired(f"{name}: run by reservoirpy", run_theirs, run_ours, turns=turns)
    mistakes = [float(np.mean((run()[_TRAIN:] - y[_TRAIN:]) ** 2)) for run in (run_ours, run_theirs)]
    yield Ratio.single(f"{name}: our test error in reservoirpy's", mistakes[0] / mistakes[1], " of it", 2.0)
