r"""Second-order steps, node by node: equation 6 of Vieville et al. 2017, with its sign corrected."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._linalg import pseudo_inverse
from .dynamics import gradient
from .nodes import Kernels
from .problem import BackwardPass, Problem, States, Theta

Kappas = dict[str, tuple[Array, Array | None]]  # of a group's nodes, and of its first where theirs differs
Inverse = dict[str, Float[Array, "_ _ _"]] | Float[Array, "parameters parameters"]  # by node, or of all parameters

KAPPAS = ("one", "damped", "estimate_only", "error")
ESTIMATES = ("simulated", "clamped", "retropropagated")

_SWEEPS = 20  # of the retro-propagation
_LARGEST_KAPPA = 1e3


class SecondOrder(eqx.Module):
    r"""The least-squares step of every node: the weights that answer its tuning error, closest to the present ones.

    $$A_n = \sum_t \kappa_{nt}\,\varphi_{nt}\varphi_{nt}^\top, \qquad
      b_n = \sum_t \varphi_{nt} (\kappa_{nt} \hat x_n(t) - \varepsilon_{nt}) - \frac{\partial R}{\partial W_n}(\hat W),
      \qquad W_n = \hat W_n + A_n^+ (b_n - A_n \hat W_n)$$

    The print has +eps and +dR, which climbs. With kappa = 1 and the simulated values for x-hat the step is
    $-A_n^+\,\partial L/\partial W_n$: the gradient, preconditioned by the correlation of the node's own kernels. It is
    exact in one step for an observed linear node without feedback (with another criterion than least squares it is that
    of iteratively reweighted least squares), and otherwise a block-diagonal Gauss-Newton step
    that takes the rest of the network for the identity: it needs a line search. Every kappa is in the criterion's
    unit: the criterion's `curvature` over K scored targets, 1/K for least squares, times the gains where a node is
    observed; elsewhere the mean of the curvatures. Nodes with the same kernels share one
    factorisation; with shared weights there is a single system for all parameters.

    Attributes:
        kappa: `one`; `damped`, 1/(1 + |x-hat|); `estimate_only`, 1 and eps left out, so that x-hat alone counts (where
            it is the simulation, nothing moves); or `error`, 2 eps/(x - x-hat), cut to [0, 1000], and 1 where x is
            x-hat (footnote 6).
        estimate: x-hat: `simulated`; `clamped`, targets in place of the outputs; or `retropropagated`, from which
            the hidden nodes are corrected too (footnote 7, with the sign of the derivation: the print has minus). With
            the last two, kernels are read at x-hat.
        most_kernels: nodes with more kernels are left as they are; the authors' program has 16. No limit by default.
    """

    kappa: str = eqx.field(static=True, default="one")
    estimate: str = eqx.field(static=True, default="simulated")
    most_kernels: int | None = eqx.field(static=True, default=None)

    def __check_init__(self) -> None:
        if self.kappa not in KAPPAS:
            raise ValueError(f"kappa={self.kappa!r}: choose one of {', '.join(KAPPAS)}")
        if self.estimate not in ESTIMATES:
            raise ValueError(f"estimate={self.estimate!r}: choose one of {', '.join(ESTIMATES)}")

    def step(self, problem: Problem, theta: Theta, backward: BackwardPass) -> Theta:
        """The change of the parameters, not yet searched along.

        Args:
            problem: the problem.
            theta: the parameters.
            backward: the backward pass there.
        """
        states, found, kappas = self._weighted_kernels(problem, theta, backward)
        plain = self.kappa == "one" and self.estimate == "simulated"
        residual = (
            -backward.gradient
            if plain
            else self._residual(problem, theta, backward, states, found=found, kappas=kappas)
        )
        return apply_inverse(problem, self._inverse(problem, found, kappas, 0.0), residual)

    def inverse(
        self, problem: Problem, theta: Theta, backward: BackwardPass, damping: Float[Array, ""] | float
    ) -> Inverse:
        r"""Levenberg's damped inverse $(A_n + \lambda a I)^+$, for `apply_inverse`.

        Args:
            problem: as for `step`.
            theta: as for `step`.
            backward: as for `step`.
            damping: lambda, relative to a, the mean of the diagonals of all A_n: the larger it is, the nearer a step is
                to a short one along the gradient.
        """
        _, found, kappas = self._weighted_kernels(problem, theta, backward)
        return self._inverse(problem, found, kappas, damping)

    def _weighted_kernels(
        self, problem: Problem, theta: Theta, backward: BackwardPass
    ) -> tuple[States, dict[str, Kernels], Kappas]:
        """The estimated states, the kernels there, and every group's kappa."""
        states = estimate_states(problem, theta, backward.states, self.estimate)
        found = problem.kernels(states)
        return states, found, {name: self._kappa(problem, name, states, backward) for name in found}

    def _inverse(
        self, problem: Problem, found: dict[str, Kernels], kappas: Kappas, damping: Float[Array, ""] | float
    ) -> Inverse:
        curvature = {name: correlation(kernels, *kappas[name]) for name, kernels in found.items()}
        added = damping * _mean_diagonal(problem, curvature)
        if problem.network.sharing:
            return _joint_inverse(problem, curvature, added)
        return inverses(problem, curvature, self.most_kernels, added)

    def _kappa(self, problem: Problem, name: str, states: States, backward: BackwardPass) -> tuple[Array, Array | None]:
        """kappa of all nodes of a group (steps,), and of its first nodes where theirs differs (steps, first)."""
        common, observed = problem.kappa(backward.states)
        observed = observed if name == next(iter(problem.network.structure.groups)) else None
        if self.kappa in ("one", "estimate_only"):
            return common, observed
        here, estimate = problem.by_group(backward.states[1:])[name], problem.by_group(states[1:])[name]
        if self.kappa == "damped":
            each = common[:, None] / (1 + jnp.abs(estimate))
        else:
            error, away = problem.by_group(backward.errors)[name], here - estimate
            each = jnp.where(away == 0, common[:, None], 2 * error / jnp.where(away == 0, 1, away))
            each = jnp.clip(each, 0, _LARGEST_KAPPA * common[:, None])
        return common, each

    def _residual(
        self,
        problem: Problem,
        theta: Theta,
        backward: BackwardPass,
        states: States,
        *,
        found: dict[str, Kernels],
        kappas: Kappas,
    ) -> Theta:
        """b - A W-hat, by parameter."""
        weights, errors = problem.network.weights_at(theta), problem.by_group(backward.errors)
        estimates = problem.by_group(states[1:])
        by_node = {}
        for name, kernels in found.items():
            common, first = kappas[name]
            kappa = jnp.broadcast_to(common[:, None], estimates[name].shape)
            kappa = kappa if first is None else kappa.at[:, : first.shape[1]].set(first)
            by_node[name] = kappa * (estimates[name] - kernels.weighted(weights[name]))
            if self.kappa != "estimate_only":
                by_node[name] = by_node[name] - errors[name]
        residual = problem.by_parameter(theta, gradient(found, by_node))
        return residual - jax.grad(problem.penalty)(theta, theta)


