"""Alignment and symmetry of one network at one time, and over the training of several."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .._arrays import checked_pair
from ..datasets import Dataset
from ..learning.base import AbstractLearningRule
from ..learning.implicit import ImplicitGradient
from ..results import AbstractResult, known
from ..substrates.solution import Verdict
from ..training import ErrorKind, ErrorMeasure, Settings, fitted, train
from ..vector_fields.base import AbstractVectorField
from .alignment import compare
from .symmetry import jacobian_asymmetry, weight_symmetry


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Snapshot(AbstractResult):
    """How a rule's update of a batch is aligned, and how symmetric the network is.

    Attributes:
        layers: the layers' names, `all` (the whole gradient) first.
        cosine: of the batch's mean update and its mean negative gradient; NaN where one is zero, (layer,).
        jacobian_asymmetry: ||J - J^T|| / ||J + J^T|| at the free equilibria, the mean over the samples that settled
            with a neuron that can move; NaN without any.
        weight_symmetry: <W, W^T> / ||W||^2.
        settled: the share of the samples with all phases settled; the others are left out.
    """

    stem: ClassVar[str] = "snapshot"
    layers: tuple[str, ...]
    cosine: Float[np.ndarray, " layer"]
    jacobian_asymmetry: float
    weight_symmetry: float
    settled: float

    def rows(self) -> list[dict[str, Any]]:
        """One row a layer."""
        same = {name: known(getattr(self, name)) for name in ("jacobian_asymmetry", "weight_symmetry", "settled")}
        return [{"layer": layer, "cosine": known(c), **same} for layer, c in zip(self.layers, self.cosine, strict=True)]

    def summary(self) -> dict[str, Any]:
        """The same as an entry of a run's history; None for what is not known."""
        return {
            "cosine": {layer: known(cosine) for layer, cosine in zip(self.layers, self.cosine, strict=True)},
            "jacobian_asymmetry": known(self.jacobian_asymmetry),
            "weight_symmetry": known(self.weight_symmetry),
        }


def snapshot(
    field: AbstractVectorField,
    rule: AbstractLearningRule,
    x: ArrayLike,
    y: ArrayLike,
    *,
    truth: ImplicitGradient | None = None,
) -> Snapshot:
    r"""Measures $\cos(\nu, -dJ/d\theta)$ of a batch's MEAN update, as training applies it, and the network's symmetry.

    `align` averages the cosines of single samples instead, over networks drawn at random.

    Args:
        field: the network, as a rule one that is being trained.
        rule: whose update; its substrate must run under JAX.
        x: inputs, (sample, inputs); y: targets, (sample, outputs).
        truth: how the true gradient is computed, and of which cost (its substrate is not used); by default the rule's.

    Raises:
        ValueError: for data that do not fit, or a rule on a circuit.
    """
    x, y = checked_pair(x, y, (field.n_inputs, field.n_outputs), field.dtype)
    if not rule.substrate.traceable:
        raise ValueError("the rule settles outside JAX: measure alignment on an ODE substrate")
    cosine, asymmetry, symmetry, settled = _measured(field, rule, truth or ImplicitGradient(cost=rule.cost), x, y)
    layers = ("all", *field.layers())
    return Snapshot(layers, np.asarray(cosine, float), float(asymmetry), float(symmetry), float(settled))


