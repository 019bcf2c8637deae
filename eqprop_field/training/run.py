"""A finished training run: the networks, the history of the epochs, and the run's verdict."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..results import AbstractResult
from ..storage import save_network
from ..substrates.solution import Verdict, advice_on
from ..vector_fields.base import AbstractVectorField
from .checkpoint import CHECKPOINT
from .metrics import ErrorKind
from .records import RECORDS, records, write_records
from .settings import Settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_UNSETTLED_LIMIT = 0.01


@dataclasses.dataclass(frozen=True, repr=False)
class TrainingRun(AbstractResult):
    """What a training run ends in.

    Attributes:
        field: the network of the best epoch.
        last_field: the network of the last epoch.
        history: one entry an epoch: `epoch` (from 1), `train_objective` (mean cost of the settled samples),
            `train_error`, `validation_error` (of `error_kind`; a sample whose free phase did not settle is an error),
            `verdicts` (training samples by the worst verdict of their phases) and `seconds`. The training figures are
            taken along the way, while the network changes.
        best_epoch: the epoch with the lowest validation error, the last of equals. The test set has no say in it.
        test_error: the error of `field` on the test samples.
        settings: what the run was made with.
        error_kind: what the errors are: shares of the samples, or root mean squares in the targets' unit.
    """

    stem: ClassVar[str] = "history"
    field: AbstractVectorField
    last_field: AbstractVectorField
    history: list[dict[str, Any]]
    best_epoch: int
    test_error: float
    settings: Settings
    error_kind: ErrorKind = ErrorKind.classes

    @property
    def unsettled(self) -> float:
        """The share of the last epoch's samples with a phase that did not settle."""
        counts = self.history[-1]["verdicts"]
        return sum(n for name, n in counts.items() if name != Verdict.converged.name) / sum(counts.values())

    @property
    def passed(self) -> bool:
        """The run's own verdict: at most 1 % of the last epoch's samples did not settle."""
        return self.unsettled <= _UNSETTLED_LIMIT

    @property
    def failure(self) -> str | None:
        if self.passed:
            return None
        return (
            f"{100 * self.unsettled:.1f} % of the last epoch's samples did not settle and taught nothing; lower "
            f"learning rates may help. {advice_on(self.history[-1]['verdicts'])}"
        )

    def rows(self) -> list[dict[str, Any]]:
        """One row an epoch; the names of nested entries are joined by a dot, as in `verdicts.converged`."""
        return records(self.history)

    def summary(self) -> dict[str, Any]:
        """The settings, the best epoch with its errors, the verdict, and the history."""
        return {
            "settings": dataclasses.asdict(self.settings),
            "best_epoch": self.best_epoch,
            "validation_error": self.history[self.best_epoch - 1]["validation_error"],
            "test_error": self.test_error,
            "error_kind": self.error_kind.value,
            "unsettled": self.unsettled,
            "passed": self.passed,
            "history": self.history,
        }

    def lines(self) -> list[str]:
        first, last, best = self.history[0], self.history[-1], self.history[self.best_epoch - 1]
        seconds = sum(entry["seconds"] for entry in self.history)
        return [
            f"objective         {first['train_objective']:.4f} in epoch 1, "
            f"{last['train_objective']:.4f} in epoch {last['epoch']}"
            + (f", but for {100 * self.unsettled:.2g} % of its samples, unsettled" if self.unsettled else ""),
            f"validation error  {self.error_kind.text(best['validation_error'])} in epoch {self.best_epoch}, the best",
            f"test error        {self.error_kind.text(self.test_error)}",
            f"time              {seconds:.1f} s for {len(self.history)} epochs",
        ]

    def pictures(self) -> "dict[str, Figure]":
        return {"learning_curve.png": self.plot().figure}  # pyright: ignore[reportReturnType]  a Figure

    def _write(self, folder: Path) -> list[str]:
        save_network(folder / "net.safetensors", self.field)
        write_records(folder, self.history)
        checkpoint = [CHECKPOINT] if (folder / CHECKPOINT).exists() else []
        return ["net.safetensors", *checkpoint, *RECORDS, *self._write_pictures(folder)]
