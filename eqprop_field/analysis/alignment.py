"""Alignment of learning rules with the true gradient, against the symmetry of the weights."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, Key

from .._arrays import checked_pair
from ..learning.base import AbstractLearningRule
from ..learning.implicit import ImplicitGradient
from ..results import AbstractResult, known
from ..substrates.solution import Verdict
from ..vector_fields.base import AbstractVectorField
from ..vector_fields.leaky import AbstractNeuralNetwork, require
from .symmetry import jacobian_asymmetry, weight_symmetry

# What a sample can be beside a `Verdict`: settled, but without a direction to compare.
_ZERO_GRADIENT, _ZERO_UPDATE = 100, 101
_NAMES = {int(v): v.name for v in Verdict} | {_ZERO_GRADIENT: "zero_gradient", _ZERO_UPDATE: "zero_update"}
_CHUNK_BYTES = 2**28  # per-sample gradients held at once


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Alignment(AbstractResult):
    """The alignment of every rule, symmetry, seed, sample and layer; degenerate samples are named, never averaged in.

    Attributes:
        symmetries: c, (symmetry,).
        rules: the rules' names, in order.
        layers: the layers' names, `all` (the whole gradient) first.
        cosine: of the rule's gradient with the true one, (rule, symmetry, seed, sample, layer); NaN where undefined.
        codes: what the sample was, by code, same shape; `rows()` says it in words.
        jacobian_asymmetry: ||J - J^T|| / ||J + J^T|| at the free equilibrium, (symmetry, seed, sample).
        weight_symmetry: <W, W^T> / ||W||^2, (symmetry, seed).
        betas: the influence parameter of each rule; NaN for rules without one.
        refused: the rules that could not serve the network, with the reason.
    """

    stem: ClassVar[str] = "alignment"
    symmetries: Float[np.ndarray, " symmetry"]
    rules: tuple[str, ...]
    layers: tuple[str, ...]
    cosine: Float[np.ndarray, "rule symmetry seed sample layer"]
    codes: Int[np.ndarray, "rule symmetry seed sample layer"]
    jacobian_asymmetry: Float[np.ndarray, "symmetry seed sample"]
    weight_symmetry: Float[np.ndarray, "symmetry seed"]
    betas: tuple[float, ...]
    refused: dict[str, str] = dataclasses.field(default_factory=dict)

    def rows(self) -> list[dict[str, Any]]:
        """One row per rule, symmetry, seed, sample and layer; None where there is no cosine or no beta."""
        rows = []
        for place in np.ndindex(self.cosine.shape):
            r, c, k, n, layer = place
            rows.append(
                {
                    "rule": self.rules[r],
                    "symmetry": float(self.symmetries[c]),
                    "seed": k,
                    "sample": n,
                    "layer": self.layers[layer],
                    "cosine": known(self.cosine[place]),
                    "jacobian_asymmetry": known(self.jacobian_asymmetry[c, k, n]),
                    "weight_symmetry": known(self.weight_symmetry[c, k]),
                    "beta": known(self.betas[r]),
                    "verdict": _NAMES[int(self.codes[place])],
                }
            )
        return rows

    def means(self) -> list[dict[str, Any]]:
        """Per rule, symmetry and layer: mean and spread of the cosine, and what was left out and why."""
        entries = []
        for r, c, layer in np.ndindex(len(self.rules), len(self.symmetries), len(self.layers)):
            cosine, codes = self.cosine[r, c, :, :, layer], self.codes[r, c, :, :, layer]
            used = cosine[codes == Verdict.converged]
            left_out, counts = np.unique(codes[codes != Verdict.converged], return_counts=True)
            entries.append(
                {
                    "rule": self.rules[r],
                    "symmetry": float(self.symmetries[c]),
                    "layer": self.layers[layer],
                    "mean_cosine": float(used.mean()) if used.size else None,
                    "std_cosine": float(used.std()) if used.size else None,
                    "samples": int(used.size),
                    "left_out": {_NAMES[int(v)]: int(n) for v, n in zip(left_out, counts, strict=True)},
                    "mean_jacobian_asymmetry": _finite_mean(self.jacobian_asymmetry[c]),
                    "mean_weight_symmetry": _finite_mean(self.weight_symmetry[c]),
                }
            )
        return entries

    def summary(self) -> dict[str, Any]:
        means = self.means()
        whole = [entry for entry in means if entry["layer"] == "all"]
        left_out: dict[str, int] = {}
        for entry in whole:
            for why, count in entry["left_out"].items():
                left_out[why] = left_out.get(why, 0) + count
        return {
            "rules": list(self.rules),
            "symmetries": self.symmetries.tolist(),
            "seeds": self.cosine.shape[2],
            "samples": self.cosine.shape[3],
            "samples_used": sum(entry["samples"] for entry in whole),
            "left_out": left_out,
            "means": means,
            "refused": self.refused,
        }

    @property
    def failure(self) -> str | None:
        settled = (self.codes[..., 0] == Verdict.converged).any()
        return None if settled else "no sample settled with a direction to compare: see alignment.csv"

    def lines(self) -> list[str]:
        return [*self.table(), *(f"left out: {name}, for {reason}" for name, reason in self.refused.items())]

    def table(self, layer: str = "all") -> list[str]:
        """The mean cosines of the whole update, or of one layer's, one line a symmetry.

        Args:
            layer: one of `layers`.
        """
        entries = {(entry["rule"], entry["symmetry"]): entry for entry in self.means() if entry["layer"] == layer}
        columns = "  ".join(f"{rule:>{_width(rule)}}" for rule in self.rules)
        lines = [] if layer == "all" else [f"layer {layer}"]
        lines.append(f"symmetry  Jacobian asymmetry  {columns}   left out")
        for c in self.symmetries.tolist():
            here = [entries[rule, c] for rule in self.rules]
            cosines = "  ".join(f"{_shown(entry['mean_cosine']):>{_width(entry['rule'])}}" for entry in here)
            left = sum(sum(entry["left_out"].values()) for entry in here)
            lines.append(f"{c:>8.2f}  {_shown(here[0]['mean_jacobian_asymmetry']):>18}  {cosines}   {left:>8}")
        return lines


def _width(rule: str) -> int:
    return max(10, len(rule))


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _finite_mean(values: np.ndarray) -> float | None:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else None


def align(
    template: AbstractVectorField,
    x: ArrayLike,
    y: ArrayLike,
    *,
    rules: Mapping[str, AbstractLearningRule],
    symmetries: ArrayLike | Sequence[float],
    keys: Key[Array, " seed"],
    leave_out: bool = False,
    truth: ImplicitGradient | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Alignment:
    r"""Measures $\cos(\nu, -dJ/d\theta)$ sample by sample, over weight symmetries and random networks.

    For every symmetry c and every key the template's weights are drawn again (the same key gives the same forward
    weights at every c), and every rule's gradient of every sample is compared with the implicit gradient at the
    first rule's free equilibrium. The whole sweep is one compiled computation; where the per-sample gradients
    would not fit in memory, it runs several times over equal parts.

    Args:
        template: the architecture, gain, activation and biases.
        x: inputs, (sample, inputs); y: targets, (sample, outputs).
        rules: the rules to measure, by name, such as `named_rules` gives; their substrates must run under JAX.
        symmetries: weight symmetries c in [-1, 1].
        keys: one JAX key a network.
        leave_out: whether rules that cannot serve this network are left out, and named in `refused`, instead of
            refusing the whole sweep.
        truth: how the true gradient is computed (its substrate is not used).
        progress: called with the parts done and their number.

    Raises:
        ValueError: for inputs that do not fit, symmetries outside [-1, 1], or a rule on a circuit.
    """
    x, y = checked_pair(x, y, (template.n_inputs, template.n_outputs), template.dtype)
    symmetries = np.atleast_1d(np.asarray(symmetries, dtype=float))
    if not (np.abs(symmetries) <= 1).all():
        raise ValueError(f"symmetries={symmetries.tolist()}: the weight symmetry c lies between -1 and 1")
    template = require(template, AbstractNeuralNetwork, "drawing weights anew")
    template.check_symmetry(symmetries)
    for name, rule in rules.items():
        if not rule.substrate.traceable:
            raise ValueError(f"rule {name!r} settles outside JAX: measure alignment on an ODE substrate")
    refused = _refused(rules, template, x, y) if leave_out else {}
    rules = {name: rule for name, rule in rules.items() if name not in refused}
    if not rules:
        raise ValueError(f"no rule can serve this network: {'; '.join(refused.values()) or 'none was given'}")

    seeds = len(keys)
    pairs = len(symmetries) * seeds
    of_pair = jnp.repeat(jnp.asarray(symmetries, template.dtype), seeds), jnp.tile(keys, len(symmetries))
    size = _chunk(template, len(x), len(rules), pairs)
    parts = []
    for start in range(0, pairs, size):
        cs, chunk_keys = (values[start : start + size] for values in of_pair)
        part = _sweep(template, x, y, cs, chunk_keys, rules=rules, truth=truth or ImplicitGradient())
        parts.append(jax.tree.map(np.asarray, part))
        if progress is not None:
            progress(start // size + 1, pairs // size)
    joined = jax.tree.map(lambda *p: np.concatenate(p).reshape(len(symmetries), seeds, *p[0].shape[1:]), *parts)
    return Alignment(
        symmetries=symmetries,
        rules=tuple(rules),
        layers=("all", *template.layers()),
        cosine=np.stack([joined["cosine"][name] for name in rules]),
        codes=np.stack([joined["codes"][name] for name in rules]),
        jacobian_asymmetry=joined["jacobian_asymmetry"],
        weight_symmetry=joined["weight_symmetry"],
        betas=tuple(_beta(rule) for rule in rules.values()),
        refused=refused,
    )


def _refused(
    rules: Mapping[str, AbstractLearningRule], field: AbstractVectorField, x: Array, y: Array
) -> dict[str, str]:
    """Why some rules cannot serve this network and these samples; nothing is settled to find out."""
    refused = {}
    for name, rule in rules.items():
        try:
            eqx.filter_eval_shape(lambda f, rule=rule: rule.estimate(f, x, y, throw=False), field)
        except ValueError as reason:
            refused[name] = str(reason)
    return refused


def _beta(rule: AbstractLearningRule) -> float:
    """The influence parameter of a rule's first nudged phase; NaN for rules without one."""
    nudging = getattr(rule, "nudging", None)
    return math.nan if nudging is None else float(jnp.real(nudging.betas[0]))


