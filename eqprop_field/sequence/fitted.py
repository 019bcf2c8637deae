"""Models that have learnt a signal: predictions, scores, streaming, generation, and files."""

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import jax.numpy as jnp
import numpy as np

from .._arrays import cast
from .._files import write_atomically, write_csv
from .._tensor_file import TensorFileError, described_tensors, tensor_file
from ..results import AbstractResult, known
from .model_files import decoded, encoded
from .series import Scale, Series, SeriesScore, as_series
from .streaming import Past, advance

if TYPE_CHECKING:
    from matplotlib.axes import Axes


_KEY = "eqprop_field_signal"
_FORMAT = 1
_SCALES = ("input_scale", "output_scale")
PARTS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class FitReport(AbstractResult):
    """How a fit went.

    Attributes:
        learner: its name.
        ended: one sentence on why it ended.
        nmse: of the parts `train`, `validation` and `test`; None where there is no such part.
        history: one row an iteration, or a ridge that was tried.
        score: of the whole series after the washout; None in a report that was loaded.
    """

    learner: str
    ended: str
    nmse: dict[str, float | None]
    history: tuple[dict[str, Any], ...]
    score: SeriesScore | None = None
    stem: ClassVar[str] = "fit"

    def rows(self) -> list[dict[str, Any]]:
        """The history."""
        return list(self.history)

    def summary(self) -> dict[str, Any]:
        found = {f"nmse_{part}": self.nmse[part] for part in PARTS}
        return {"learner": self.learner, "ended": self.ended, "iterations": len(self.history)} | found

    @property
    def failure(self) -> str | None:
        if self.nmse["train"] is None:
            return "the targets do not vary, or the model exploded: no error can be given"
        worse = [f"{error:.3g} on the {part} part" for part, error in self.nmse.items() if error and error > 1]
        return f"worse than the mean target, NMSE {' and '.join(worse)}: {self.ended}" if worse else None

    def _write(self, folder: Path) -> list[str]:
        names = super()._write(folder)
        if self.score is None:
            return names
        write_csv(folder / "outputs.csv", self.score.rows())
        return [*names, "outputs.csv"]


@dataclasses.dataclass(frozen=True, eq=False)
class FittedModel:
    """A model that `fit` has fitted, in the units of the user's data.

    Attributes:
        model: the field, kernel network, echo state network or liquid.
        input_scale: of the inputs before the model reads them.
        output_scale: of the targets; outputs go back through it.
        step: the time between samples.
        washout: samples at the beginning that scores leave out.
        report: how the fit went.
    """

    model: Any
    input_scale: Scale
    output_scale: Scale
    step: float
    washout: int
    report: "FitReport | None" = None

    def predict(self, inputs: Any) -> Any:
        """The outputs at every sample, from rest.

        Args:
            inputs: as for `fit`.

        Returns:
            (time, outputs); (time,) for a single output and an input of shape (time,); a list for a list.

        Raises:
            ValueError: for inputs that do not fit the model, or that hold NaN or infinity.
        """
        series = as_series(inputs, "inputs")
        found = [Stream(self).predict(one) for one in series]
        flat = found[0].shape[1] == 1 and np.ndim(inputs[0] if isinstance(inputs, list | tuple) else inputs) == 1
        shaped = [one[:, 0] if flat else one for one in found]
        return shaped if len(shaped) > 1 or (isinstance(inputs, list | tuple) and np.ndim(inputs[0])) else shaped[0]

    def score(self, inputs: Any, targets: Any) -> SeriesScore:
        """How good the outputs are after the washout.

        Raises:
            ValueError: as `predict`, and for targets of other shapes than the inputs and the model have.
        """
        wanted = pair(inputs, targets)[1]
        if wanted[0].shape[1] != len(self.output_scale.size):
            raise ValueError(f"the targets have {wanted[0].shape[1]} channels, the model {len(self.output_scale.size)}")
        outputs = [Stream(self).predict(one) for one in as_series(inputs, "inputs")]
        return SeriesScore([without_washout(one, self.washout) for one in wanted], outputs)

    def plot(self, inputs: Any, targets: Any, ax: "Axes | None" = None) -> "Axes":
        """Draws targets, outputs and residuals. Arguments and errors as for `score`."""
        return self.score(inputs, targets).plot(ax)

    def continue_from(self, inputs: Any) -> "Stream":
        """A stream that has read one series already; its states are carried on to the next samples.

        Raises:
            ValueError: as `predict`, and for more than one series.
        """
        series = as_series(inputs, "inputs")
        if len(series) > 1:
            raise ValueError(f"{len(series)} series: continue from one")
        stream = Stream(self)
        stream.predict(series[0])
        return stream

    def save(self, path: str | os.PathLike) -> None:
        """Writes model, scales and report as safetensors, with checksums; `load` gives the same outputs bit by bit.

        Raises:
            ValueError: for a model that no file can describe: a unit, activation or field of a user's own that is not
                registered, or weights that are not finite.
            OSError: for a file that cannot be written.
        """
        tensors: dict[str, np.ndarray] = {}
        model, report = encoded(self.model, "model", tensors), self.report
        for name in _SCALES:
            scale: Scale = getattr(self, name)
            tensors |= {f"{name}.middle": scale.middle, f"{name}.size": scale.size}
        for name, tensor in tensors.items():
            if not np.isfinite(tensor).all() and not name.endswith((".low", ".high")):  # weights may be unbounded
                raise ValueError(f"cannot save this model: its tensor {name} holds NaN or infinity")
        said = {"format": _FORMAT, "model": model, "step": self.step, "washout": self.washout, "report": None}
        if report is not None:
            kept = {"learner": report.learner, "ended": report.ended, "nmse": report.nmse}
            said["report"] = kept | {"history": [_as_json(row) for row in report.history]}
        write_atomically(path, tensor_file(_KEY, said, tensors))


