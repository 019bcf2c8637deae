"""Will it still learn on my chip? The update that a circuit makes, against the ones it should make."""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PyTree

from .._arrays import checked_pair
from ..costs import Quadratic
from ..learning.base import pull_back, tree_dot, tree_norm
from ..learning.eqprop import EqProp
from ..learning.implicit import ImplicitGradient
from ..substrates.nudging import Nudging
from ..substrates.solution import Solution
from ..vector_fields import AbstractVectorField
from ..vector_fields.base import State
from .levels import AbstractLevel, Behavioural, OpAmp
from .measure import Phase
from .ngspice import AbstractEngine, Batch
from .noise import Noise
from .substrate import NgspiceSubstrate
from .variation import Chip, Variation

TRUTHS = ("eqprop", "own", "nominal")
_NEAR_0 = {4: 0.03, 8: 1e-3}  # the beta of ideal equilibrium propagation, by bytes a number


@dataclasses.dataclass(frozen=True)
class Conditions:
    """Under which conditions a circuit makes its updates.

    Attributes:
        level: how it is built.
        variation: how much the devices of its chips differ.
        noise: rms of the noise in every neuron's drive, state units; 0 for quiet circuits.
        noise_interval: between the corners of the noise, in time units.
        beta: the influence parameter.
        symmetric: whether both beta and -beta are nudged with, or beta alone.
        time: duration of every phase, in time units.
        tol: the residual up to which a phase counts as at rest.

    Raises:
        ValueError: for a noise, a beta or a time without meaning.
    """

    level: AbstractLevel = dataclasses.field(default_factory=Behavioural)
    variation: Variation = dataclasses.field(default_factory=Variation)
    noise: float = 0.0
    noise_interval: float = 0.25
    beta: float = 0.1
    symmetric: bool = True
    time: float = 40.0
    tol: float = 1e-4

    def __post_init__(self) -> None:
        if not 0 <= self.noise < math.inf:
            raise ValueError(f"noise={self.noise!r}: give a finite rms of at least 0, in state units")
        if not 0 < self.time < math.inf:
            raise ValueError(f"time={self.time!r}: give a phase a positive, finite duration")
        self.nudging()

    def nudging(self) -> Nudging:
        """Which betas."""
        return (Nudging.symmetric if self.symmetric else Nudging.one_sided)(self.beta)


@dataclasses.dataclass(frozen=True)
class SweptParameter:
    """Something that can be turned.

    Attributes:
        title: what it is, with its unit.
        values: where to, from bad to good or from good to bad.
        apply: the conditions with the parameter at a value.
        random: whether chips differ at one value, so that one chip says little.
        linear: whether its values belong on a linear axis.
    """

    title: str
    values: tuple[float, ...]
    apply: Callable[[Conditions, float], Conditions]
    random: bool = False
    linear: bool = False


def _varied(conditions: Conditions, **spreads: float | int) -> Conditions:
    return dataclasses.replace(conditions, variation=dataclasses.replace(conditions.variation, **spreads))


SWEPT_PARAMETERS: Mapping[str, SweptParameter] = {
    "beta": SweptParameter(
        "influence parameter β", (0.01, 0.03, 0.1, 0.3, 0.6), lambda c, value: dataclasses.replace(c, beta=value)
    ),
    "time": SweptParameter(
        "duration of every phase (τ)", (1.0, 2.0, 4.0, 8.0, 16.0, 32.0), lambda c, v: dataclasses.replace(c, time=v)
    ),
    "gain": SweptParameter(
        "op-amp gain A₀",
        (10.0, 30.0, 100.0, 300.0, 1000.0, 1e4),
        lambda c, value: dataclasses.replace(c, level=OpAmp(gain=value, gain_bandwidth=1e3)),
    ),
    "bandwidth": SweptParameter(
        "op-amp bandwidth 2π GBW τ",
        (3.0, 10.0, 30.0, 100.0, 300.0, 1000.0),
        lambda c, value: dataclasses.replace(c, level=OpAmp(gain=1e5, gain_bandwidth=value)),
    ),
    "offset": SweptParameter(
        "offsets of neurons and nudges (rms, state units)",
        (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2),
        lambda c, value: _varied(c, offset=value, nudge_offset=value),
        random=True,
    ),
    "bits": SweptParameter(
        "bits of a weight's magnitude",
        (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0),
        lambda c, value: _varied(c, bits=round(value)),
        linear=True,
    ),
    "mismatch": SweptParameter(
        "mismatch of every device (relative)",
        (0.005, 0.01, 0.02, 0.05, 0.1, 0.2),
        lambda c, value: _varied(c, capacitance=value, leak=value, synapse=value, bias=value, gain=value, nudge=value),
        random=True,
    ),
    "noise": SweptParameter(
        "noise in every drive (rms, state units)",
        (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1),
        lambda c, value: dataclasses.replace(c, noise=value),
        random=True,
    ),
}


@dataclasses.dataclass(frozen=True)
class Fidelity:
    """The updates that one circuit makes, over the samples that ngspice could simulate.

    Cosines are means over the samples, each by itself, as in `align`: a sample whose error is near 0 has an update
    without much of a direction, and counts as much as any other. Samples without any update are left out.

    Attributes:
        eqprop: cosine of the update to that of ideal equilibrium propagation: the nominal ODE, beta near 0.
        own: to the true gradient of the network as its chip is, at the free state as measured.
        nominal: to the true gradient of the nominal network.
        worst: the lowest of the samples' cosines to the nominal gradient.
        settling_free: time until the free phase stays within 1e-3 of its end, in time units, the slowest sample's.
        settling_nudged: the same for the nudged phases.
        joules_inference: what the supplies deliver in a free phase, the samples' mean; NaN where the level has none.
        joules_update: the same for all phases of a sample together.
        settled: the share of the samples whose phases are at rest at their ends. An update of a phase that was not
            counts all the same: this says how much of it to believe.
        failed: how many samples ngspice gave nothing for.
    """

    eqprop: float
    own: float
    nominal: float
    worst: float
    settling_free: float
    settling_nudged: float
    joules_inference: float
    joules_update: float
    settled: float
    failed: int


