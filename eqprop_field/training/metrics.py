"""What a run reports: counted on the device, read once an epoch."""

import enum
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ..datasets import Dataset, Samples
from ..learning.base import AbstractLearningRule, Estimate
from ..substrates.solution import Solution, Verdict
from ..vector_fields.base import AbstractVectorField
from .data import fitted_samples

_EVALUATION_BATCH = 500


class ErrorKind(enum.StrEnum):
    """What an error is, by the form of the targets.

    `classes`: one output a class, the class's own at one value and all others at a lower one. `binary`: one output and
    two values, told apart in their middle. `regression`: anything else; the root of the mean squared error.
    """

    classes = "share of samples whose highest output is not their class's"
    binary = "share of samples on the wrong side of the middle of the two targets"
    regression = "root mean square error, in the targets' unit"

    @property
    def is_share(self) -> bool:
        """Whether it is a share of the samples."""
        return self is not ErrorKind.regression

    @property
    def axis(self) -> tuple[float, str]:
        """What errors are multiplied by in pictures, and what they are then in."""
        return (100.0, "error (%)") if self.is_share else (1.0, "error (the targets' unit)")

    def text(self, error: float) -> str:
        """An error as people read it."""
        return f"{100 * error:.1f} %" if self.is_share else f"{error:.4g} (root mean square, in the targets' unit)"


class ErrorMeasure(eqx.Module):
    """The error of outputs. A sample that does not settle gives no answer, and has the largest error that one within
    the range of the targets can have.

    Attributes:
        kind: which error.
        low: the lowest target of every output, (outputs,).
        high: the highest.
    """

    kind: ErrorKind = eqx.field(static=True)
    low: Float[Array, " outputs"]
    high: Float[Array, " outputs"]

    @classmethod
    def of(cls, *parts: Samples) -> "ErrorMeasure":
        """The measure for these samples' targets."""
        y = np.concatenate([samples.y for samples in parts])
        low, high = y.min(axis=0), y.max(axis=0)
        two = np.isin(y, (y.min(), y.max())).all() and y.min() < y.max()
        if y.shape[1] == 1:
            kind = ErrorKind.binary if two else ErrorKind.regression
        else:
            one_hot = two and (np.sum(y == y.max(), axis=1) == 1).all()
            kind = ErrorKind.classes if one_hot else ErrorKind.regression
        return cls(kind, jnp.asarray(low), jnp.asarray(high))

    @classmethod
    def of_dataset(cls, dataset: Dataset) -> "ErrorMeasure":
        """The measure for all samples of a data set, whose labels are one-hot."""
        return cls.of(dataset.train, dataset.validation, dataset.test)

    def per_sample(
        self, field: AbstractVectorField, free: Solution, y: Float[Array, "batch outputs"]
    ) -> Float[Array, " batch"]:
        """1 for a wrong sample and 0 for a right one, or the squared error, a mean over the outputs."""
        output = field.output(free.state)
        if self.kind is ErrorKind.regression:
            error = jnp.mean((output - y) ** 2, axis=1)
            worst = jnp.mean(jnp.maximum(y - self.low, self.high - y) ** 2, axis=1)
        else:
            error, worst = self._wrong(output, y).astype(y.dtype), 1.0
        return jnp.where(free.converged, error, worst)

    def _wrong(self, output: Float[Array, "batch outputs"], y: Float[Array, "batch outputs"]) -> Bool[Array, " batch"]:
        if self.kind is ErrorKind.classes:
            return jnp.argmax(output, axis=1) != jnp.argmax(y, axis=1)
        middle = 0.5 * (self.low + self.high)
        return jnp.any((output > middle) != (y > middle), axis=1)

    def whole(self, total: float, samples: int) -> float:
        """The error of so many samples, of the sum of `per_sample`."""
        mean = total / max(samples, 1)
        return mean if self.kind.is_share else float(np.sqrt(mean))


class Tally(eqx.Module):
    """Sums over the samples of an epoch.

    Attributes:
        cost: of the samples that settled, ().
        error: by an `ErrorMeasure`, ().
        verdicts: samples by `Verdict`, (verdicts,).
    """

    cost: Float[Array, ""]
    error: Float[Array, ""]
    verdicts: Int[Array, " verdicts"]

    @staticmethod
    def empty() -> "Tally":
        """Nothing counted yet."""
        return Tally(jnp.zeros(()), jnp.zeros(()), jnp.zeros(len(Verdict), jnp.int32))

    def add(self, estimate: Estimate, errors: Float[Array, " batch"]) -> "Tally":
        """With the samples of one more batch and their errors."""
        settled = estimate.verdict == Verdict.converged
        return Tally(
            self.cost + jnp.sum(jnp.where(settled, estimate.cost, 0)).astype(self.cost.dtype),
            self.error + jnp.sum(errors).astype(self.error.dtype),
            self.verdicts.at[estimate.verdict].add(1),
        )

    def read(self, measure: ErrorMeasure) -> dict[str, Any]:
        """As Python numbers: mean cost of the settled samples (NaN without any), the error, verdicts by name."""
        counts = np.asarray(self.verdicts)
        settled = int(counts[Verdict.converged])
        return {
            "train_objective": float(self.cost) / settled if settled else float("nan"),
            "train_error": measure.whole(float(self.error), int(counts.sum())),
            "verdicts": {verdict.name: int(counts[verdict]) for verdict in Verdict if counts[verdict]},
        }


def error_rate(
    rule: AbstractLearningRule, field: AbstractVectorField, samples: Samples, measure: ErrorMeasure | None = None
) -> float:
    """The error of free phases: the share of wrong samples, or for regression the root mean square error.

    A sample that does not settle gives no answer, and counts as wrong.

    Args:
        rule: whose substrate runs the free phase.
        field: the network.
        samples: what to answer.
        measure: which error; by default what the form of these samples' targets says, see `ErrorKind`.

    Raises:
        ValueError: for samples that do not fit the network.
    """
    samples = fitted_samples(samples, field)
    measure = measure or ErrorMeasure.of(samples)
    add_up = _sum_jitted if rule.substrate.traceable else _sum
    total = 0.0
    for start in range(0, len(samples), _EVALUATION_BATCH):
        rows = np.arange(start, start + _EVALUATION_BATCH)
        real = rows < len(samples)
        if not rule.substrate.traceable:  # padding spares a compilation; here it would only cost simulations
            rows, real = rows[real], real[real]
        rows = np.minimum(rows, len(samples) - 1)
        batch = (jnp.asarray(samples.x[rows]), jnp.asarray(samples.y[rows]), jnp.asarray(real))
        total += float(add_up(measure, rule, field, *batch))
    return measure.whole(total, len(samples))


def _sum(
    measure: ErrorMeasure,
    rule: AbstractLearningRule,
    field: AbstractVectorField,
    x: Float[Array, "batch inputs"],
    y: Float[Array, "batch outputs"],
    real: Bool[Array, " batch"],
) -> Float[Array, ""]:
    free = rule.substrate.unchecked().settle(field, x, throw=False)
    return jnp.sum(jnp.where(real, measure.per_sample(field, free, y), 0.0))


_sum_jitted = eqx.filter_jit(_sum)
