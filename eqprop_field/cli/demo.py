"""`eqprop-field demo`: the whole story on real digits, with a report."""

import dataclasses
import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from .command import AbstractCommand, Outcome
from .findings import BETA, TOL, Findings

if TYPE_CHECKING:
    from ..analysis import Alignment, Simulation
    from ..circuits import Agreement
    from ..datasets import Dataset
    from ..learning import Estimate
    from ..training import TrainingRun
    from ..vector_fields import AbstractVectorField, LayeredField

SEEDS, SAMPLES, CIRCUITS = 10, 20, 3
SYMMETRIES = tuple(round(-1.0 + 0.2 * k, 12) for k in range(11))
STAGES = ("training", "both phases", "alignment", "netlist and ngspice", "report")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Demo(AbstractCommand):
    """Trains a network on handwritten digits, simulates both phases, measures alignment, runs it in ngspice, compares.

    Writes one folder: report.html (open it in a browser), summary.json, the network, and a folder for each step.

    Example: eqprop-field demo --out demo
    """

    out: Path = Path("demo")
    """The folder for the report and everything it shows."""

    def run(self) -> Outcome:
        self.choose_precision()

        from .._files import write_text
        from .files import folder_for, write_summary
        from .progress import stages
        from .story import failures, summarise, tell

        folder = folder_for(self.out)
        with stages(STAGES) as done:
            found = self._measure(folder, done)
            summary = summarise(found) | {"out": str(folder)}
            write_text(folder / "report.html", tell(found, summary))
            write_summary(folder, summary)
        rows = summary["table"]
        width = max(len(name) for name, _ in rows)
        table = [f"{name:<{width}}  {value}" for name, value in rows]
        failed = failures(found)
        return Outcome(summary, [*table, "", f"report: {folder / 'report.html'}"], "; ".join(failed) or None)

    def _measure(self, folder: Path, done: Callable[[], None]) -> Findings:
        from .inputs import read_network

        clock = _Clock()
        dataset, run = self._trained(folder)
        clock.lap("training", done)

        import jax

        jax.config.update("jax_enable_x64", True)
        field = cast("LayeredField", read_network(folder / "training" / "net.safetensors"))
        x, y = _one_of_each(dataset)
        _write_samples(folder, x, y)
        phases = self._phases(folder, field, x, y)
        clock.lap("phases", done)
        measured = self._alignment(folder, dataset)
        clock.lap("alignment", done)
        most = np.argsort(-np.asarray(phases.estimate.cost))[:CIRCUITS]  # where there is most to learn
        agreement, missing = self._circuit(folder, field, x[most], y[most])
        clock.lap("circuit", done)
        cosine = _cosine(field, phases.estimate, x, y)
        return Findings(dataset, run, field, x, y, phases, cosine, measured, agreement, missing, clock.laps)

    def _trained(self, folder: Path) -> "tuple[Dataset, TrainingRun]":
        import sys

        from ..training import RECIPES, load_dataset, train

        recipe = RECIPES["digits"].seeded(self.seed)
        dataset = load_dataset("digits", seed=self.seed)
        run = train(
            recipe.field(),
            recipe.learning_rule(),
            dataset,
            recipe.settings,
            out=folder / "training",
            progress=sys.stderr.isatty(),
        )
        run.save(folder / "training", **recipe.summary())
        return dataset, run

    def _phases(self, folder: Path, field: "AbstractVectorField", x: np.ndarray, y: np.ndarray) -> "Simulation":
        from ..analysis import simulate
        from ..substrates import Nudging, Trajectory

        found = simulate(field, x, y, nudging=Nudging.one_sided(BETA), substrate=Trajectory(tol=TOL))
        found = dataclasses.replace(found, pictured=int(np.argmax(np.asarray(found.estimate.cost))))  # most to learn
        found.save(folder / "phases", tol=TOL)
        return found

    def _alignment(self, folder: Path, dataset: "Dataset") -> "Alignment":
        import jax

        from ..analysis import align
        from ..learning import named_rules
        from ..substrates import Equilibrium, Nudging
        from ..training import RECIPES
        from .progress import bar

        # A beta this small hardly ever carries a neuron past the kink of its firing rate.
        rules = named_rules(("eqprop",), Nudging.symmetric(1e-5), Equilibrium(tol=1e-12))
        x, y = dataset.test.x[:SAMPLES], dataset.test.y[:SAMPLES]
        keys = jax.random.split(jax.random.key(self.seed), SEEDS)
        sweep = {"rules": rules, "symmetries": SYMMETRIES, "keys": keys}
        with bar("alignment") as progress:
            found = align(RECIPES["digits"].field(), x, y, **sweep, progress=progress)
        found.save(folder / "alignment")
        return found

    def _circuit(
        self, folder: Path, field: "AbstractVectorField", x: np.ndarray, y: np.ndarray
    ) -> "tuple[Agreement | None, str | None]":
        from ..circuits import NgspiceMissing, verify
        from .progress import bar

        try:
            with bar("running ngspice") as progress:
                agreement = verify(field, x, y, BETA, progress=progress)
        except NgspiceMissing as missing:
            return None, str(missing)
        agreement.save(folder / "circuit")
        return agreement, None


class _Clock:
    """How long every stage took."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str, done: Callable[[], None]) -> None:
        now = time.perf_counter()
        self.laps[name], self._last = now - self._last, now
        done()


def _one_of_each(dataset: "Dataset") -> tuple[np.ndarray, np.ndarray]:
    """The first test sample of every class."""
    rows = [int(np.flatnonzero(dataset.test.labels == label)[0]) for label in range(len(dataset.classes))]
    return dataset.test.x[rows].astype(np.float64), dataset.test.y[rows].astype(np.float64)


def _write_samples(folder: Path, x: np.ndarray, y: np.ndarray) -> None:
    """x.npy and y.npy, for the other commands to play with."""
    from .._files import write_atomically

    for name, array in (("x.npy", x), ("y.npy", y)):
        stream = io.BytesIO()
        np.save(stream, array)
        write_atomically(folder / name, stream.getvalue())


def _cosine(field: "AbstractVectorField", phases: "Estimate", x: np.ndarray, y: np.ndarray) -> float:
    """Of the update that these phases give and the negative gradient, over the whole batch."""
    from ..learning import ImplicitGradient
    from ..learning.base import tree_dot, tree_norm

    truth = ImplicitGradient().estimate(field, x, y, throw=False).gradient
    return float(tree_dot(phases.gradient, truth) / (tree_norm(phases.gradient) * tree_norm(truth)))
