r"""Dynamics of kernel networks: forward by equation 1, nodes from given values, and backward by equation 4."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .nodes import AbstractUnit, KernelContext, Kernels, UnitStructure, Values, Weights, structure_of

Past = dict[str, Float[Array, "lags batch _"]]  # of the groups that are read later: x(t-1), x(t-2), ...
InputWindows = Float[Array, "steps input_lags batch inputs"]  # of every step: u(t), u(t-1), ...
Steps = Float[Array, "steps batch nodes"]


class Segment(NamedTuple):
    """Consecutive steps of a simulation.

    Attributes:
        past: the nodes before the first of these steps.
        inputs: the inputs that every step reads.
        states: the nodes at every step.
    """

    past: Past
    inputs: InputWindows
    states: Steps


@functools.partial(jax.jit, static_argnames="unit")
def run(
    unit: AbstractUnit, weights: Weights, inputs: Float[Array, "time batch inputs"]
) -> Float[Array, "time batch nodes"]:
    """All nodes at all samples, from rest."""
    _, states = forward(unit, weights, initial_past(unit, inputs), input_windows(unit, inputs))
    return jnp.concatenate([jnp.zeros_like(states[:1]), states])


def initial_past(unit: AbstractUnit, inputs: Float[Array, "time batch inputs"]) -> Past:
    """The past of a simulation from rest: zeros."""
    known = structure_of(unit)
    return {n: jnp.zeros((known.max_lag, inputs.shape[1], known.groups[n].count), inputs.dtype) for n in known.delayed}


def input_windows(unit: AbstractUnit, inputs: Float[Array, "time batch inputs"]) -> InputWindows:
    """The inputs that every step from sample k - 1 to sample k reads; zeros before the beginning."""
    longest, steps = structure_of(unit).max_input_lag, len(inputs) - 1
    padded = jnp.pad(inputs, [(longest - 1, 0), (0, 0), (0, 0)])
    return jnp.stack([padded[longest - lag : longest - lag + steps] for lag in range(longest + 1)], axis=1)


def forward(
    unit: AbstractUnit, weights: Weights, past: Past, inputs: InputWindows, *, outputs_only: bool = False
) -> tuple[Past, Float[Array, "steps batch kept"]]:
    """Steps through all windows; returns the past at the end, and all nodes, or the observed ones alone."""
    known = structure_of(unit)

    def step(past: Past, window: Array) -> tuple[Past, Array]:
        values: dict[str, Array] = {}

        def current(name: str) -> Array:
            if name not in values:
                values[name] = known.groups[name].value(weights, context)
            return values[name]

        context = _context(unit, current, past, window)
        for name in known.groups:
            current(name)
        kept = values[next(iter(known.groups))][:, : unit.outputs] if outputs_only else known.concatenate(values)
        return {n: jnp.concatenate([values[n][None], past[n][:-1]]) for n in past}, kept

    return jax.lax.scan(step, past, inputs)


def backward(
    unit: AbstractUnit,
    weights: Weights,
    segment: Segment,
    slopes: Steps,
    *,
    limiter: Callable[[Array], Array] | None = None,
    future: Past | None = None,
) -> tuple[Past, Steps]:
    r"""The backward tuning errors epsilon of every node and step,

    $$\varepsilon_{n't'} = \rho'_{n't'} + g\Big(\sum_{nt} \beta^{n't'}_{nt}\,\varepsilon_{nt}\Big)$$

    from the last step to the first. Source: Vieville et al. 2017, equations 3 (g = id) and 4; the print has rho'_nt.

    Args:
        unit: the form of the nodes.
        weights: W by group.
        segment: the steps, as `forward` found them.
        slopes: rho', the derivative of the criterion by every node.
        limiter: g, the identity by default.
        future: what later steps propagate back to these, to the last step first; nothing by default.

    Returns:
        What these steps propagate back to the nodes before them; and epsilon.
    """
    known = structure_of(unit)

    def step(future: Past, at: tuple[Array, Past, Array, Array]) -> tuple[Past, Array]:
        window, past, slope, state = at
        values, slope = known.split(state), known.split(slope)
        received = {n: future[n][0] if n in future else jnp.zeros_like(values[n]) for n in values}
        older = {n: jnp.concatenate([future[n][1:], jnp.zeros_like(future[n][:1])]) for n in future}
        errors: dict[str, Array] = {}
        for name in reversed(known.evaluation_order):  # those that read before those that are read
            errors[name] = slope[name] + (received[name] if limiter is None else limiter(received[name]))

            def value(values: Values, past: Past, name: str = name) -> Array:
                return known.groups[name].value(weights, _context(unit, values.__getitem__, past, window))

            now, before = jax.vjp(value, values, past)[1](errors[name])
            received, older = jax.tree.map(jnp.add, (received, older), (now, before))
        return older, known.concatenate(errors)

    last = jax.tree.map(jnp.zeros_like, segment.past) if future is None else future
    steps = (segment.inputs, lagged(known, segment), slopes, segment.states)
    return jax.lax.scan(step, last, steps, reverse=True)


def lagged(known: UnitStructure, segment: Segment) -> dict[str, Array]:
    """The past that every step reads (steps, lags, batch, nodes), by group."""
    values, steps, longest = known.split(segment.states), len(segment.states), known.max_lag
    whole = {n: jnp.concatenate([segment.past[n][::-1], values[n]]) for n in known.delayed}
    return {
        n: jnp.stack([x[longest - lag : longest - lag + steps] for lag in range(1, longest + 1)], 1)
        for n, x in whole.items()
    }


def evaluate(unit: AbstractUnit, weights: Weights, segment: Segment) -> Steps:
    """Every node computed from the segment's values of all others, at all steps at once."""
    known, shape = structure_of(unit), segment.states.shape[:2]
    context = _context_of_all(unit, segment)
    return known.concatenate({n: group.value(weights, context) for n, group in known.groups.items()}).reshape(
        *shape, -1
    )


