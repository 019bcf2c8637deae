"""The main job: train, simulate both phases, measure alignment, run the circuit in ngspice, compare."""

import dataclasses
import io
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import jax
import numpy as np
from jaxtyping import Float

from .._arrays import float64, in_float64
from .._files import write_atomically, write_text
from ..analysis import Alignment, Simulation, align, simulate
from ..circuits import Agreement, NgspiceMissing, verify
from ..datasets import Dataset
from ..learning import Estimate, ImplicitGradient, named_rules
from ..learning.base import tree_cosine
from ..results import AbstractResult
from ..storage import load_network
from ..substrates import Equilibrium, Nudging, Trajectory
from ..training import RECIPES, TrainingRun, load_dataset, train
from ..vector_fields import AbstractVectorField
from .report import figures, report

BETA = 0.1
TOL = 1e-8
SEEDS, SAMPLES, CIRCUITS = 10, 20, 3
SYMMETRIES = tuple(round(-1.0 + 0.2 * k, 12) for k in range(11))
_STAGES = ("training", "phases", "alignment", "circuit")
_PARTS = 1000  # of a stage, for the progress


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Demo(AbstractResult):
    """What the demo measured.

    Attributes:
        dataset: the digits.
        run: the training.
        field: the trained network, in float64, as read back from its file.
        x: ten test digits, one of each class.
        y: their targets.
        phases: both phases of these digits on the ODE.
        update_cosine: of their update and the negative gradient, averaged over these digits.
        alignment: over random networks of the same architecture.
        agreement: of ODE and ngspice, or None without ngspice.
        no_circuit: why there is no agreement.
        seconds: of every stage.
    """

    stem: ClassVar[str] = "report"
    dataset: Dataset
    run: TrainingRun
    field: AbstractVectorField
    x: Float[np.ndarray, "digits inputs"]
    y: Float[np.ndarray, "digits outputs"]
    phases: Simulation
    update_cosine: float
    alignment: Alignment
    agreement: Agreement | None
    no_circuit: str | None
    seconds: dict[str, float]

    @property
    def failures(self) -> list[str]:
        """What did not hold, a sentence each."""
        with float64():  # as they were computed
            sentences = [self.run.failure, self.phases.failure]
        if self.agreement is None:
            sentences.append(f"the circuit was left out: {self.no_circuit}")
        elif self.agreement.failure is not None:
            sentences.append(f"ODE and circuit: {self.agreement.verdict.value}")
        return [sentence for sentence in sentences if sentence is not None]

    @property
    def failure(self) -> str | None:
        return "; ".join(self.failures) or None

    def mean_cosines(self) -> dict[float, float | None]:
        """The mean cosine of the whole update by weight symmetry."""
        return {e["symmetry"]: e["mean_cosine"] for e in self.alignment.means() if e["layer"] == "all"}

    def figures(self) -> list[tuple[str, str]]:
        """The key figures, names and values."""
        with float64():  # as they were computed
            return figures(self)

    def rows(self) -> list[dict[str, Any]]:
        """The key figures, a row each: `figure` and `value`."""
        return [{"figure": name, "value": value} for name, value in self.figures()]

    def summary(self) -> dict[str, Any]:
        run, alignment = self.run.summary(), self.alignment.summary()
        del run["history"]
        with float64():
            phases = self.phases.summary()
        return {
            "verdict": "failed" if self.failures else "held",
            "failures": self.failures,
            "training": run,
            "phases": phases | {"tol": TOL},
            "trained_update_cosine": self.update_cosine,
            "alignment": {key: alignment[key] for key in ("samples_used", "left_out")}
            | {"mean_cosine": {f"{c:g}": mean for c, mean in self.mean_cosines().items()}},
            "agreement": None if self.agreement is None else self.agreement.summary(),
            "no_circuit": self.no_circuit,
            "seconds": {name: round(seconds, 2) for name, seconds in self.seconds.items()},
            "table": self.figures(),
        }

    def lines(self) -> list[str]:
        rows = self.figures()
        width = max(len(name) for name, _ in rows)
        return [*(f"{name:<{width}}  {value}" for name, value in rows), ""]

    def _write(self, folder: Path) -> list[str]:
        """`report.html`, with the pictures inside; the parts wrote their files when they were done."""
        with float64():
            write_text(folder / "report.html", report(self))
        return ["report.html"]