def estimate_states(problem: Problem, theta: Theta, states: States, estimate: str) -> States:
    r"""Estimates x-hat of the values that the nodes should have had.

    Retro-propagated, the outputs are the targets, and every hidden node is corrected until it fits its own equation and
    those of the nodes that read it, $\hat x \leftarrow \Phi(\hat x) + \beta^\top(\hat x - \Phi(\hat x))$: at most 20
    sweeps, and none after one that does not reduce the misfit of the equations.
    """
    if estimate == "simulated":
        return states
    task, outputs = problem.task, problem.task.outputs

    def clamped(states: States) -> States:
        known = jnp.where(task.scored, task.targets, states[..., :outputs])
        return states.at[..., :outputs].set(known)

    if estimate == "clamped":
        return clamped(states)

    def misfit(states: States) -> Array:
        return jnp.sum((states - problem.evaluate(theta, states)) ** 2)

    def sweep(_: Array, at: tuple[States, Array]) -> tuple[States, Array]:
        here, left = at
        fitted, transpose = jax.vjp(lambda states: problem.evaluate(theta, states), here)
        moved = clamped(fitted + transpose(here - fitted)[0])
        better = misfit(moved) < left
        # Where it is not better the same sweep would be made again: nothing changes from here on.
        return jnp.where(better, moved, here), jnp.where(better, misfit(moved), left)

    start = clamped(states)
    return jax.lax.fori_loop(0, _SWEEPS, sweep, (start, misfit(start)))[0]


