"""Good parameters: how often a random network settles from everywhere and its update points downhill."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Key

from .._arrays import checked_pair
from ..learning.base import AbstractLearningRule, tree_dot
from ..learning.implicit import ImplicitGradient
from ..results import AbstractResult, known
from ..substrates.solution import Verdict
from ..vector_fields.base import AbstractVectorField
from ..vector_fields.leaky import AbstractNeuralNetwork, require
from .stability import AttractorType, random_states, stability


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class GoodParameters(AbstractResult):
    """Shares of random networks, over their gain and their weights' symmetry.

    Attributes:
        gains: the weights' scale relative to Glorot's, (gain,).
        symmetries: c, (symmetry,).
        converging: the share whose every sample settles from every start, nudged phases included, (gain, symmetry).
        descending: the share of THOSE whose update has nu . dJ/dtheta < 0; NaN where none converges.
        good: the share of all networks that do both.
        cycling: the share with a start that ends on a limit cycle, found by integrating the networks that do not
            converge; NaN where that was not asked for.
        networks: how many were drawn for every gain and symmetry.
    """

    stem: ClassVar[str] = "good_parameters"
    gains: Float[np.ndarray, " gain"]
    symmetries: Float[np.ndarray, " symmetry"]
    converging: Float[np.ndarray, "gain symmetry"]
    descending: Float[np.ndarray, "gain symmetry"]
    good: Float[np.ndarray, "gain symmetry"]
    cycling: Float[np.ndarray, "gain symmetry"]
    networks: int

    def rows(self) -> list[dict[str, Any]]:
        """One row a gain and symmetry; None for a share that is not defined."""
        return [
            {
                "gain": float(self.gains[g]),
                "symmetry": float(self.symmetries[c]),
                "networks": self.networks,
                "converging": float(self.converging[g, c]),
                "descending": known(self.descending[g, c]),
                "good": float(self.good[g, c]),
                "cycling": known(self.cycling[g, c]),
            }
            for g, c in np.ndindex(self.good.shape)
        ]

    def summary(self) -> dict[str, Any]:
        """The table, as `map`."""
        return {"map": self.rows()}

    def lines(self) -> list[str]:
        """The share of good parameters as a map."""
        table = zip(self.gains, self.good, strict=True)
        return [
            "share of good parameters (%), by gain and weight symmetry",
            "    gain  " + "".join(f"{c:>7g}" for c in self.symmetries),
            *(f"{gain:>8g}  " + "".join(f"{100 * share:>7.0f}" for share in row) for gain, row in table),
        ]


def good_parameters(
    template: AbstractVectorField,
    x: ArrayLike,
    y: ArrayLike,
    *,
    gains: ArrayLike | Sequence[float],
    symmetries: ArrayLike | Sequence[float],
    keys: Key[Array, " seed"],
    rule: AbstractLearningRule,
    starts: int = 3,
    spread: float = 1.0,
    name_cycles: bool = False,
    truth: ImplicitGradient | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> GoodParameters:
    r"""The share of random parameters that are good, as a map over gain and symmetry.

    A parameter is good where every start converges and $\nu \cdot dJ/d\theta < 0$ with J the mean cost of the samples
    (section 5.3 of Scellier et al. 2018). Every start is rest and random states; convergence is as the rule's
    substrate judges it: with `Equilibrium` a damped iteration settles on a stable equilibrium that an ODE might
    pass by, or misses one that an ODE finds; `Trajectory` takes the definition at its word, in some five times the
    time. The networks of one gain are one vmapped computation, compiled once for all gains.

    Args:
        template: the architecture, activation and biases; its gain must not be 0, for the weights are scaled from it.
        x: inputs, (sample, inputs); y: targets, (sample, outputs).
        gains: scales of the weights relative to Glorot's, zero or positive.
        symmetries: weight symmetries c in [-1, 1].
        keys: one JAX key a network; the same keys at every gain and symmetry.
        rule: whose update it is; its substrate must run under JAX.
        starts: how many free phases a sample is started from, rest included.
        spread: the width of the random starts where states have no bounds.
        name_cycles: whether to look for limit cycles where a network does not converge (by `stability`, one network
            after another).
        truth: how the true gradient is computed, and of which cost (its substrate is not used); by default the rule's.
        progress: called with the gains done and their number.

    Raises:
        ValueError: for inputs that do not fit, gains or symmetries outside their range, or a rule on a circuit.
    """
    x, y = checked_pair(x, y, (template.n_inputs, template.n_outputs), template.dtype)
    gains, symmetries = (np.atleast_1d(np.asarray(v, dtype=float)) for v in (gains, symmetries))
    if not (np.abs(symmetries) <= 1).all():
        raise ValueError(f"symmetries={symmetries.tolist()}: the weight symmetry c lies between -1 and 1")
    template = require(template, AbstractNeuralNetwork, "drawing weights anew")
    template.check_symmetry(symmetries)
    if not ((gains >= 0) & np.isfinite(gains)).all() or getattr(template, "gain", 1.0) == 0:
        raise ValueError(
            f"gains={gains.tolist()}: give finite scales of at least 0, and a template whose gain is not 0"
        )
    if starts < 1:
        raise ValueError(f"starts={starts}: give at least one, rest")
    if not rule.substrate.traceable:
        raise ValueError("the rule settles outside JAX: measure good parameters on an ODE substrate")
    settings = (template, rule, truth or ImplicitGradient(cost=rule.cost), starts, spread)
    shares = np.full((len(gains), len(symmetries), 3), np.nan)
    for g, gain in enumerate(gains):
        scale = jnp.asarray(gain / getattr(template, "gain", 1.0), template.dtype)
        every = np.array(_judged(settings, x, y, scale, jnp.asarray(symmetries, template.dtype), keys))
        shares[g, :, :2] = every.mean(axis=1)
        if name_cycles:
            shares[g, :, 2] = _cycling(settings, x, scale, symmetries, keys, ~every[..., 0]).mean(axis=1)
        if progress is not None:
            progress(g + 1, len(gains))
    converging, good, cycling = np.moveaxis(shares, 2, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        descending = np.where(converging > 0, good / converging, np.nan)
    return GoodParameters(gains, symmetries, converging, descending, good, cycling, len(keys))


_Settings = tuple[AbstractNeuralNetwork, AbstractLearningRule, ImplicitGradient, int, float]


def _drawn(
    template: AbstractNeuralNetwork, scale: Float[Array, ""], symmetry: ArrayLike, key: Key[Array, ""]
) -> tuple[AbstractVectorField, Key[Array, ""]]:
    """A network of the map, and the key of its starts."""
    draw_key, start_key = jax.random.split(key)
    drawn = template.reinitialise(draw_key, symmetry)
    weights = jax.tree.map(lambda leaf: scale * leaf if leaf.ndim > 1 else leaf, drawn.parameters())
    return eqx.combine(weights, drawn), start_key


def _cycling(
    settings: _Settings,
    x: Array,
    scale: Float[Array, ""],
    symmetries: np.ndarray,
    keys: Key[Array, " seed"],
    restless: np.ndarray,
) -> np.ndarray:
    """Which of the restless networks have a limit cycle, (symmetry, seed)."""
    template, rule, _, starts, spread = settings
    found = np.zeros(restless.shape, bool)
    tol = getattr(rule.substrate, "tol", None)
    for c, k in np.argwhere(restless):
        field, key = _drawn(template, scale, symmetries[c], keys[k])
        ended = stability(field, x, key=key, starts=starts, spread=spread, tol=None if tol is None else float(tol))
        found[c, k] = (ended.attractor == AttractorType.limit_cycle).any()
    return found


@eqx.filter_jit
def _judged(
    settings: _Settings,
    x: Array,
    y: Array,
    scale: Float[Array, ""],
    symmetries: Float[Array, " symmetry"],
    keys: Key[Array, " seed"],
) -> Bool[Array, "symmetry seed two"]:
    """Which networks of one gain converge, and which are good."""
    template, rule, truth, starts, spread = settings

    def network(symmetry: Array, key: Array) -> Array:
        field, start_key = _drawn(template, scale, symmetry, key)
        estimate = rule.estimate(field, x, y, throw=False)
        true = truth.at(field, x, y, estimate.free)
        settled = jnp.all(jnp.maximum(estimate.verdict, true.verdict) == Verdict.converged)
        if starts > 1:
            rows = jnp.repeat(x, starts - 1, axis=0)
            start = random_states(field, start_key, len(rows), spread)
            again = rule.substrate.settle(field, rows, start=start, throw=False)
            settled &= jnp.all(again.verdict == Verdict.converged)
        return jnp.stack([settled, settled & (tree_dot(estimate.gradient, true.gradient) > 0)])

    return jax.vmap(jax.vmap(network, in_axes=(None, 0)), in_axes=(0, None))(symmetries, keys)
