"""A way to an equilibrium of your own: secant steps, Anderson's acceleration with a memory of one step.

    s' = g - theta (g - g_before),    g = clip(s + mu(s)),    f = g - s,    theta = <f, f - f_before> / |f - f_before|^2

theta makes |f| smallest along the line through the last two steps, for every sample on its own. A substrate takes it as
`Equilibrium(solver=Secant())`; the verdict, the derivatives through the equilibrium and the masking of samples are its
affair, and an iteration need not be differentiable.
"""

import equinox as eqx
import jax
import jax.numpy as jnp

import eqprop_field as epf
from eqprop_field.substrates import Iterate, residual_of


class Secant(epf.AbstractIteration):
    max_iterations: int = eqx.field(static=True, default=500)

    def run(self, system, start, tol):
        velocity = system.velocity()  # mu, with the nudge of the phase

        def at(state, iterations):
            mu = velocity(state)
            return Iterate(state, mu, residual_of(system, state, mu), iterations)

        def moves(it):  # a sample that is done stays where it is; NaN is no hope of it
            return (it.residual > tol) & (it.residual < 1e6) & (it.iterations < self.max_iterations)

        def step(carry):
            it, (g_before, f_before) = carry
            g = system.project(jax.tree.map(jnp.add, it.state, it.velocity))
            f = jax.tree.map(jnp.subtract, g, it.state)
            d = epf.flatten_state(jax.tree.map(jnp.subtract, f, f_before))
            theta = (epf.flatten_state(f) * d).sum(1) / jnp.maximum((d**2).sum(1), 1e-30)
            over = lambda row, leaf: jnp.expand_dims(row, range(1, leaf.ndim))  # noqa: E731
            moved = system.project(jax.tree.map(lambda a, b: a - over(theta, a) * (a - b), g, g_before))
            state = jax.tree.map(lambda new, old: jnp.where(over(moves(it), new), new, old), moved, it.state)
            return at(state, it.iterations + moves(it)), (g, f)

        start = system.project(start)
        first = at(start, jnp.zeros(jax.tree.leaves(start)[0].shape[0], jnp.int32))
        g = jax.tree.map(jnp.add, start, first.velocity)
        return jax.lax.while_loop(lambda carry: jnp.any(moves(carry[0])), step, (first, (g, first.velocity)))[0]


field = epf.GraphField.create(
    jax.random.key(3), neurons=40, inputs=5, outputs=4, activation=epf.activation("tanh"), gain=0.5, symmetry=1.0
)
x = jax.random.uniform(jax.random.key(4), (6, 5))

if __name__ == "__main__":
    for solver in (epf.Sweeps(), Secant()):
        found = epf.Equilibrium(solver=solver).settle(field, x)
        print(f"{type(solver).__name__:8} {int(found.steps.max())} steps, residual {found.residual.max():.0e}")
