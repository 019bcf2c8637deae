"""Alignment of learning rules with the true gradient, against the symmetry of the weights."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, Key

from .._arrays import checked_pair
from ..learning.base import AbstractLearningRule
from ..learning.implicit import ImplicitGradient
from ..substrates.solution import Verdict
from ..vector_fields.base import AbstractVectorField
from ..vector_fields.hopfield import HopfieldField, check_symmetry
from .symmetry import jacobian_asymmetry, weight_symmetry

# What a sample can be beside a `Verdict`: settled, but without a direction to compare.
_ZERO_GRADIENT, _ZERO_UPDATE = 100, 101
_NAMES = {int(v): v.name for v in Verdict} | {_ZERO_GRADIENT: "zero_gradient", _ZERO_UPDATE: "zero_update"}
_CHUNK_BYTES = 2**28  # per-sample gradients held at once


@dataclasses.dataclass(frozen=True)
class Alignment:
    """The alignment of every rule, symmetry, seed, sample and layer; degenerate samples are named, never averaged in.

    Attributes:
        symmetries: c, (symmetry,).
        rules: the rules' names, in order.
        layers: the layers' names, `all` (the whole gradient) first.
        cosine: of the rule's gradient with the true one, (rule, symmetry, seed, sample, layer); NaN where undefined.
        codes: what the sample was, by code, same shape; `names` says it in words.
        jacobian_asymmetry: ||J - J^T|| / ||J + J^T|| at the free equilibrium, (symmetry, seed, sample).
        weight_symmetry: <W, W^T> / ||W||^2, (symmetry, seed).
        betas: the influence parameter of each rule; NaN for rules without one.
    """

    symmetries: Float[np.ndarray, " symmetry"]
    rules: tuple[str, ...]
    layers: tuple[str, ...]
    cosine: Float[np.ndarray, "rule symmetry seed sample layer"]
    codes: Int[np.ndarray, "rule symmetry seed sample layer"]
    jacobian_asymmetry: Float[np.ndarray, "symmetry seed sample"]
    weight_symmetry: Float[np.ndarray, "symmetry seed"]
    betas: tuple[float, ...]

    def rows(self) -> Iterator[dict[str, Any]]:
        """One row per rule, symmetry, seed, sample and layer, with the columns of `alignment.csv`."""
        for place in np.ndindex(self.cosine.shape):
            r, c, k, n, group = place
            code, beta = int(self.codes[place]), self.betas[r]
            yield {
                "rule": self.rules[r],
                "symmetry": float(self.symmetries[c]),
                "seed": k,
                "sample": n,
                "layer": self.layers[group],
                "cosine": float(self.cosine[place]) if code == Verdict.converged else "",
                "jacobian_asymmetry": float(self.jacobian_asymmetry[c, k, n]),
                "weight_symmetry": float(self.weight_symmetry[c, k]),
                "beta": "" if math.isnan(beta) else beta,
                "verdict": _NAMES[code],
            }

    def summary(self) -> list[dict[str, Any]]:
        """Per rule, symmetry and layer: mean and spread of the cosine, and what was left out and why."""
        entries = []
        for r, c, group in np.ndindex(len(self.rules), len(self.symmetries), len(self.layers)):
            cosine, codes = self.cosine[r, c, :, :, group], self.codes[r, c, :, :, group]
            used = cosine[codes == Verdict.converged]
            left_out, counts = np.unique(codes[codes != Verdict.converged], return_counts=True)
            entries.append(
                {
                    "rule": self.rules[r],
                    "symmetry": float(self.symmetries[c]),
                    "layer": self.layers[group],
                    "mean_cosine": float(used.mean()) if used.size else None,
                    "std_cosine": float(used.std()) if used.size else None,
                    "samples": int(used.size),
                    "left_out": {_NAMES[int(v)]: int(n) for v, n in zip(left_out, counts, strict=True)},
                    "mean_jacobian_asymmetry": _finite_mean(self.jacobian_asymmetry[c]),
                    "mean_weight_symmetry": _finite_mean(self.weight_symmetry[c]),
                }
            )
        return entries


def _beta(rule: AbstractLearningRule) -> float:
    """The influence parameter of a rule's first nudged phase; NaN for rules without one."""
    nudging = getattr(rule, "nudging", None)
    return math.nan if nudging is None else float(jnp.real(nudging.betas[0]))


def _finite_mean(values: np.ndarray) -> float | None:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else None


def alignment(
    template: AbstractVectorField,
    x: ArrayLike,
    y: ArrayLike,
    *,
    symmetries: ArrayLike | Sequence[float],
    keys: Key[Array, " seed"],
    rules: Mapping[str, AbstractLearningRule],
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
        symmetries: weight symmetries c in [-1, 1].
        keys: one JAX key a network.
        rules: the rules to measure, by name; their substrates must run under JAX.
        truth: how the true gradient is computed (its substrate is not used).
        progress: called with the parts done and their number.

    Raises:
        ValueError: for inputs that do not fit, symmetries outside [-1, 1], or a rule on a circuit.
    """
    x, y = checked_pair(x, y, (template.n_inputs, template.n_outputs), template.dtype)
    symmetries = np.atleast_1d(np.asarray(symmetries, dtype=float))
    if not (np.abs(symmetries) <= 1).all():
        raise ValueError(f"symmetries={symmetries.tolist()}: the weight symmetry c lies between -1 and 1")
    if isinstance(template, HopfieldField):
        check_symmetry(symmetries)
    for name, rule in rules.items():
        if not rule.substrate.traceable:
            raise ValueError(f"rule {name!r} settles outside JAX: measure alignment on an ODE substrate")

    seeds = len(keys)
    pairs = len(symmetries) * seeds
    of_pair = jnp.repeat(jnp.asarray(symmetries, template.dtype), seeds), jnp.tile(keys, len(symmetries))
    size = _chunk(template, len(x), len(rules), pairs)
    parts = []
    for start in range(0, pairs, size):
        cs, chunk_keys = (values[start : start + size] for values in of_pair)
        part = _sweep(template, x, y, cs, chunk_keys, dict(rules), truth or ImplicitGradient())
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
    )


def _chunk(template: AbstractVectorField, samples: int, rules: int, pairs: int) -> int:
    """The largest equal part of the pairs whose per-sample gradients fit in `_CHUNK_BYTES`."""
    gradient = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(template.parameters()))
    most = max(1, _CHUNK_BYTES // (gradient * samples * (rules + 1)))
    return max(size for size in range(1, pairs + 1) if pairs % size == 0 and size <= most)


@eqx.filter_jit
def _sweep(
    template: AbstractVectorField,
    x: Float[Array, "sample inputs"],
    y: Float[Array, "sample outputs"],
    symmetries: Float[Array, " pair"],
    keys: Key[Array, " pair"],
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