@eqx.filter_jit
def _measured(
    field: AbstractVectorField, rule: AbstractLearningRule, truth: ImplicitGradient, x: Array, y: Array
) -> tuple[Array, Array, Array, Array]:
    estimate = rule.estimate(field, x, y, throw=False)
    settled = estimate.verdict == Verdict.converged
    free = eqx.tree_at(lambda free: free.verdict, estimate.free, estimate.verdict)  # the same samples in both
    true = truth.at(field, x, y, free)
    cosine, _ = compare(estimate.gradient, true.gradient, jnp.min(estimate.verdict))
    at_once = jax.tree.map(lambda leaf: leaf[:, None], (field.drive(x), estimate.free.state))
    # Jacobians are dense: a few at a time.
    asymmetry = jax.lax.map(lambda one: jacobian_asymmetry(field, *one)[0], at_once, batch_size=10)
    known = settled & jnp.isfinite(asymmetry)  # undefined where every neuron is held at a bound
    mean = jnp.sum(jnp.where(known, asymmetry, 0)) / jnp.sum(known)
    return cosine, mean, weight_symmetry(field), jnp.mean(settled)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class TrainingAlignment(AbstractResult):
    """Alignment and symmetry of networks while several rules train them.

    Attributes:
        rules: their names, in order.
        layers: the layers' names, `all` (the whole gradient) first.
        epochs: how many had been trained, from 0, the start, (epoch,).
        cosine: as in `Snapshot`, (rule, seed, epoch, layer).
        jacobian_asymmetry: likewise, (rule, seed, epoch); weight_symmetry; settled.
        validation_error: of `error_kind`, (rule, seed, epoch); NaN at the start, where it is not measured.
        error_kind: what the errors are.
    """

    stem: ClassVar[str] = "training_alignment"
    rules: tuple[str, ...]
    layers: tuple[str, ...]
    epochs: Float[np.ndarray, " epoch"]
    cosine: Float[np.ndarray, "rule seed epoch layer"]
    jacobian_asymmetry: Float[np.ndarray, "rule seed epoch"]
    weight_symmetry: Float[np.ndarray, "rule seed epoch"]
    settled: Float[np.ndarray, "rule seed epoch"]
    validation_error: Float[np.ndarray, "rule seed epoch"]
    error_kind: ErrorKind = ErrorKind.classes

    def rows(self) -> list[dict[str, Any]]:
        """One row a rule, seed, epoch and layer."""
        rows = []
        for place in np.ndindex(self.cosine.shape):
            r, k, epoch, layer = place
            row = {"rule": self.rules[r], "seed": k, "epoch": epoch}
            row |= {"validation_error": known(self.validation_error[r, k, epoch]), "layer": self.layers[layer]}
            row |= {"cosine": known(self.cosine[place])}
            for name in ("jacobian_asymmetry", "weight_symmetry", "settled"):
                row[name] = known(getattr(self, name)[r, k, epoch])
            rows.append(row)
        return rows

    def summary(self) -> dict[str, Any]:
        """The rules, and the rows of the whole update before the first and after the last epoch."""
        ends = (0, len(self.epochs) - 1)
        last = [row for row in self.rows() if row["epoch"] in ends and row["layer"] == "all"]
        return {"rules": list(self.rules), "first_and_last": last}

    def lines(self) -> list[str]:
        """Start and end of every rule, means over the seeds."""
        lines = [f"{'rule':<18}  {'cosine':>17}  {'Jacobian asymmetry':>18}  {'weight symmetry':>17}  validation error"]
        for r, rule in enumerate(self.rules):
            means = [v[r].mean(axis=0) for v in (self.cosine[..., 0], self.jacobian_asymmetry, self.weight_symmetry)]
            ends = [f"{mean[0]:.4f} > {mean[-1]:.4f}" for mean in means]
            error = self.error_kind.text(self.validation_error[r, :, -1].mean())
            lines.append(f"{rule:<18}  {ends[0]:>17}  {ends[1]:>18}  {ends[2]:>17}  {error:>16}")
        return lines


def align_training(
    fields: Sequence[AbstractVectorField],
    rules: Mapping[str, AbstractLearningRule],
    dataset: Dataset,
    settings: Settings | Mapping[str, Settings],
    *,
    samples: int = 100,
    progress: Callable[[int, int], None] | None = None,
) -> TrainingAlignment:
    """Trains the same networks by every rule, and measures a `snapshot` before the first and after every epoch.

    Args:
        fields: the networks to start from, one a seed.
        rules: by name; their substrates must run under JAX.
        dataset: what is learnt.
        settings: of the training; one for all rules, or one for each by its name, all of as many epochs. The k-th
            network is trained with the settings' seed + k.
        samples: validation samples that alignment is measured on, the first ones.
        progress: called with the runs done and their number.

    Raises:
        ValueError: for data that do not fit, no network or rule, settings that do not fit, or a rule on a circuit.
        NotFiniteError: if the parameters of a network become NaN or infinite.
    """
    if not fields or not rules or samples < 1:
        raise ValueError("give at least one network, one rule and one sample")
    by_rule = dict.fromkeys(rules, settings) if isinstance(settings, Settings) else settings
    if set(by_rule) != set(rules) or len({one.epochs for one in by_rule.values()}) > 1:
        raise ValueError("give settings for every rule, of as many epochs: the rules are compared epoch by epoch")
    dataset = fitted(dataset, fields[0])
    x, y = dataset.validation.x[:samples], dataset.validation.y[:samples]
    runs = []
    for name, rule in rules.items():
        for k, field in enumerate(fields):
            seeded = dataclasses.replace(by_rule[name], seed=by_rule[name].seed + k)
            runs.append(_followed(field, rule, dataset, seeded, x, y))
            if progress is not None:
                progress(len(runs), len(rules) * len(fields))
    shape = (len(rules), len(fields), -1)
    columns = {
        name: np.array([[getattr(s, name) for s in snapshots] for snapshots, _ in runs]).reshape(shape)
        for name in ("jacobian_asymmetry", "weight_symmetry", "settled")
    }
    cosine = np.array([[s.cosine for s in snapshots] for snapshots, _ in runs])
    return TrainingAlignment(
        rules=tuple(rules),
        layers=runs[0][0][0].layers,
        epochs=np.arange(float(cosine.shape[1])),
        cosine=cosine.reshape(len(rules), len(fields), *cosine.shape[1:]),
        validation_error=np.array([errors for _, errors in runs]).reshape(shape),
        error_kind=ErrorMeasure.of_dataset(dataset).kind,
        **columns,
    )


def _followed(
    field: AbstractVectorField,
    rule: AbstractLearningRule,
    dataset: Dataset,
    settings: Settings,
    x: np.ndarray,
    y: np.ndarray,
) -> tuple[list[Snapshot], list[float]]:
    """Snapshots and validation errors of one run, from before the first epoch to after the last."""
    field = settings.repair.kept(field)
    snapshots = [snapshot(field, rule, x, y)]

    def measure(field: AbstractVectorField) -> dict[str, Any]:
        snapshots.append(snapshot(field, rule, x, y))
        return {}

    run = train(field, rule, dataset, settings, measure=measure, progress=False)
    return snapshots, [np.nan, *(entry["validation_error"] for entry in run.history)]
