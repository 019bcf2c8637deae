r"""What a network of kernels does: forward by equation 1, each node from given others, and backward by equation 4."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .nodes import AbstractUnit, Kernels, Plan, Reading, Values, Weights, plan

Past = dict[str, Float[Array, "reach batch _"]]  # of the groups that are read later: x(t-1), x(t-2), ...
Windows = Float[Array, "steps lags batch inputs"]  # of every step: u(t), u(t-1), ...
Guard = Callable[[Array], Array]


@functools.partial(jax.jit, static_argnames="unit")
def run(
    unit: AbstractUnit, weights: Weights, inputs: Float[Array, "time batch inputs"]
) -> Float[Array, "time batch nodes"]:
    """All nodes at all samples, from rest."""
    _, states = forward(unit, weights, rest(unit, inputs), windows(unit, inputs))
    return jnp.concatenate([jnp.zeros_like(states[:1]), states])


def rest(unit: AbstractUnit, inputs: Float[Array, "time batch inputs"]) -> Past:
    """Nodes that have been 0 for ever."""
    known = plan(unit)
    return {n: jnp.zeros((known.reach, inputs.shape[1], known.groups[n].count), inputs.dtype) for n in known.remembered}


def windows(unit: AbstractUnit, inputs: Float[Array, "time batch inputs"]) -> Windows:
    """The inputs that every step from sample k - 1 to sample k reads; zeros before the beginning."""
    delay, steps = plan(unit).delay, len(inputs) - 1
    padded = jnp.pad(inputs, [(delay - 1, 0), (0, 0), (0, 0)])
    return jnp.stack([padded[delay - lag : delay - lag + steps] for lag in range(delay + 1)], axis=1)


def forward(
    unit: AbstractUnit, weights: Weights, past: Past, stimuli: Windows, *, observed: bool = False
) -> tuple[Past, Float[Array, "steps batch kept"]]:
    """Steps through all windows; returns the past at the end, and all nodes, or the observed ones alone."""
    known = plan(unit)

    def step(past: Past, window: Array) -> tuple[Past, Array]:
        values: dict[str, Array] = {}

        def now(name: str) -> Array:
            if name not in values:
                values[name] = known.groups[name].value(weights, reading)
            return values[name]

        reading = _reading(unit, now, past, window)
        for name in known.groups:
            now(name)
        kept = values[next(iter(known.groups))][:, : unit.outputs] if observed else known.joined(values)
        return {n: jnp.concatenate([values[n][None], past[n][:-1]]) for n in past}, kept

    return jax.lax.scan(step, past, stimuli)


def backward(
    unit: AbstractUnit,
    weights: Weights,
    past: Past,
    stimuli: Windows,
    states: Float[Array, "steps batch nodes"],
    slopes: Float[Array, "steps batch nodes"],
    guard: Guard | None = None,
    future: Past | None = None,
) -> tuple[Past, Float[Array, "steps batch nodes"]]:
    r"""The backward tuning errors of every node and step,

    $$\varepsilon_{n't'} = \rho'_{n't'} + g\Big(\sum_{nt} \beta^{n't'}_{nt}\,\varepsilon_{nt}\Big)$$

    from the last step to the first. Source: Vieville et al. 2017, equations 3 (g = id) and 4; the print has rho'_nt.

    Args:
        unit: the form of the nodes.
        weights: W by group.
        past: the nodes before the first of these steps.
        stimuli: what the steps read of the inputs.
        states: the nodes that `forward` found.
        slopes: rho', the derivative of the criterion by every one of them.
        guard: g, the identity by default.
        future: what later steps ask of these, the last step's own value first; nothing by default.

    Returns:
        What these steps ask of the nodes before them; and epsilon.
    """
    known = plan(unit)
    history = lagged(known, past, states)

    def step(future: Past, at: tuple[Array, Past, Array, Array]) -> tuple[Past, Array]:
        window, past, slope, state = at
        values, slope = known.split(state), known.split(slope)
        asked = {n: future[n][0] if n in future else jnp.zeros_like(values[n]) for n in values}
        older = {n: jnp.concatenate([future[n][1:], jnp.zeros_like(future[n][:1])]) for n in future}
        errors: dict[str, Array] = {}
        for name in reversed(known.order):  # those that read before those that are read
            errors[name] = slope[name] + (asked[name] if guard is None else guard(asked[name]))

            def value(values: Values, past: Past, name: str = name) -> Array:
                return known.groups[name].value(weights, _reading(unit, values.__getitem__, past, window))

            now, before = jax.vjp(value, values, past)[1](errors[name])
            asked, older = jax.tree.map(jnp.add, (asked, older), (now, before))
        return older, known.joined(errors)

    begun = jax.tree.map(jnp.zeros_like, past) if future is None else future
    return jax.lax.scan(step, begun, (stimuli, history, slopes, states), reverse=True)


def lagged(known: Plan, past: Past, states: Float[Array, "steps batch nodes"]) -> dict[str, Array]:
    """What every step finds as its past (steps, reach, batch, nodes), by group."""
    values, steps, reach = known.split(states), len(states), known.reach
    whole = {n: jnp.concatenate([past[n][::-1], values[n]]) for n in known.remembered}
    return {
        n: jnp.stack([x[reach - lag : reach - lag + steps] for lag in range(1, reach + 1)], 1) for n, x in whole.items()
    }


def given(
    unit: AbstractUnit, weights: Weights, past: Past, stimuli: Windows, states: Float[Array, "steps batch nodes"]
) -> Float[Array, "steps batch nodes"]:
    """Every node computed from GIVEN values of all others, at all steps at once."""
    known = plan(unit)
    reading, shape = _given_reading(unit, past, stimuli, states)
    return known.joined({n: group.value(weights, reading) for n, group in known.groups.items()}).reshape(*shape, -1)


def kernels(
    unit: AbstractUnit, past: Past, stimuli: Windows, states: Float[Array, "steps batch nodes"]
) -> dict[str, Kernels]:
    """The kernels of all groups that have weights, at all steps (steps x batch in one axis) for given nodes."""
    reading, _ = _given_reading(unit, past, stimuli, states)
    found = {name: group.kernels for name, group in plan(unit).groups.items()}
    return {name: kernel(reading) for name, kernel in found.items() if kernel is not None}


def gradient(found: Mapping[str, Kernels], errors: Mapping[str, Array]) -> Weights:
    r"""$\sum_t \varphi_{ndt}\,\varepsilon_{nt}$ of every weight, by group; errors (steps x batch, nodes)."""
    whole = {}
    for name, (shared, own) in found.items():
        parts = [] if shared is None else [errors[name].T @ shared]
        if own is not None:
            parts.append(jnp.einsum("sn,snd->nd", errors[name], own))
        whole[name] = jnp.concatenate(parts, axis=1)
    return whole


def _reading(unit: AbstractUnit, now: Callable[[str], Array], past: Any, window: Array) -> Reading:
    reading = Reading(now, lambda name, lag: past[name][lag - 1], lambda lag: window[lag], lambda: unit.rates(reading))
    return reading


def _given_reading(
    unit: AbstractUnit, past: Past, stimuli: Windows, states: Float[Array, "steps batch nodes"]
) -> tuple[Reading, tuple[int, int]]:
    """A reading of all steps at once, their axis merged with the batch's, and the two sizes."""
    known, (steps, batch) = plan(unit), states.shape[:2]
    flat = known.split(states.reshape(-1, states.shape[2]))
    history = {n: x.swapaxes(0, 1).reshape(x.shape[1], -1, x.shape[3]) for n, x in lagged(known, past, states).items()}
    window = stimuli.swapaxes(0, 1).reshape(stimuli.shape[1], -1, stimuli.shape[3])
    return _reading(unit, flat.__getitem__, history, window), (steps, batch)