def _chunk(template: AbstractVectorField, samples: int, rules: int, pairs: int) -> int:
    """The largest equal part of the pairs whose per-sample gradients fit in `_CHUNK_BYTES`."""
    gradient = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(template.parameters()))
    most = max(1, _CHUNK_BYTES // (gradient * samples * (rules + 1)))
    return max(size for size in range(1, pairs + 1) if pairs % size == 0 and size <= most)


@eqx.filter_jit
def _sweep(
    template: AbstractNeuralNetwork,
    x: Float[Array, "sample inputs"],
    y: Float[Array, "sample outputs"],
    symmetries: Float[Array, " pair"],
    keys: Key[Array, " pair"],
    *,
    rules: dict[str, AbstractLearningRule],
    truth: ImplicitGradient,
) -> dict[str, Any]:
    def sample(field: AbstractVectorField, x: Array, y: Array) -> dict[str, Any]:
        x, y = x[None], y[None]
        estimates = {name: rule.estimate(field, x, y, throw=False) for name, rule in rules.items()}
        free = next(iter(estimates.values())).free
        true = truth.at(field, x, y, free)
        compared = {
            name: compare(estimate.gradient, true.gradient, jnp.maximum(estimate.verdict, true.verdict)[0])
            for name, estimate in estimates.items()
        }
        return {
            "cosine": {name: cosine for name, (cosine, _) in compared.items()},
            "codes": {name: codes for name, (_, codes) in compared.items()},
            "jacobian_asymmetry": jacobian_asymmetry(field, field.drive(x), free.state)[0],
        }

    def network(symmetry: Array, key: Array) -> dict[str, Any]:
        field = template.reinitialise(key, symmetry)
        measured = jax.vmap(sample, in_axes=(None, 0, 0))(field, x, y)
        return measured | {"weight_symmetry": weight_symmetry(field)}

    return jax.vmap(network)(symmetries, keys)


def compare(
    estimated: AbstractVectorField, true: AbstractVectorField, verdict: Int[Array, ""]
) -> tuple[Float[Array, " layer"], Int[Array, " layer"]]:
    """Cosine and code of two gradients, for the whole and for each layer of `layers()`."""
    groups = zip(estimated.layers().values(), true.layers().values(), strict=True)
    products = jnp.stack([jnp.stack([_dot(a, b), _dot(a, a), _dot(b, b)]) for a, b in groups])
    products = jnp.concatenate([products.sum(axis=0, keepdims=True), products])
    dot, rule, gradient = products.T
    tiny = (10 * jnp.finfo(dot.dtype).eps) ** 2
    codes = jnp.where(rule > tiny, verdict, jnp.maximum(verdict, _ZERO_UPDATE))
    codes = jnp.where(gradient > tiny, codes, jnp.maximum(verdict, _ZERO_GRADIENT))
    codes = jnp.where(verdict == Verdict.converged, codes, verdict)
    return jnp.where(codes == Verdict.converged, dot / jnp.sqrt(rule * gradient), jnp.nan), codes


def _dot(a: list[Array], b: list[Array]) -> Float[Array, ""]:
    return jnp.sum(jnp.stack([jnp.sum(u * v) for u, v in zip(a, b, strict=True)]))
