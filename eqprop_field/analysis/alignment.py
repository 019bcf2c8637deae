"""Alignment of learning rules with the true gradient, against the symmetry of the weights."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, Key

from .._arrays import checked_pair
from .._compilation import compiled
from ..learning.base import AbstractLearningRule
from ..learning.implicit import ImplicitGradient
from ..results import AbstractResult, known
from ..substrates.solution import Verdict, speed_of
from ..vector_fields.base import AbstractVectorField
from ..vector_fields.leaky import AbstractNeuralNetwork, is_a, require
from .symmetry import jacobian_asymmetry, weight_symmetry

# What a sample can be beside a `Verdict`: settled, but without a direction to compare.
_ZERO_GRADIENT, _ZERO_UPDATE = 100, 101
_NAMES = {int(v): v.name for v in Verdict} | {_ZERO_GRADIENT: "zero_gradient", _ZERO_UPDATE: "zero_update"}
_SAME_STATE = 1e-3  # states further apart are two equilibria
_CHUNK_BYTES = 2**28  # per-sample gradients held at once
_WithTruth = tuple[AbstractLearningRule, AbstractLearningRule]  # a rule, and whose gradient is the true one


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
        drawn: whether the weights were drawn anew; otherwise this is one network at its own symmetry, which is NaN
            where it has none.
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
    drawn: bool = True
    refused: dict[str, str] = dataclasses.field(default_factory=dict)

    def rows(self) -> list[dict[str, Any]]:
        """One row per rule, symmetry, seed, sample and layer; None where there is no cosine or no beta."""
        rows = []
        for place in np.ndindex(self.cosine.shape):
            r, c, k, n, layer = place
            rows.append(
                {
                    "rule": self.rules[r],
                    "symmetry": known(self.symmetries[c]),
                    "seed": k if self.drawn else None,
                    "sample": n,
                    "layer": self.layers[layer],
                    "cosine": known(self.cosine[place]),
                    "jacobian_asymmetry": known(self.jacobian_asymmetry[c, k, n]),
                    "weight_symmetry": known(self.weight_symmetry[c, k]),
                    "beta": known(self.betas[r]),
                    "verdict": _NAMES[int(self.codes[place])],
                    "network": "drawn" if self.drawn else "file",
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
                    "symmetry": known(self.symmetries[c]),
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
            "network": "drawn" if self.drawn else "file",
            "symmetries": [known(c) for c in self.symmetries],
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
        which = "weights drawn anew for every symmetry and seed" if self.drawn else "this network, with its own weights"
        return [which, *self.table(), *(f"left out: {name}, for {reason}" for name, reason in self.refused.items())]

    def table(self, layer: str = "all") -> list[str]:
        """The mean cosines of the whole update, or of one layer's, one line a symmetry.

        Args:
            layer: one of `layers`.
        """
        entries = {(entry["rule"], entry["symmetry"]): entry for entry in self.means() if entry["layer"] == layer}
        columns = "  ".join(f"{rule:>{_width(rule)}}" for rule in self.rules)
        lines = [] if layer == "all" else [f"layer {layer}"]
        lines.append(f"symmetry  Jacobian asymmetry  {columns}   left out")
        for c in map(known, self.symmetries):
            here = [entries[rule, c] for rule in self.rules]
            cosines = "  ".join(f"{_shown(entry['mean_cosine']):>{_width(entry['rule'])}}" for entry in here)
            left = sum(sum(entry["left_out"].values()) for entry in here)
            asymmetry = _shown(here[0]["mean_jacobian_asymmetry"])
            symmetry = "-" if c is None else f"{c:.2f}"
            lines.append(f"{symmetry:>8}  {asymmetry:>18}  {cosines}   {left:>8}")
        return lines


def _width(rule: str) -> int:
    return max(10, len(rule))


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _finite_mean(values: np.ndarray) -> float | None:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else None


def align(
    field: AbstractVectorField,
    x: ArrayLike,
    y: ArrayLike,
    *,
    rules: Mapping[str, AbstractLearningRule],
    symmetries: ArrayLike | Sequence[float] | None = None,
    keys: Key[Array, " seed"] | None = None,
    leave_out: bool = False,
    truth: AbstractLearningRule | Mapping[str, AbstractLearningRule] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Alignment:
    r"""Measures $\cos(\nu, -dJ/d\theta)$ sample by sample: of this network, or over weight symmetries.

    Without `symmetries` it is this network that is measured, all of its weights kept. With them, for every symmetry c
    and every key the weights are drawn again (the same key gives the same forward weights at every c).

    Every rule's gradient of every sample is compared with the true one at the free equilibrium: that of the first rule,
    and a rule's own one where it runs on another kind of substrate; what rests elsewhere although it runs on the first
    rule's is `wrong_branch`. The sweep is one compiled computation, or several over equal parts where the per-sample
    gradients would not fit in memory; rules on circuits run network by network beside it.

    Args:
        field: the network; of one whose weights are drawn again the architecture, gain, activation and biases.
        x: inputs, (sample, inputs); y: targets, (sample, outputs).
        rules: the rules to measure, by name, such as `named_rules` gives, on any substrates.
        symmetries: weight symmetries c in [-1, 1].
        keys: one JAX key a network that is drawn; one by default.
        leave_out: whether rules that cannot serve this network are left out, and named in `refused`, instead of
            refusing the whole sweep.
        truth: the rule whose gradient is the true one, at the free state of the rule that is measured, or one for each
            rule by its name, such as `circuits.true_gradient` gives; by default the ODE's, of each rule's own cost.
        progress: called with the parts done and their number.

    Raises:
        ValueError: for inputs that do not fit, symmetries outside [-1, 1], keys without symmetries, and a network that
            cannot be drawn anew.
    """
    x, y = checked_pair(x, y, (field.n_inputs, field.n_outputs), field.dtype)
    cs, keys = _checked_draws(field, symmetries, keys)
    refused = _refused(rules, field, x, y) if leave_out else {}
    rules = {name: rule for name, rule in rules.items() if name not in refused}
    if not rules:
        raise ValueError(f"no rule can serve this network: {'; '.join(refused.values()) or 'none was given'}")
    seeds = 1 if keys is None else len(keys)
    pairs = len(cs) * seeds
    of_pair = None if keys is None else (jnp.repeat(jnp.asarray(cs, field.dtype), seeds), jnp.tile(keys, len(cs)))
    ways = _ways(field, len(x), pairs, {name: (rule, _truth(name, rule, truth)) for name, rule in rules.items()})
    found, done = dict[str, Any](cosine={}, codes={}), itertools.count(1)
    for size, measure in ways:
        parts = []
        for start in range(0, pairs, size):
            chunk = jax.tree.map(lambda values, rows=slice(start, start + size): values[rows], of_pair)
            parts.append(jax.tree.map(np.asarray, measure(field, x, y, chunk)))
            if progress is not None:
                progress(next(done), sum(pairs // size for size, _ in ways))
        part = jax.tree.map(lambda *p: np.concatenate(p).reshape(len(cs), seeds, *p[0].shape[1:]), *parts)
        found = part | found | {name: found[name] | part[name] for name in ("cosine", "codes")}
    return Alignment(
        symmetries=cs,
        rules=tuple(rules),
        layers=("all", *field.layers()),
        cosine=np.stack([found["cosine"][name] for name in rules]),
        codes=np.stack([found["codes"][name] for name in rules]),
        jacobian_asymmetry=found["jacobian_asymmetry"],
        weight_symmetry=found["weight_symmetry"],
        betas=tuple(_beta(rule) for rule in rules.values()),
        drawn=keys is not None,
        refused=refused,
    )


def _checked_draws(
    field: AbstractVectorField, symmetries: ArrayLike | Sequence[float] | None, keys: Key[Array, " seed"] | None
) -> tuple[Float[np.ndarray, " symmetry"], Key[Array, " seed"] | None]:
    """The symmetries and the keys to draw at; the network's own symmetry and no key where nothing is drawn."""
    if symmetries is None:
        if keys is not None:
            raise ValueError("keys draw weights anew: give symmetries too, or leave keys away to measure this network")
        return np.array([float(_symmetry(field))]), None
    cs = np.atleast_1d(np.asarray(symmetries, dtype=float))
    if not (np.abs(cs) <= 1).all():
        raise ValueError(f"symmetries={cs.tolist()}: the weight symmetry c lies between -1 and 1")
    require(field, AbstractNeuralNetwork, "drawing weights anew").check_symmetry(cs)
    return cs, jax.random.key(0)[None] if keys is None else keys