def demo(folder: str | os.PathLike[str], seed: int = 0, progress: Callable[[int, int], None] | None = None) -> Demo:
    """Trains a network on handwritten digits, simulates both phases, measures alignment, runs it in ngspice, compares.

    Every part writes its files into a folder of its own when it is done; `save` adds the report.

    Args:
        folder: where to.
        seed: of the split of the digits, the network and its training.
        progress: called with what is done and its number.

    Returns:
        What was measured; its `agreement` is None where there is no ngspice.

    Raises:
        OSError: for files that cannot be written.
    """
    folder, clock = Path(folder), _Clock(progress)
    recipe, dataset = RECIPES["digits"].changed(seed=seed), load_dataset("digits", seed=seed)
    shown = progress is not None and sys.stderr.isatty()
    rule, settings = recipe.learning_rule(), recipe.settings
    run = train(recipe.field(), rule, dataset, settings, out=folder / "training", overwrite=True, progress=shown)
    run.save(folder / "training", **recipe.summary())
    clock.end_stage()
    with float64():
        field = in_float64(load_network(folder / "training" / "net.safetensors"))
        x, y = _one_of_each(dataset)
        _write_array(folder / "x.npy", x)
        _write_array(folder / "y.npy", y)
        phases = simulate(field, x, y, nudging=Nudging.one_sided(BETA), substrate=Trajectory(tol=TOL))
        cost = np.asarray(phases.estimate.cost)
        phases = dataclasses.replace(phases, pictured=int(np.argmax(cost)))
        phases.save(folder / "phases", tol=TOL)
        clock.end_stage()
        alignment = _alignment(dataset, seed, clock.part)
        alignment.save(folder / "alignment")
        clock.end_stage()
        agreement, missing, most = None, None, np.argsort(-cost)[:CIRCUITS]  # where there is most to learn
        try:
            agreement = verify(field, x[most], y[most], BETA, progress=clock.part)
            agreement.save(folder / "circuit")
        except NgspiceMissing as error:
            missing = str(error)
        clock.end_stage()
        cosine = _cosine(field, phases.estimate, x, y)
    return Demo(
        dataset=dataset,
        run=run,
        field=field,
        x=x,
        y=y,
        phases=phases,
        update_cosine=cosine,
        alignment=alignment,
        agreement=agreement,
        no_circuit=missing,
        seconds=clock.seconds,
    )


class _Clock:
    """How long every stage took, and how far the whole is."""

    def __init__(self, progress: Callable[[int, int], None] | None) -> None:
        self.seconds: dict[str, float] = {}
        self._progress = progress or (lambda done, total: None)
        self._last = time.perf_counter()

    def part(self, done: int, total: int) -> None:
        self._progress(_PARTS * len(self.seconds) + _PARTS * done // total, _PARTS * len(_STAGES))

    def end_stage(self) -> None:
        now = time.perf_counter()
        self.seconds[_STAGES[len(self.seconds)]], self._last = now - self._last, now
        self.part(0, 1)


def _alignment(dataset: Dataset, seed: int, progress: Callable[[int, int], None]) -> Alignment:
    # A beta this small hardly ever carries a neuron past the kink of its firing rate.
    rules = named_rules(("eqprop",), Nudging.symmetric(1e-5), Equilibrium(tol=1e-12))
    x, y = dataset.test.x[:SAMPLES], dataset.test.y[:SAMPLES]
    keys = jax.random.split(jax.random.key(seed), SEEDS)
    template = RECIPES["digits"].field()
    return align(template, x, y, rules=rules, symmetries=SYMMETRIES, keys=keys, progress=progress)


def _one_of_each(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """The first test sample of every class."""
    rows = [int(np.flatnonzero(dataset.test.labels == label)[0]) for label in range(len(dataset.classes))]
    return dataset.test.x[rows].astype(np.float64), dataset.test.y[rows].astype(np.float64)


def _write_array(path: Path, array: np.ndarray) -> None:
    """A .npy file, for the other commands to read."""
    stream = io.BytesIO()
    np.save(stream, array)
    write_atomically(path, stream.getvalue())


def _cosine(field: AbstractVectorField, phases: Estimate, x: np.ndarray, y: np.ndarray) -> float:
    """Of the update that these phases give and the negative gradient, over the whole batch."""
    truth = ImplicitGradient().estimate(field, x, y, throw=False).gradient
    return float(tree_cosine(phases.gradient, truth))
