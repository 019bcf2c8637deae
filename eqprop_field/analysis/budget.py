"""The error budget of an update: how much of its distance from the gradient is due to what."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .._arrays import as_scalar, checked_pair
from .._compilation import compiled
from ..costs import AbstractCost
from ..learning.base import AbstractLearningRule, Estimate, tree_dot, tree_norm
from ..learning.catalogue import Maker
from ..learning.implicit import ImplicitGradient
from ..results import AbstractResult, known
from ..substrates.base import AbstractSubstrate, SystemAt
from ..substrates.capabilities import Capability
from ..substrates.dynamics import Dynamics
from ..substrates.equilibrium import Equilibrium
from ..substrates.nudging import AbstractNudge
from ..substrates.oscillation import Oscillation
from ..substrates.solution import Solution, Verdict, default_tolerance, raise_unless_converged
from ..substrates.solvers import Sweeps
from ..substrates.trajectory import Trajectory, default_accuracy
from ..vector_fields.base import AbstractVectorField, State, mask_samples

CONTRIBUTIONS = ("solver tolerance", "unfinished settling", "finite beta", "asymmetry")
_ACCURATE = 1e-12
_TINY_BETA = 1e-4
_RESOLVED = 1e-4  # of a displacement by beta, which the tolerance of the equilibria may hide


class FixedDuration(AbstractSubstrate):
    """A substrate whose phases count as settled when their time is over, as a machine with a clock takes them.

    Attributes:
        substrate: where the phases run; what diverged there stays so.
    """

    substrate: AbstractSubstrate

    @property
    def provides(self) -> frozenset[Capability]:
        return self.substrate.provides - {Capability.single_steps}

    def _settle(
        self, field: AbstractVectorField, x: Array, nudge: AbstractNudge | None, start: State | None, *, throw: bool
    ) -> Solution:
        del throw
        return _accepted(self.substrate.settle(field, x, nudge, start, throw=False))

    def _auxiliary(
        self, field: AbstractVectorField, x: Array, y: Array, system_at: SystemAt, *, throw: bool
    ) -> tuple[Solution, Solution]:
        del throw
        free, relaxed = self.substrate.auxiliary(field, x, y, system_at, throw=False)
        return _accepted(free), _accepted(relaxed)

    def _oscillate(
        self, field: AbstractVectorField, x: Array, nudge: AbstractNudge, oscillation: Oscillation, *, throw: bool
    ) -> tuple[Solution, Solution]:
        del throw
        free, driven = self.substrate.oscillate(field, x, nudge, oscillation, throw=False)
        return _accepted(free), _accepted(driven)


def _accepted(solution: Solution) -> Solution:
    """The solution with `converged` for what had not settled when its time was over."""
    over = solution.verdict == Verdict.not_settled
    return dataclasses.replace(solution, verdict=jnp.where(over, Verdict.converged.value, solution.verdict))


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class ErrorBudget(AbstractResult):
    """What separates a practical update from the gradient, for several betas.

    The vectors of the contributions add up to the whole error exactly; their lengths do not.

    Attributes:
        betas: the practical influence parameters, (beta,).
        contributions: their names, in the order in which they were removed.
        error: ||contribution|| / ||gradient||, (beta, contribution).
        whole: ||practical - gradient|| / ||gradient||, (beta,).
        along: the contribution's share of the whole error: its component along it, which add up to 1,
            (beta, contribution); NaN where there is no error.
        cosine: with the gradient: of the practical update, then as each contribution is removed, (beta, stage).
        used: the samples that every stage could use, (beta,).
        samples: how many there were.
    """

    stem: ClassVar[str] = "budget"
    betas: Float[np.ndarray, " beta"]
    contributions: tuple[str, ...]
    error: Float[np.ndarray, "beta contribution"]
    whole: Float[np.ndarray, " beta"]
    along: Float[np.ndarray, "beta contribution"]
    cosine: Float[np.ndarray, "beta stage"]
    used: Float[np.ndarray, " beta"]
    samples: int

    def rows(self) -> list[dict[str, Any]]:
        """One row a beta and contribution, and one for the whole, with the columns of `budget.csv`."""
        rows = []
        for b, beta in enumerate(self.betas.tolist()):
            row = {"beta": beta, "contribution": "whole", "error": self.whole[b], "share": 1.0}
            rows.append(row | {"cosine_before": self.cosine[b, 0], "cosine_after": 1.0})
            for k, name in enumerate(self.contributions):
                row = {"beta": beta, "contribution": name, "error": self.error[b, k], "share": self.along[b, k]}
                rows.append(row | {"cosine_before": self.cosine[b, k], "cosine_after": self.cosine[b, k + 1]})
        return [{key: v if isinstance(v, str) else known(v) for key, v in row.items()} for row in rows]

    def summary(self) -> dict[str, Any]:
        """The budget of every beta."""
        return {
            "samples": self.samples,
            "budgets": [
                {
                    "beta": float(beta),
                    "error": known(self.whole[b]),
                    "contributions": dict(zip(self.contributions, map(known, self.error[b]), strict=True)),
                    "shares": dict(zip(self.contributions, map(known, self.along[b]), strict=True)),
                    "cosine": known(self.cosine[b, 0]),
                    "samples_used": int(self.used[b]),
                }
                for b, beta in enumerate(self.betas)
            ],
        }

    def lines(self) -> list[str]:
        """One line a beta: errors relative to the gradient's length."""
        head = f"{'beta':>8}  {'error':>8}  " + "  ".join(f"{name:>19}" for name in self.contributions) + "    cosine"
        lines = [head]
        for b, beta in enumerate(self.betas.tolist()):
            causes = "  ".join(f"{error:>19.2e}" for error in self.error[b])
            left = "" if self.used[b] == self.samples else f"   {self.samples - int(self.used[b])} samples left out"
            lines.append(f"{beta:>8g}  {self.whole[b]:>8.2e}  {causes}  {self.cosine[b, 0]:>8.4f}{left}")
        return lines