def _symmetry(field: AbstractVectorField) -> Float[Array, ""]:
    """The weight symmetry; NaN for a field that has no recurrent weights."""
    return weight_symmetry(field) if is_a(field, AbstractNeuralNetwork) else jnp.full((), jnp.nan)


def _refused(
    rules: Mapping[str, AbstractLearningRule], field: AbstractVectorField, x: Array, y: Array
) -> dict[str, str]:
    """Why some rules cannot serve this network and these samples; nothing is settled to find out."""
    refused = {}
    for name, rule in rules.items():
        if not rule.substrate.traceable:
            continue
        try:
            eqx.filter_eval_shape(lambda f, rule=rule: rule.estimate(f, x, y, throw=False), field)
        except ValueError as reason:
            refused[name] = str(reason)
    return refused


def _truth(
    name: str, rule: AbstractLearningRule, given: AbstractLearningRule | Mapping[str, AbstractLearningRule] | None
) -> AbstractLearningRule:
    of_rule = given.get(name) if isinstance(given, Mapping) else given
    return of_rule or ImplicitGradient(cost=rule.cost)


def _ways(
    field: AbstractVectorField, samples: int, pairs: int, rules: Mapping[str, _WithTruth]
) -> list[tuple[int, Callable[..., dict[str, Any]]]]:
    """How the rules are measured: how many pairs at once, and by what. All that runs under JAX does so together."""
    traced = {name: pair for name, pair in rules.items() if all(one.substrate.traceable for one in pair)}
    ways: list[tuple[int, Callable[..., dict[str, Any]]]] = []
    if traced:
        measured, truths = _with_truths(traced)
        way = functools.partial(_sweep, rules=measured, truths=truths)
        ways.append((_chunk(field, samples, len(traced), pairs), way))
    if outside := {name: pair for name, pair in rules.items() if name not in traced}:
        ways.append((1, functools.partial(_one_network, rules=outside)))
    return ways