def load(path: str | os.PathLike) -> FittedModel:
    """Reads a fitted model, in the file's precision where JAX allows it (float64 needs `jax_enable_x64`).

    Raises:
        ValueError: for a file that is missing, damaged, or holds no fitted model.
    """
    try:
        said, tensors = described_tensors(path, _KEY)
        if said.get("format") != _FORMAT:
            raise TensorFileError(f"has format {said.get('format')!r:.40}, where this version reads format {_FORMAT}")
        try:
            found = _described(said, tensors)
            Stream(found).predict(np.zeros((2, len(found.input_scale.size))))  # what does not fit shows here
        except Exception as error:  # whatever constructors make of shapes that none of them has written
            raise TensorFileError(f"describes no usable model ({' '.join(str(error).split())[:200]})") from error
    except TensorFileError as error:
        raise ValueError(f"{path} {error}; give a file that `fit` or FittedModel.save has written") from error
    return found


def _described(said: dict[str, Any], tensors: dict[str, np.ndarray]) -> FittedModel:
    scales = [Scale(tensors[f"{name}.middle"], tensors[f"{name}.size"]) for name in _SCALES]
    report = said["report"]
    if report is not None:
        nmse = {part: report["nmse"][part] for part in PARTS}
        report = FitReport(str(report["learner"]), str(report["ended"]), nmse, tuple(report["history"]))
    model, step, washout = decoded(said["model"], tensors), float(said["step"]), int(said["washout"])
    return FittedModel(model, scales[0], scales[1], step, washout, report)


def _as_json(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the history with None for what is not finite, which JSON has no form for."""
    return {name: known(value) if isinstance(value, float) else value for name, value in row.items()}


class Stream:
    """A fitted model that runs on and on: its states are carried from one call to the next.

    Attributes:
        fitted: the model.
        past: where it is; None at rest.
        last: its last output, in the user's units; None before the first.
    """

    def __init__(self, fitted: FittedModel) -> None:
        self.fitted = fitted
        self.past: Past | None = None
        self.last: Series | None = None

    def predict(self, inputs: Any) -> Series:
        """The outputs at the next samples (time, outputs).

        Args:
            inputs: (time,) or (time, inputs), one sample or more.

        Raises:
            ValueError: for inputs of another width, or that hold NaN or infinity.
        """
        values, wanted = np.asarray(inputs, float), len(self.fitted.input_scale.size)
        values = values[:, None] if values.ndim == 1 else values
        if values.ndim != 2 or len(values) < 1 or values.shape[1] != wanted:
            raise ValueError(f"inputs of shape {np.shape(inputs)}: the model reads (time, {wanted})")
        if not np.isfinite(values).all():
            raise ValueError("the inputs hold NaN or infinity: a model cannot be driven by that, fill the gaps")
        scaled = cast(self.fitted.input_scale.scaled(values), jnp.result_type(float))[:, None]
        step = jnp.asarray(self.fitted.step, scaled.dtype)
        outputs, self.past = advance(self.fitted.model, scaled, step, self.past)
        found = self.fitted.output_scale.restored(np.asarray(outputs[:, 0], float))
        self.last = found[-1:]
        return found

    def generate(self, samples: int) -> Series:
        """Runs freely: every output is the next input (samples, outputs).

        For a model that was fitted to give the next sample of its input.

        Raises:
            ValueError: for other numbers of outputs than inputs, or a stream that has read nothing yet.
        """
        if len(self.fitted.input_scale.size) != len(self.fitted.output_scale.size):
            raise ValueError("only a model with as many outputs as inputs can read its own outputs")
        if self.last is None:
            raise ValueError("nothing to go on from: use continue_from, or predict some samples first")
        return np.concatenate([self.predict(self.last) for _ in range(samples)])


def pair(inputs: Any, targets: Any) -> tuple[list[Series], list[Series]]:
    """Inputs and targets, series by series.

    Raises:
        ValueError: for different numbers of series or samples, or something else than series.
    """
    x, y = as_series(inputs, "inputs"), as_series(targets, "targets")
    if [len(one) for one in x] != [len(one) for one in y]:
        raise ValueError(
            f"inputs of {', '.join(str(len(one)) for one in x)} samples and targets of "
            f"{', '.join(str(len(one)) for one in y)}: give one target for every input sample, NaN where it is missing"
        )
    return x, y


def without_washout(targets: Series, washout: int) -> Series:
    """The targets without those of the washout."""
    kept = targets.copy()
    kept[:washout] = np.nan
    return kept
