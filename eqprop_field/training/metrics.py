"""What a run reports: counted on the device, read once an epoch."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ..datasets import Samples
from ..learning.base import AbstractLearningRule, Estimate
from ..substrates.solution import Solution, Verdict
from ..vector_fields.base import AbstractVectorField

_EVALUATION_BATCH = 500


class Tally(eqx.Module):
    """Sums over the samples of an epoch.

    Attributes:
        cost: of the samples that settled, ().
        wrong: samples whose class was not recognised in the free phase, ().
        verdicts: samples by `Verdict`, (verdicts,).
    """

    cost: Float[Array, ""]
    wrong: Int[Array, ""]
    verdicts: Int[Array, " verdicts"]

    @staticmethod
    def empty() -> "Tally":
        """Nothing counted yet."""
        return Tally(jnp.zeros(()), jnp.zeros((), jnp.int32), jnp.zeros(len(Verdict), jnp.int32))

    def add(self, field: AbstractVectorField, estimate: Estimate, y: Float[Array, "batch outputs"]) -> "Tally":
        """With the samples of one more batch."""
        settled = estimate.verdict == Verdict.converged
        return Tally(
            self.cost + jnp.sum(jnp.where(settled, estimate.cost, 0)).astype(self.cost.dtype),
            self.wrong + jnp.sum(~recognised(field, estimate.free, y), dtype=jnp.int32),
            self.verdicts.at[estimate.verdict].add(1),
        )

    def read(self) -> dict[str, Any]:
        """As Python numbers: mean cost of the settled samples (NaN without any), share of errors, verdicts by name."""
        counts = np.asarray(self.verdicts)
        settled = int(counts[Verdict.converged])
        return {
            "train_objective": float(self.cost) / settled if settled else float("nan"),
            "train_error": int(self.wrong) / max(int(counts.sum()), 1),
            "verdicts": {verdict.name: int(counts[verdict]) for verdict in Verdict if counts[verdict]},
        }


def recognised(field: AbstractVectorField, free: Solution, y: Float[Array, "batch outputs"]) -> Bool[Array, " batch"]:
    """Which samples settled on the right class: the output neuron with the highest state."""
    correct = jnp.argmax(field.output(free.state), axis=1) == jnp.argmax(y, axis=1)
    return correct & free.converged


def error_rate(rule: AbstractLearningRule, field: AbstractVectorField, samples: Samples) -> float:
    """The share of the samples whose class the free phase does not recognise.

    A sample that does not settle gives no answer, and counts as an error.

    Args:
        rule: whose substrate runs the free phase.
        field: the network.
        samples: what to classify.
    """
    count = _count_jitted if rule.substrate.traceable else _count_recognised
    right = 0
    for start in range(0, len(samples), _EVALUATION_BATCH):
        rows = np.arange(start, start + _EVALUATION_BATCH)
        real = rows < len(samples)
        if not rule.substrate.traceable:  # padding spares a compilation; here it would only cost simulations
            rows, real = rows[real], real[real]
        rows = np.minimum(rows, len(samples) - 1)
        right += count(rule, field, jnp.asarray(samples.x[rows]), jnp.asarray(samples.y[rows]), jnp.asarray(real))
    return (len(samples) - int(right)) / len(samples)


def _count_recognised(
    rule: AbstractLearningRule,
    field: AbstractVectorField,
    x: Float[Array, "batch inputs"],
    y: Float[Array, "batch outputs"],
    real: Bool[Array, " batch"],
) -> Int[Array, ""]:
    free = rule.substrate.settle(field, x, throw=False)
    return jnp.sum(recognised(field, free, y) & real)


_count_jitted = eqx.filter_jit(_count_recognised)
