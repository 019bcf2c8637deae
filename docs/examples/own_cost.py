"""A cost of your own: the cost of a batch of outputs and its derivative, and every rule nudges by it.

The log-cosh cost, quadratic for small errors and linear for large ones, so that a wrong label pulls no harder than

    C(s, y) = w^2 sum_i log cosh((s_i - y_i) / w),    dC/ds_i = w tanh((s_i - y_i) / w)

allows: with a small w the network learns the median of its targets, where the quadratic cost learns their mean.
"""

import equinox as eqx
import jax
import jax.numpy as jnp

import eqprop_field as epf


class LogCosh(epf.AbstractOutputCost):
    width: jax.Array = eqx.field(converter=jnp.asarray, default=1.0)  # w: the largest pull
    weight_decay: jax.Array = eqx.field(converter=jnp.asarray, default=0.0)

    def __call__(self, output, target):
        error = jnp.abs(output - target) / self.width
        log_cosh = error + jnp.log1p(jnp.exp(-2 * error)) - jnp.log(2.0)  # no overflow
        return self.width**2 * log_cosh.sum(axis=-1)

    def gradient(self, output, target):
        return self.width * jnp.tanh((output - target) / self.width)


def learn(cost, x, y, steps=60):
    """The output that a small network learns for these targets."""
    field = epf.LayeredField.create(jax.random.key(0), (2, 5, 1), activation=epf.activation("tanh"))
    rule = epf.AEP(cost=cost)
    for _ in range(steps):
        field = eqx.apply_updates(field, rule.estimate(field, x, y).update)
    return float(rule.substrate.settle(field, x).state[0][0, 0])


if __name__ == "__main__":
    x = jnp.ones((5, 2))
    y = jnp.array([[0.1], [0.2], [0.2], [0.3], [0.9]])  # the last is an outlier
    print(f"targets: mean {y.mean():.3f}, median {jnp.median(y):.3f}")
    print(f"learnt with the quadratic cost: {learn(epf.Quadratic(), x, y):.3f}")
    print(f"learnt with the log-cosh cost:  {learn(LogCosh(width=0.05), x, y):.3f}")
