"""Successive updates of equilibrium propagation against the successive gradients of BPTT: the GDU property."""

import dataclasses
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .._arrays import as_scalar, checked_pair
from ..costs import AbstractCost, Quadratic
from ..learning.base import pull_back
from ..results import AbstractResult, known
from ..substrates.base import AbstractSubstrate
from ..substrates.dynamics import Dynamics
from ..substrates.equilibrium import Equilibrium
from ..substrates.nudging import CostNudge, Nudging
from ..substrates.solution import Path
from ..substrates.solvers import Sweeps
from ..vector_fields.base import AbstractVectorField, State, flatten_state, smooth_project

Processes = dict[str, Float[np.ndarray, "step _"]]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class SuccessiveUpdates(AbstractResult):
    """Both processes, step by step: of the neurons (`neurons`), and of every layer's parameters.

    Attributes:
        eqprop: what the t-th step of the nudged phase changes, by group, (step, entry).
        bptt: minus what the t-th step from the END of the free phase adds to the gradient, same shapes.
    """

    stem: ClassVar[str] = "successive_updates"
    eqprop: Processes
    bptt: Processes

    def rows(self) -> list[dict[str, Any]]:
        """One row a group, step and entry."""
        return [
            {"group": name, "step": t, "entry": i, "eqprop": float(self.eqprop[name][t, i]), "bptt": float(change)}
            for name, process in self.bptt.items()
            for (t, i), change in np.ndenumerate(process)
        ]

    def summary(self) -> dict[str, Any]:
        """The relative difference of every group; None where there is nothing to compare."""
        steps = len(self.bptt["neurons"])
        return {"steps": steps, "difference": {name: known(apart) for name, apart in self.difference.items()}}

    def lines(self) -> list[str]:
        return [f"{name:12s} relative difference {apart:.1e}" for name, apart in self.difference.items()]

    @property
    def difference(self) -> dict[str, float]:
        """||eqprop - bptt|| / ||bptt|| of every group, over all steps (NaN where there is nothing to compare)."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return {
                name: float(np.linalg.norm(self.eqprop[name] - process) / np.linalg.norm(process))
                for name, process in self.bptt.items()
            }


def successive_updates(
    field: AbstractVectorField,
    x: ArrayLike,
    y: ArrayLike,
    *,
    steps: int = 40,
    step: ArrayLike = 0.5,
    nudging: Nudging | None = None,
    substrate: AbstractSubstrate | None = None,
    cost: AbstractCost | None = None,
) -> SuccessiveUpdates:
    r"""The gradient-descending-updates comparison of Ernoult et al. 2019.

    From the settled free state s*, nudged steps change the states by $\Delta s(t)$ and the parameters by
    $(\partial\mu/\partial\theta)^\top \Delta s(t)$, per unit of beta. Backpropagation through the last steps of a free
    phase that rests at s* adds, at its t-th step backwards, $(\partial\mu/\partial\theta)^\top h\lambda(t)/\tau$ to the
    gradient, with the error $\lambda(t)$ of that step's increment. As beta -> 0

    $$\Delta s(t+1) = (1 + h J/\tau)\,\Delta s(t), \qquad \lambda(t+1) = (1 + h J^\top/\tau)\,\lambda(t)$$

    among the neurons free to move, so that $\Delta s(t) = -h\lambda(t)/\tau$ at EVERY t where the Jacobian J is
    symmetric and all tau are equal, and at t = 0 only in general. Both sums over t are the updates of `EqProp` and
    minus the gradient of truncated `BPTT`. Source: Ernoult et al. 2019, arXiv 1905.13633, theorem 1.

    Args:
        field: the network.
        x: inputs, (batch, inputs); y: targets, (batch, outputs). Parameters' processes are means over the batch.
        steps: how many steps of each.
        step: h of both, in time.
        nudging: which betas; symmetric with beta = 1e-4 by default, for the limit is meant (float32 needs more).
        substrate: where the free state comes from; `Equilibrium()` to 1e-12 (1e-6 in float32) by default.
        cost: C; `Quadratic()` by default.

    Raises:
        ValueError: if x or y does not fit the field, fewer than one step is asked for, or a beta is complex.
        NotSettledError: if a sample has no free state at rest.
    """
    x, y = checked_pair(x, y, (field.n_inputs, field.n_outputs), field.dtype)
    if steps < 1:
        raise ValueError(f"steps={steps}: give at least one step to compare")
    nudging = Nudging.symmetric(1e-4) if nudging is None else nudging
    if nudging.is_complex:
        raise ValueError("successive updates are those of real states: give real betas, such as Nudging.symmetric")
    if substrate is None:
        substrate = Equilibrium(tol=1e-6 if field.dtype == jnp.float32 else 1e-12, solver=Sweeps(20_000))
    free = substrate.settle(field, x)
    processes = _processes(field, x, y, free.state, _Both(nudging, cost or Quadratic(), as_scalar(step), steps))
    groups = ("neurons", *(f"layer {name}" for name in field.layers()))  # JAX has sorted them by name
    return SuccessiveUpdates(*({name: np.asarray(process[name]) for name in groups} for process in processes))


class _Both(eqx.Module):
    """What both processes have in common; see `successive_updates`."""

    nudging: Nudging
    cost: AbstractCost
    step: Float[Array, ""]
    steps: int = eqx.field(static=True)


@eqx.filter_jit
def _processes(
    field: AbstractVectorField, x: Array, y: Array, state: State, both: _Both
) -> tuple[dict[str, Array], dict[str, Array]]:
    forwards = _nudged_increments(field, x, y, state, both)
    backwards = _backward_increments(field, x, y, state, both)

    def grouped(increment: State) -> dict[str, Array]:
        gradient = pull_back(field, x, state, increment)
        groups = {f"layer {name}": tensors for name, tensors in gradient.layers().items()}
        flat = {name: jnp.concatenate([t.ravel() for t in tensors]) / len(x) for name, tensors in groups.items()}
        return {"neurons": flatten_state(increment).ravel(), **flat}

    return jax.vmap(grouped)(forwards), jax.vmap(grouped)(backwards)


def _nudged_increments(field: AbstractVectorField, x: Array, y: Array, state: State, both: _Both) -> Path:
    """s_{t+1} - s_t of the nudged phases, combined to their derivative by beta; every leaf (step, batch, ...)."""

    def increments(beta: Array) -> Path:
        one = Dynamics(field, field.drive(x), CostNudge(beta, y, both.cost)).euler(both.step)

        def move(s: State, _: None) -> tuple[State, State]:
            moved = one(s)
            return moved, jax.tree.map(jnp.subtract, moved, s)

        return jax.lax.scan(move, state, None, length=both.steps)[1]

    phases = [increments(beta) for beta in both.nudging.betas]
    weigh = lambda *d: sum(w.astype(i.dtype) * i for w, i in zip(both.nudging.weights, d, strict=True))  # noqa: E731
    return jax.tree.map(weigh, *phases)


def _backward_increments(field: AbstractVectorField, x: Array, y: Array, state: State, both: _Both) -> Path:
    """-h lambda(t) / tau, t = 0 at the end: by differentiating the steps themselves by a push added to each."""
    drive, taus = field.drive(x), field.time_constants()

    def objective(pushes: Path) -> Array:
        def move(s: State, push: State) -> tuple[State, None]:
            mu = field(s, drive)
            moved = jax.tree.map(lambda s, m, p, tau: s + both.step.astype(s.dtype) * (m + p) / tau, s, mu, push, taus)
            return smooth_project(field, moved), None

        last, _ = jax.lax.scan(move, state, pushes)
        return jnp.sum(both.cost.of(field, last, y))

    still = jax.tree.map(lambda s: jnp.zeros((both.steps, *s.shape), s.dtype), state)
    return jax.tree.map(lambda g: -g[::-1], jax.grad(objective)(still))