def budget(
    field: AbstractVectorField,
    x: ArrayLike,
    y: ArrayLike,
    *,
    rule: Maker,
    betas: ArrayLike | Sequence[float],
    substrate: Trajectory,
    truth: ImplicitGradient | None = None,
) -> ErrorBudget:
    r"""Removes one imperfection of a practical update after the other, until the gradient is left.

    | stage | substrate | beta |
    |---|---|---|
    | practical | as given; phases end when their time is over, settled or not | beta |
    | less **solver tolerance** | the same times, integrated to an accuracy of 1e-12 | beta |
    | less **unfinished settling** | the equilibria themselves, from the practical free state on | beta |
    | less **finite beta** | the equilibria | the limit beta -> 0, extrapolated from 1e-4 and half of it |
    | less **asymmetry** | the gradient by the implicit function theorem | |

    A contribution is the difference of two neighbouring stages, so they add up to the practical error. What belongs
    to two imperfections together counts with the one that is removed first. Solver tolerance holds both the steps'
    errors and a phase that ended early because its residual seemed small. What is called asymmetry is all that
    remains of the rule at beta -> 0: 0 for a rule that is exact. Meaningful in float64. Samples that diverge
    or have no gradient at any stage are left out of all.

    Args:
        field: the network.
        x: inputs, (sample, inputs); y: targets, (sample, outputs).
        rule: makes the rule from a beta, a substrate and the cost of `truth`, as `RULES["eqprop"].make` does.
        betas: the practical influence parameters.
        substrate: where the practical phases run, with their times, steps and tolerance.
        truth: how the true gradient is computed, and of which cost (its substrate is not used).

    Raises:
        ValueError: for data that do not fit, a beta without meaning, a rule that does not run on these substrates, or
            if no sample has a gradient.
        NotSettledError: if no sample settles.
    """
    x, y = checked_pair(x, y, (field.n_inputs, field.n_outputs), field.dtype)
    betas = np.atleast_1d(np.asarray(betas, dtype=float))
    tight = _tight(field, betas)
    accurate = _ACCURATE if field.dtype == jnp.float64 else 1e-6
    exact_way = Trajectory(
        tol=accurate, accuracy=accurate, free_time=substrate.free_time, nudged_time=substrate.nudged_time
    )
    clocked = (_with_accuracy(substrate, field, x), exact_way)
    places = (*(FixedDuration(place.unchecked()) for place in clocked), tight)
    truth = truth or ImplicitGradient()
    # They come from the same start to the same equilibrium, which `tight` has judged.
    limits = [_made(rule, beta, tight.unchecked(), truth.cost) for beta in (_TINY_BETA, _TINY_BETA / 2)]
    measured = []
    for beta in betas.tolist():
        rules = [_made(rule, beta, place, truth.cost) for place in places]
        parts = _stages(rules, limits, truth, field, x, y)
        if not int(parts["used"]):
            raise_unless_converged("practical or ideal", parts["verdict"])
            raise ValueError(
                "no sample has a gradient to compare with (zero_gradient), as where every neuron is held at a bound or "
                "there is no error: give other inputs or targets, or a lower gain"
            )
        measured.append(jax.tree.map(np.asarray, parts))
    pick = lambda name: np.stack([np.asarray(m[name], float) for m in measured])  # noqa: E731
    return ErrorBudget(
        betas, CONTRIBUTIONS, pick("error"), pick("whole"), pick("along"), pick("cosine"), pick("used"), len(x)
    )