def _with_truths(
    rules: Mapping[str, _WithTruth],
) -> tuple[dict[str, tuple[AbstractLearningRule, int]], list[AbstractLearningRule]]:
    """Every rule with the place of its truth among these, each of them there once."""
    found, truths = {}, []
    for name, (rule, truth) in rules.items():
        same = [k for k, other in enumerate(truths) if eqx.tree_equal(truth, other, typematch=True)]
        if not same:
            truths.append(truth)
        found[name] = (rule, same[0] if same else len(truths) - 1)
    return found, truths


def _beta(rule: AbstractLearningRule) -> float:
    """The influence parameter of a rule's first nudged phase; NaN for rules without one."""
    nudging = getattr(rule, "nudging", None)
    return math.nan if nudging is None else float(jnp.real(nudging.betas[0]))


def _chunk(template: AbstractVectorField, samples: int, rules: int, pairs: int) -> int:
    """The largest equal part of the pairs whose per-sample gradients fit in `_CHUNK_BYTES`."""
    gradient = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(template.parameters()))
    most = max(1, _CHUNK_BYTES // (gradient * samples * (rules + 1)))
    return max(size for size in range(1, pairs + 1) if pairs % size == 0 and size <= most)


@compiled
def _sweep(
    template: AbstractVectorField,
    x: Float[Array, "sample inputs"],
    y: Float[Array, "sample outputs"],
    draws: tuple[Float[Array, " pair"], Key[Array, " pair"]] | None,
    *,
    rules: dict[str, tuple[AbstractLearningRule, int]],
    truths: list[AbstractLearningRule],
) -> dict[str, Any]:
    """The measurements of every pair of a symmetry and a key; of the template itself, as one pair, without.

    Each rule comes with the number of its truth.
    """

    def sample(field: AbstractVectorField, x: Array, y: Array) -> dict[str, Any]:
        x, y = x[None], y[None]
        estimates = {name: rule.estimate(field, x, y, throw=False) for name, (rule, _) in rules.items()}
        (first, _), free = next(iter(rules.values())), next(iter(estimates.values())).free
        at_first = [truth.at(field, x, y, free) for truth in truths]
        compared = {}
        for name, estimate in estimates.items():
            rule, which = rules[name]
            alike = jax.tree.structure(rule.substrate) == jax.tree.structure(first.substrate)
            true = at_first[which] if alike else truths[which].at(field, x, y, estimate.free)
            verdict = jnp.maximum(estimate.verdict, true.verdict)
            apart = speed_of(jax.tree.map(jnp.subtract, estimate.free.state, free.state)) > _SAME_STATE
            elsewhere = alike & apart & (verdict == Verdict.converged)
            verdict = jnp.where(elsewhere, Verdict.wrong_branch.value, verdict)
            compared[name] = compare(estimate.gradient, true.gradient, verdict[0])
        return {
            "cosine": {name: cosine for name, (cosine, _) in compared.items()},
            "codes": {name: codes for name, (_, codes) in compared.items()},
            "jacobian_asymmetry": jacobian_asymmetry(field, field.drive(x), free.state)[0],
        }

    def measured(field: AbstractVectorField) -> dict[str, Any]:
        return jax.vmap(sample, in_axes=(None, 0, 0))(field, x, y) | {"weight_symmetry": _symmetry(field)}

    if draws is None:
        return jax.tree.map(lambda leaf: leaf[None], measured(template))
    return jax.vmap(lambda symmetry, key: measured(_drawn(template, symmetry, key)))(*draws)


def _one_network(
    template: AbstractVectorField,
    x: Float[Array, "sample inputs"],
    y: Float[Array, "sample outputs"],
    draws: tuple[Float[Array, " pair"], Key[Array, " pair"]] | None,
    *,
    rules: Mapping[str, _WithTruth],
) -> dict[str, Any]:
    """The measurements of one pair, by rules or truths that run a simulator: a batch of phases a rule, then each sample
    by itself.
    """
    field = template if draws is None else _drawn(template, draws[0][0], draws[1][0])
    found: dict[str, Any] = {"cosine": {}, "codes": {}}
    for name, (rule, truth) in rules.items():
        batch, compared = rule.estimate(field, x, y, throw=False), []
        ends = [dataclasses.replace(phase, times=None, trajectory=None) for phase in (batch.free, *batch.nudged)]
        for k in range(len(x)):
            row = lambda leaf, k=k: leaf[k : k + 1] if leaf.ndim else leaf  # noqa: E731
            free, *nudged = jax.tree.map(row, ends)
            estimate = rule.at(field, row(x), row(y), free, *nudged)
            true = truth.at(field, row(x), row(y), free)
            compared.append(_compared(estimate.gradient, true.gradient, jnp.maximum(estimate.verdict, true.verdict)[0]))
        found["cosine"][name], found["codes"][name] = (np.stack(part)[None] for part in zip(*compared, strict=True))
        found.setdefault("jacobian_asymmetry", jacobian_asymmetry(field, field.drive(x), batch.free.state)[None])
    return found | {"weight_symmetry": _symmetry(field)[None]}


def _drawn(template: AbstractVectorField, symmetry: Array, key: Array) -> AbstractVectorField:
    return require(template, AbstractNeuralNetwork, "drawing weights anew").reinitialise(key, symmetry)


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


_compared = compiled(compare)


def _dot(a: list[Array], b: list[Array]) -> Float[Array, ""]:
    return jnp.sum(jnp.stack([jnp.sum(u * v) for u, v in zip(a, b, strict=True)]))