def kernels(unit: AbstractUnit, segment: Segment) -> dict[str, Kernels]:
    """The kernels of all groups that have weights, at all steps (steps x batch in one axis)."""
    context = _context_of_all(unit, segment)
    found = {name: group.kernels for name, group in structure_of(unit).groups.items()}
    return {name: kernel(context) for name, kernel in found.items() if kernel is not None}


def gradient(found: Mapping[str, Kernels], errors: Mapping[str, Array]) -> Weights:
    r"""$\sum_t \varphi_{ndt}\,\varepsilon_{nt}$ of every weight, by group; errors (steps x batch, nodes)."""
    whole = {}
    for name, (shared, per_node) in found.items():
        parts = [] if shared is None else [errors[name].T @ shared]
        if per_node is not None:
            parts.append(jnp.einsum("sn,snd->nd", errors[name], per_node))
        whole[name] = jnp.concatenate(parts, axis=1)
    return whole


def _context(unit: AbstractUnit, current: Callable[[str], Array], past: Any, window: Array) -> KernelContext:
    context = KernelContext(
        current, lambda name, lag: past[name][lag - 1], lambda lag: window[lag], lambda: unit.rates(context)
    )
    return context


def _context_of_all(unit: AbstractUnit, segment: Segment) -> KernelContext:
    """The context of all steps at once, their axis merged with the batch's."""
    known, states, inputs = structure_of(unit), segment.states, segment.inputs
    flat = known.split(states.reshape(-1, states.shape[2]))
    past = {n: x.swapaxes(0, 1).reshape(x.shape[1], -1, x.shape[3]) for n, x in lagged(known, segment).items()}
    window = inputs.swapaxes(0, 1).reshape(inputs.shape[1], -1, inputs.shape[3])
    return _context(unit, flat.__getitem__, past, window)
