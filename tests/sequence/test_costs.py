"""Costs of the online rules, as documented: sizes of their states, and operations counted by the compiler."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eqprop_field.sequence import APRL, KFRTRL, RFLO, RTRL, UORO, EProp, SnAp1, StepContext


def rules(n: int) -> dict:
    return {
        "RTRL": RTRL(),
        "APRL": APRL(),
        "UORO": UORO(),
        "KFRTRL": KFRTRL(),
        "SnAp1": SnAp1(),
        "EProp": EProp(),
        "RFLO": RFLO(feedback=jnp.zeros((n, 1))),
    }


def context(n: int) -> StepContext:
    return StepContext(jnp.ones((n, n + 1)), jnp.ones(n + 1), *(jnp.ones(n) for _ in range(6)), jax.random.key(0), 1)


def cost(name: str, n: int) -> tuple[float, int]:
    """Floating-point operations of a step, and the size of the rule's state."""
    rule = rules(n)[name]
    state = rule.init(n, 1, jnp.ones((1, n + 1)))
    compiled = jax.jit(lambda state, now: rule.step(state, now)).lower(state, context(n)).compile()
    return float(compiled.cost_analysis()["flops"]), sum(leaf.size for leaf in jax.tree.leaves(state))


@pytest.mark.parametrize(
    ("name", "time", "space"),
    [
        ("RTRL", 4, 3),
        ("KFRTRL", 3, 2),
        ("APRL", 2, 2),
        ("UORO", 2, 2),
        ("EProp", 2, 2),
        ("SnAp1", 2, 2),
        ("RFLO", 2, 2),
    ],
)
def test_costs_grow_with_the_documented_power_of_the_neurons(name, time, space):
    sizes = np.array([24, 72])
    flops, numbers = np.array([cost(name, int(n)) for n in sizes]).T
    assert np.diff(np.log(flops)) / np.log(3) == pytest.approx(time, abs=0.25)
    assert np.diff(np.log(numbers)) / np.log(3) == pytest.approx(space, abs=0.15)