def _tight(field: AbstractVectorField, betas: Float[np.ndarray, " beta"]) -> Equilibrium:
    """Where the ideal phases rest; refuses betas below what that resolves."""
    finest = 1e-13 if field.dtype == jnp.float64 else 1e-6
    if (unresolved := betas[(betas != 0) & (np.abs(betas) < finest / _RESOLVED)]).size:
        raise ValueError(
            f"beta={unresolved[0]:g} is below what the equilibria of a budget resolve in {field.dtype}: give betas of "
            f"{finest / _RESOLVED:g} and more"
        )
    return Equilibrium(tol=finest, solver=Sweeps(20_000))


def _made(rule: Maker, beta: float, substrate: AbstractSubstrate, cost: AbstractCost) -> AbstractLearningRule:
    made = rule(as_scalar(beta), substrate, cost)
    if made.substrate is not substrate:
        raise ValueError(
            f"{type(made).__name__} brings steps of its own, which phases of a given length cannot replace"
        )
    return made


def _with_accuracy(substrate: Trajectory, field: AbstractVectorField, x: Array) -> Trajectory:
    """The same with its tolerances as numbers: it shares what is compiled with one that is more accurate."""
    tol = default_tolerance(substrate.tol, field.dtype)
    if substrate.step is not None or substrate.accuracy is not None:
        return dataclasses.replace(substrate, tol=tol)
    system = Dynamics(field, field.drive(x))
    accuracy = default_accuracy(tol, jnp.max(system.stiffness(system.rest())))
    return dataclasses.replace(substrate, tol=tol, accuracy=accuracy)


def _stages(
    rules: list[AbstractLearningRule],
    limits: list[AbstractLearningRule],
    truth: ImplicitGradient,
    field: AbstractVectorField,
    x: Array,
    y: Array,
) -> dict[str, Array]:
    """The budget of one beta. Stages are compiled by themselves: those that differ in numbers alone, only once."""
    ways = [_estimates(rule, field, x, y) for rule in rules[:-1]]
    start = ways[0].free.state  # on the way to the practical equilibrium, where the network has several
    ends = [_estimates(rule, field, x, y, start) for rule in (rules[-1], *limits)]
    true = _true(truth, field, x, y, ends[0].free)
    verdicts = [estimate.verdict for estimate in (*ways, *ends, true)]
    return _contributions([e.gradient for e in (*ways, *ends)], true.gradient, verdicts)


@compiled
def _estimates(
    rule: AbstractLearningRule, field: AbstractVectorField, x: Array, y: Array, start: State | None = None
) -> Estimate:
    """Of every sample by itself, from `start` if given."""

    def single(x: Array, y: Array, start: State | None) -> Estimate:
        begun = rule
        if start is not None:
            begun = eqx.tree_at(lambda r: r.substrate.start, rule, start, is_leaf=lambda leaf: leaf is None)
        return begun.estimate(field, x[None], y[None], throw=False)

    return jax.vmap(single)(x, y, start)


@compiled
def _true(truth: ImplicitGradient, field: AbstractVectorField, x: Array, y: Array, free: Solution) -> Estimate:
    """The gradient of every sample by itself."""
    return jax.vmap(lambda x, y, free: truth.at(field, x[None], y[None], free))(x, y, free)


@compiled
def _contributions(
    stages: list[AbstractVectorField], true: AbstractVectorField, verdicts: list[Array]
) -> dict[str, Array]:
    """The budget from every sample's update at every stage, the two next to beta = 0 last."""
    *before, larger, smaller = stages
    stages = [*before, jax.tree.map(lambda at, half: 2 * half - at, larger, smaller), true]
    verdict = jnp.max(jnp.stack([of[:, 0] for of in verdicts]), axis=0)
    length = jax.vmap(tree_norm)(true)
    used = (verdict == Verdict.converged) & (length > 10 * jnp.finfo(length.dtype).eps)
    count = jnp.maximum(jnp.sum(used), 1)

    def mean(leaf: Array) -> Array:
        return jnp.sum(mask_samples(used, leaf), axis=0) / count

    stages = [jax.tree.map(mean, stage) for stage in stages]
    true = stages[-1]
    subtract = lambda a, b: jax.tree.map(jnp.subtract, a, b)  # noqa: E731
    contributions = [subtract(a, b) for a, b in itertools.pairwise(stages)]
    whole, length = subtract(stages[0], true), tree_norm(true)
    return {
        "error": jnp.stack([tree_norm(c) for c in contributions]) / length,
        "whole": tree_norm(whole) / length,
        "along": jnp.stack([tree_dot(c, whole) for c in contributions]) / tree_dot(whole, whole),
        "cosine": jnp.stack([tree_dot(s, true) / (tree_norm(s) * length) for s in stages]),
        "used": jnp.sum(used),
        "verdict": verdict,
    }
