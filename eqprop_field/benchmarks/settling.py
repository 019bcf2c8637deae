"""The free phase against other solvers, and one sweep against its bare matrix products.

Everyone settles the same leaky integrators with the hard sigmoid from rest, in float32, until the same residual
max_i |mu_i| <= 1e-4 over the whole batch; a run that stops above it is refused as no comparison. The states are not
clipped (`projected=False`: the same equilibrium rates), for error control crawls along a clipping.
"""

from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from ..activations import ACTIVATIONS, hard_sigmoid
from ..substrates import Equilibrium, ProjectedEuler, Sweeps, Trajectory
from ..substrates.base import AbstractSubstrate
from ..vector_fields import AbstractLayered, AbstractNeuralNetwork, field_class
from . import peers
from .paired import Ratio, paired

RESIDUAL = 1e-4
_KEY = jax.random.key(0)
_SWEEPS = 48
_DEEP = "784-512-512-10"


def settling(turns: int) -> Iterator[Ratio]:
    """Every comparison, one after another."""
    for batch in (20, 128):
        field, x = layered(batch)
        yield from against_others(f"free phase {_DEEP}, batch {batch}", field, x, turns)
    field = field_class("graph").create(_KEY, neurons=50, inputs=10, outputs=10, activation=ACTIVATIONS["tanh"])
    yield from against_others("free phase, graph of 50, batch 256", field, _inputs(256, 10), turns, goals=False)
    for batch, goal in ((20, 1.8), (128, 1.5)):
        yield against_products(f"sweep v. its matrix products, {_DEEP}, batch {batch}", *layered(batch), turns, goal)
    for hidden in (128, 1024):
        field, x = layered(20, (784, hidden, hidden, 10))
        yield against_products(f"sweep v. its matrix products, 784-{hidden}-{hidden}-10, batch 20", field, x, turns)
    deep = (784, *[256] * 6, 10)
    yield against_products("sweep v. its matrix products, 784-6x256-10, batch 20", *layered(20, deep), turns)


def layered(batch: int, sizes: tuple[int, ...] = (784, 512, 512, 10)) -> tuple[AbstractLayered, jax.Array]:
    """Glorot's weights, untied, and random inputs."""
    field = field_class("layered").create(_KEY, sizes, gain=1.0, activation=hard_sigmoid, projected=False)
    return jax.tree.map(lambda leaf: leaf.astype(jnp.float32), field), _inputs(batch, sizes[0])


def _inputs(batch: int, width: int) -> jax.Array:
    return jax.random.uniform(_KEY, (batch, width), jnp.float32)


def against_others(
    name: str, field: AbstractNeuralNetwork, x: jax.Array, turns: int, *, goals: bool = True
) -> Iterator[Ratio]:
    """Our fastest way to the equilibrium against every other one; ours too stops by the residual and judges no more."""
    ours = by(Equilibrium(tol=RESIDUAL, check_stability=False), field, x)
    euler = Trajectory(solver=ProjectedEuler(), step=0.5, tol=RESIDUAL, check_stability=False)
    suiting = RESIDUAL / 10  # with 1e-4 it ends above the residual
    others: list[tuple[str, float | None, Callable[[], Callable[[], float]]]] = [
        ("torchdiffeq dopri5", 50.0, lambda: peers.torchdiffeq(field, x, RESIDUAL, rtol=suiting, atol=suiting)),
        ("torchdiffeq dopri5, its own tolerances", None, lambda: peers.torchdiffeq(field, x, RESIDUAL)),
        ("scipy RK45", 25.0, lambda: peers.scipy(field, x, RESIDUAL)),
        ("torchdeq Anderson", 10.0, lambda: peers.torchdeq(field, x, RESIDUAL)),
        ("Euler steps of 0.5 in JAX", 4.0, lambda: by(euler, field, x)),
        ("diffrax Tsit5", None, lambda: by(Trajectory(tol=RESIDUAL, check_stability=False), field, x)),
        ("the same sweeps in PyTorch", 1.0, lambda: peers.torch_sweeps(field, x, RESIDUAL)),
    ]
    for other, goal, make in others:
        line = f"{name}: {other}"
        bound = goal if goals else None
        try:
            yield paired(line, checked(other, make()), checked("ours", ours), turns=turns, goal=bound)
        except (peers.Missing, peers.NotReached) as reason:
            yield Ratio.left_out(line, str(reason))


def checked(name: str, run: Callable[[], float]) -> Callable[[], None]:
    """The run, refused where it did not reach the residual."""

    def settled() -> None:
        residual = run()
        if not residual <= 1.01 * RESIDUAL:  # rounding: everyone sums the products in another order
            raise peers.NotReached(f"{name} stopped at a residual of {residual:.1e}, above {RESIDUAL:g}: no comparison")

    return settled


def by(substrate: AbstractSubstrate, field: AbstractNeuralNetwork, x: jax.Array) -> Callable[[], float]:
    """Settling with one of our substrates, as a user calls it; returns the residual it reached."""
    return lambda: float(np.max(substrate.settle(field, x, throw=False).residual))


def against_products(name: str, field: AbstractLayered, x: jax.Array, turns: int, goal: float | None = None) -> Ratio:
    """So many sweeps, with all that belongs to them, against the same number of the same bare matrix products."""
    # A tolerance that is never reached: it does all of its sweeps.
    substrate = Equilibrium(tol=0.0, solver=Sweeps(_SWEEPS), check_stability=False)
    start = field.initial_state(len(x))
    settle = jax.jit(lambda field, x: substrate.settle(field, x, start=start, throw=False).state)
    products = jax.jit(_products)
    rates = tuple(jax.random.uniform(jax.random.key(i), s.shape, s.dtype) for i, s in enumerate(start))
    return paired(
        name,
        lambda: jax.block_until_ready(settle(field, x)),
        lambda: jax.block_until_ready(products(field, rates)),
        turns=turns,
        goal=goal,
        at_least=False,
    )


def _products(field: AbstractLayered, rates: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    """The products of `_SWEEPS` sweeps, each on the results of the one before, scaled so that nothing overflows."""

    def sweep(_: int, rates: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        swept = list(rates)
        for colour in (0, 1):
            for i in range(colour, len(swept), 2):
                terms = []
                if i + 1 < len(swept):
                    terms.append(swept[i + 1] @ field.forward[i].T)
                if i > 0:
                    terms.append(swept[i - 1] @ field.feedback[i - 1].T)
                swept[i] = sum(terms[1:], terms[0])
        return tuple(swept)

    return jax.lax.fori_loop(0, _SWEEPS, sweep, rates)