def correlation(kernels: Kernels, common: Array, first: Array | None) -> Float[Array, "rows kernels kernels"]:
    r"""$\sum_t \kappa_{nt}\,\varphi\varphi^\top$ of every node; one row alone where it is the same for all.

    Args:
        kernels: of all steps.
        common: kappa of all nodes (steps,).
        first: kappa of the first nodes, where theirs differs (steps, first).
    """
    shared, per_node = kernels
    among = None if shared is None else (shared.T @ (common[:, None] * shared))[None]
    if per_node is None:
        assert among is not None  # a group has kernels of one kind or the other
        if first is None:
            return among
        return jnp.concatenate([jnp.einsum("sm,sd,se->mde", first, shared, shared), among])
    nodes = per_node.shape[1]
    kappa = jnp.broadcast_to(common[:, None], (len(common), nodes))
    if first is not None:
        kappa = kappa.at[:, : first.shape[1]].set(first)
    weighted = kappa[..., None] * per_node
    alone = jnp.einsum("snd,sne->nde", weighted, per_node)
    if shared is None or among is None:
        return alone
    among = jnp.broadcast_to(among, (nodes, *among.shape[1:]))
    if first is not None:
        among = among.at[: first.shape[1]].set(jnp.einsum("sm,sd,se->mde", first, shared, shared))
    across = jnp.einsum("sd,sne->nde", shared, weighted)
    return jnp.block([[among, across], [across.swapaxes(1, 2), alone]])


def inverses(
    problem: Problem,
    curvature: dict[str, Array],
    most_kernels: int | None = None,
    added: Float[Array, ""] | float = 0.0,
) -> dict[str, Float[Array, "_ _ _"]]:
    """The pseudo-inverse of A + added I over the weights that each node learns; 0 for nodes with too many kernels."""
    found = {}
    for name, matrices in curvature.items():
        learnt = problem.network.labels[name] >= 0
        rows = _rows(matrices, len(learnt), name in problem.network.nonuniform)
        learnt = learnt[: len(rows)]
        if most_kernels is not None and matrices.shape[-1] > most_kernels:
            found[name] = jnp.zeros_like(rows)
        else:
            damped = rows + added * jnp.eye(rows.shape[-1])
            found[name] = jax.vmap(pseudo_inverse)(damped * (learnt[:, :, None] & learnt[:, None, :]))
    return found


def apply_inverse(problem: Problem, inverse: Inverse, residual: Theta) -> Theta:
    """A^+ of a vector of parameters."""
    if not isinstance(inverse, dict):
        return inverse @ residual
    zero = jax.tree.map(jnp.zeros_like, problem.network.weights)
    by_weight = eqx.tree_at(lambda network: network.weights, problem.network, zero).weights_at(residual)
    moved = {
        name: jnp.einsum("nde,ne->nd", _rows(m, len(by_weight[name]), True), by_weight[name])
        for name, m in inverse.items()
    }
    return problem.by_parameter(residual, moved)


def _rows(matrices: Array, nodes: int, separate: bool) -> Array:
    """One matrix for every node, the last one standing for all the rest; or a single one, unless `separate`."""
    if not separate and len(matrices) == 1:
        return matrices
    rest = jnp.broadcast_to(matrices[-1:], (nodes - min(len(matrices), nodes), *matrices.shape[1:]))
    return jnp.concatenate([matrices[:nodes], rest])


def _mean_diagonal(problem: Problem, curvature: dict[str, Array]) -> Float[Array, ""]:
    """The mean of the diagonals of A over all weights that are learnt."""
    total = jnp.zeros((), problem.network.low.dtype)
    for name, matrices in curvature.items():
        labels = problem.network.labels[name]
        diagonals = jnp.diagonal(_rows(matrices, len(labels), True), axis1=1, axis2=2)
        total += jnp.sum(jnp.where(labels < 0, 0, diagonals))
    return total / problem.network.low.size


def _joint_inverse(
    problem: Problem, curvature: dict[str, Array], added: Float[Array, ""] | float
) -> Float[Array, "parameters parameters"]:
    """The pseudo-inverse of the one system of all parameters, of which weights may share some."""
    size = problem.network.low.size
    total = jnp.zeros((size + 1, size + 1), problem.network.low.dtype)  # the last is for frozen weights
    for name, matrices in curvature.items():
        labels = problem.network.labels[name]
        labels = jnp.where(labels < 0, size, labels)
        rows = _rows(matrices, len(labels), True)
        total = total.at[labels[:, :, None], labels[:, None, :]].add(rows)
    return pseudo_inverse(total[:size, :size] + added * jnp.eye(size))
