"""Solvers of optimistix, one sample after another."""

import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, Float, PyTree

from ...vector_fields.base import State
from ..dynamics import AbstractSystem, by_sample, real_parts
from ..solution import residual_of
from .base import AbstractIteration, Iterate

OptimistixSolver = optx.AbstractFixedPointSolver | optx.AbstractRootFinder | optx.AbstractLeastSquaresSolver


class PerSample(AbstractIteration):
    r"""Any fixed-point solver, root finder or least-squares solver of optimistix, for every sample by itself.

    A fixed-point solver iterates $s \mapsto \Pi[s + \mu^\beta(s)]$, all others look for the root of
    $s - \Pi[s + \mu^\beta(s)]$, which is $-\mu^\beta$ where there are no bounds. Within bounds both vanish just at the
    equilibria of the projected dynamics, and Newton's method is the semismooth one; what the solver leaves within
    rounding of a bound that it is pushed against is put on it. Complex states are solved as pairs of real ones.

    The solver stops by tolerances of its own, to be given below the residual that `Equilibrium` asks for. A root
    finder knows nothing of time: it may end on an equilibrium that is unstable, or on another one than the dynamics
    come to (see `Equilibrium.check_stability`). Samples are solved one after another on a CPU.

    Attributes:
        solver: such as `optimistix.Newton(rtol=1e-8, atol=1e-8)`.
        max_steps: after how many steps to give up.
    """

    solver: OptimistixSolver
    max_steps: int = eqx.field(static=True, default=256)

    @property
    def attracted(self) -> bool:
        return isinstance(self.solver, optx.AbstractFixedPointSolver)

    def run(self, system: AbstractSystem, start: State, tol: Float[Array, ""]) -> Iterate:
        del tol
        state, steps = by_sample(self._single, system, start)
        velocity = system.velocity()(state)
        return Iterate(state, velocity, residual_of(system, state, velocity), steps.astype(jnp.int32))

    def _single(self, system: AbstractSystem, start: State) -> tuple[PyTree, Array]:
        """One sample's state less its batch axis, and its number of steps."""
        velocity = system.velocity()
        split, join = real_parts(start)

        def fixed_point(parts: PyTree, _: None) -> PyTree:
            state = join(parts)
            return split(system.clip(jax.tree.map(jnp.add, state, velocity(state))))

        def root(parts: PyTree, _: None) -> PyTree:
            return jax.tree.map(jnp.subtract, parts, fixed_point(parts, None))

        options = {"max_steps": self.max_steps, "throw": False}
        begin = split(system.project(start))
        if isinstance(self.solver, optx.AbstractFixedPointSolver):
            found = optx.fixed_point(fixed_point, self.solver, begin, **options)
        else:
            found = optx.root_find(root, self.solver, begin, **options)
        state = _put_on_bounds(system, join(found.value))
        return jax.tree.map(lambda leaf: leaf[0], state), found.stats["num_steps"]


def _put_on_bounds(system: AbstractSystem, state: State) -> State:
    """The state with every neuron on its bound that one Picard step would carry there."""
    ahead = jax.tree.map(jnp.add, state, system.velocity()(state))
    return jax.tree.map(
        lambda inside, free, held: jnp.where(free == held, inside, held),
        system.project(state),
        ahead,
        system.project(ahead),
    )