def fidelity(
    field: AbstractVectorField,
    x: ArrayLike,
    y: ArrayLike,
    conditions: Conditions,
    *,
    chip: int = 0,
    seed: int = 0,
    engine: AbstractEngine | None = None,
    workers: int = 1,
) -> Fidelity:
    """Runs both phases of every sample in ngspice on one chip, and judges the updates.

    Args:
        field: the network.
        x: the inputs' firing rates (batch, inputs).
        y: the targets (batch, outputs).
        conditions: what the circuit is like.
        chip: the chip's number: chip k has the key fold_in(key(seed), k), and its noise comes from that key too.
        seed: of all chips.
        engine: what runs netlists; `Batch()` by default.
        workers: how many simulators run at once.

    Raises:
        ValueError: for samples that do not fit the network, or a network that no circuit is built of.
        NgspiceMissing: if there is no ngspice.
    """
    x, y = checked_pair(x, y, (field.n_inputs, field.n_outputs), field.dtype)
    key = jax.random.fold_in(jax.random.key(seed), chip)
    drawn = Chip.draw(key, field, conditions.variation)
    noise = Noise(jax.random.fold_in(key, 1), conditions.noise, conditions.noise_interval) if conditions.noise else None
    substrate = NgspiceSubstrate(
        engine=Batch() if engine is None else engine,
        level=conditions.level,
        free_time=conditions.time,
        nudged_time=conditions.time,
        tol=conditions.tol,
        chip=drawn,
        noise=noise,
        workers=workers,
    )
    nudging = conditions.nudging()
    nudges = nudging.nudges(Quadratic(), y)
    measured = substrate.transients(field, x, nudges, throw=False)
    free, nudged = substrate.solutions(field, x, nudges, measured, throw=False)
    cosines = np.asarray(_cosines(field, drawn, nudging, x, y, free.state, [s.state for s in nudged]), np.float64)
    return _summarised(cosines, list(measured.samples), (free, *nudged))


def _summarised(
    cosines: Float[np.ndarray, "batch truth"],
    measured: list[tuple[Phase, ...] | None],
    solutions: tuple[Solution, ...],
) -> Fidelity:
    there = [phases for phases in measured if phases is not None]
    at_rest = functools.reduce(np.logical_and, (np.asarray(solution.converged) for solution in solutions))
    failed = len(measured) - len(there)
    if not there:
        return Fidelity(*[math.nan] * 8, settled=0.0, failed=failed)
    energies = [[math.nan if p.joules is None else p.joules for p in phases] for phases in there]
    defined = cosines[np.isfinite(cosines).all(axis=1)]
    eqprop, own, nominal = defined.mean(axis=0).tolist() if len(defined) else [math.nan] * 3
    return Fidelity(
        eqprop=eqprop,
        own=own,
        nominal=nominal,
        worst=float(defined[:, 2].min(initial=nominal)),
        settling_free=max(phases[0].settling_time() for phases in there),
        settling_nudged=max(phase.settling_time() for phases in there for phase in phases[1::2]),
        joules_inference=float(np.mean([phases[0] for phases in energies])),
        joules_update=float(np.mean([sum(phases) for phases in energies])),
        settled=float(np.mean(at_rest)),
        failed=failed,
    )


@eqx.filter_jit
def _cosines(
    field: AbstractVectorField,
    chip: Chip,
    nudging: Nudging,
    x: Array,
    y: Array,
    free: State,
    nudged: list[State],
) -> Float[Array, "batch truth"]:
    """The cosines of every sample's measured update to the three TRUTHS."""
    cost = Quadratic()
    ideal = EqProp(nudging=Nudging.symmetric(_NEAR_0[field.dtype.itemsize]), cost=cost)

    def own_gradient(x: Array, y: Array, state: State) -> AbstractVectorField:
        """With respect to the PROGRAMMED weights, through what the chip makes of them."""
        _, back = jax.vjp(lambda p: chip.field(eqx.combine(p, field)).parameters(), field.parameters())
        ended = Solution(state, jnp.zeros(1, field.dtype), *[jnp.zeros(1, jnp.int32)] * 3)
        return back(ImplicitGradient(cost=cost).at(chip.field(field), x, y, ended).gradient)[0]

    def sample(x: Array, y: Array, free: PyTree, nudged: list[PyTree]) -> Array:
        x, y, free, nudged = jax.tree.map(lambda leaf: leaf[None], (x, y, free, nudged))
        displacement = nudging.displacement(free, nudged)
        measured = jax.tree.map(jnp.negative, pull_back(field, x, free, displacement))
        truths = (
            ideal.estimate(field, x, y, throw=False).gradient,
            own_gradient(x, y, free),
            ImplicitGradient(cost=cost).estimate(field, x, y, throw=False).gradient,
        )
        return jnp.stack([tree_dot(measured, true) / (tree_norm(measured) * tree_norm(true)) for true in truths])

    return jax.vmap(sample)(x, y, free, nudged)
