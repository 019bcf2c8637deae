"""How well a circuit's update points: the update that it makes, against the ones that it should make."""

import collections
import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, PyTree

from .._arrays import checked_pair
from .._compilation import compiled
from ..costs import Quadratic
from ..learning.base import amplified, highest_verdict, pull_back, read_displacement, tree_cosine
from ..learning.eqprop import EqProp
from ..learning.implicit import ImplicitGradient
from ..results import AbstractResult, known
from ..substrates.nudging import Nudging
from ..substrates.solution import Solution, Verdict
from ..vector_fields import AbstractVectorField
from ..vector_fields.base import State
from .circuit_rules import true_gradient
from .conditions import Conditions
from .measure import Phase
from .ngspice import AbstractEngine, Batch
from .noise import Noise
from .sensitivity import CircuitGradient
from .substrate import NgspiceSubstrate
from .variation import AbstractChip, Chip

COSINES = ("cosine_to_ideal_eqprop", "cosine_to_chip_gradient", "cosine_to_nominal_gradient")
_NEAR_0 = {4: 0.03, 8: 1e-3}  # the beta of ideal equilibrium propagation, by bytes a number


@dataclasses.dataclass(frozen=True, repr=False)
class Fidelity(AbstractResult):
    """The updates that one circuit makes, over the samples that ngspice could simulate.

    Cosines are means over the samples, each by itself, as in `align`: a sample whose error is near 0 has an update
    without much of a direction, and counts as much as any other. Samples without any update are left out, and so are
    those whose phases are not all at rest, in every number. Only where no sample is at rest are the numbers of what
    moves given, to look at: `verdict` says so.

    Attributes:
        cosine_to_ideal_eqprop: of the update with that of ideal equilibrium propagation: the nominal ODE, beta near 0.
        cosine_to_chip_gradient: with the true gradient at the free state as measured: of the circuit itself, by
            `CircuitGradient`, where its devices are not the field's equations; of the network as its chip is where they
            are, and where a level does not say what programs its weights. NaN where ngspice found no operating point at
            the free state.
        cosine_to_nominal_gradient: with the true gradient of the nominal network.
        lowest_cosine: the lowest of the samples' cosines to the nominal gradient.
        settling_free: time until the free phase stays within 1e-3 of its end, in time units, the slowest sample's.
        settling_nudged: the same for the nudged phases.
        joules_inference: what the supplies deliver in a free phase, the samples' mean; NaN where the level has none.
        joules_update: the same for all phases of a sample together.
        settled: the share of the samples whose phases are all at rest at their ends.
        verdict: the name of the gravest `Verdict` of any sample's phases; `converged` if all are at rest.
        failed: how many samples ngspice gave nothing for.
    """

    stem: ClassVar[str] = "update_fidelity"
    cosine_to_ideal_eqprop: float
    cosine_to_chip_gradient: float
    cosine_to_nominal_gradient: float
    lowest_cosine: float
    settling_free: float
    settling_nudged: float
    joules_inference: float
    joules_update: float
    settled: float
    verdict: str
    failed: int

    def rows(self) -> list[dict[str, Any]]:
        return [dataclasses.asdict(self)]

    def summary(self) -> dict[str, Any]:
        stated = {"verdict": self.verdict, "failed": self.failed}
        return {name: known(getattr(self, name)) for name in MEASURES} | stated

    @property
    def failure(self) -> str | None:
        return failure_of([dataclasses.asdict(self)])


MEASURES = tuple(field.name for field in dataclasses.fields(Fidelity) if field.name not in ("verdict", "failed"))


def gravest_of(runs: Sequence[Mapping[str, Any]]) -> str:
    """The name of the gravest verdict of some runs, each with what `Fidelity` says."""
    return max((Verdict[str(run["verdict"])] for run in runs), default=Verdict.converged).name


def failure_of(runs: Sequence[Mapping[str, Any]]) -> str | None:
    """One sentence where ngspice failed or phases did not come to rest in some runs, each with what `Fidelity` says."""
    reasons = []
    if failed := sum(int(run["failed"]) for run in runs):
        reasons.append(f"ngspice gave no result for {failed} samples: the other samples' numbers stand")
    unsettled = collections.Counter(
        run["verdict"] for run in runs if run["verdict"] not in (Verdict.converged.name, Verdict.simulator_failed.name)
    )
    if unsettled:
        verdicts = ", ".join(f"{count} {verdict}" for verdict, count in unsettled.items())
        reasons.append(
            f"{unsettled.total()} of {len(runs)} circuits were not at rest at the end of a phase ({verdicts}) and do "
            "not pass: give the phases more time, or the network a lower gain"
        )
    return "; ".join(reasons) or None


def update_fidelity(
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
    """Runs the phases of every sample in ngspice on one chip, and compares the updates with what they should be.

    Args:
        field: the network.
        x: the inputs' firing rates (batch, inputs).
        y: the targets (batch, outputs).
        conditions: what the circuit is like.
        chip: the chip's number: chip k has the key fold_in(key(seed), k); its noise and transistors come from it too.
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
        level=conditions.level_of(key),
        free_time=conditions.time,
        nudged_time=conditions.time if conditions.nudged_time is None else conditions.nudged_time,
        tol=conditions.rest,
        chip=drawn,
        noise=noise,
        workers=workers,
    )
    nudging = conditions.nudging()
    nudges = nudging.nudges(Quadratic(), y)
    measured = substrate.transients(field, x, nudges, throw=False)
    free, nudged = substrate.solutions(field, x, nudges, measured)
    batch = _Measured(x, y, free.state, [solution.state for solution in nudged])
    # What noise does to an update is what is measured; without it, an update that is made of rounding is no update.
    verdicts = _resolved(nudging, free, nudged) if noise is None else highest_verdict(free, *nudged)
    own = _own_gradients(substrate, field, batch, free)
    cosines = np.asarray(_cosines(field, drawn, nudging, batch, own), np.float64)
    return _summarised(cosines, measured.samples, np.asarray(verdicts))


def _own_gradients(
    substrate: NgspiceSubstrate, field: AbstractVectorField, batch: "_Measured", free: Solution
) -> AbstractVectorField | None:
    """The circuit's own gradients, one a sample; None where the ODE's is theirs, or the only one there is."""
    rule = true_gradient(EqProp(substrate=substrate))
    if not isinstance(rule, CircuitGradient):
        return None
    rows = [jax.tree.map(lambda leaf, k=k: leaf[k : k + 1] if leaf.ndim else leaf, free) for k in range(len(batch.x))]
    try:
        found = [rule.at(field, batch.x[k : k + 1], batch.y[k : k + 1], row).gradient for k, row in enumerate(rows)]
    except ValueError:  # a level, or a part of the user's own, that does not say what programs its weights
        return None
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *found)


def _summarised(
    cosines: Float[np.ndarray, "batch truth"],
    measured: tuple[tuple[Phase, ...] | None, ...],
    gravest: Int[np.ndarray, " batch"],
) -> Fidelity:
    at_rest = gravest == Verdict.converged
    judged: dict[str, Any] = {
        "settled": float(np.mean(at_rest)),
        "verdict": Verdict(int(gravest.max())).name,
        "failed": sum(phases is None for phases in measured),
    }
    counted = at_rest if at_rest.any() else np.ones(len(measured), bool)
    simulated = [phases for phases, counts in zip(measured, counted, strict=True) if counts and phases is not None]
    if not simulated:
        return Fidelity(*[math.nan] * 8, **judged)  # pyright: ignore[reportArgumentType]
    energies = [[math.nan if p.joules is None else p.joules for p in phases] for phases in simulated]
    defined = [column[counted & np.isfinite(column)] for column in cosines.T]
    means = {name: float(d.mean()) if len(d) else math.nan for name, d in zip(COSINES, defined, strict=True)}
    return Fidelity(
        **means,
        lowest_cosine=float(defined[2].min(initial=means["cosine_to_nominal_gradient"])),
        settling_free=max(phases[0].settling_time() for phases in simulated),
        settling_nudged=max(phase.settling_time() for phases in simulated for phase in phases[1::2]),
        joules_inference=float(np.mean([phases[0] for phases in energies])),
        joules_update=float(np.mean([sum(phases) for phases in energies])),
        **judged,
    )


class _Measured(NamedTuple):
    """Samples, and the states that the circuit settled in for them."""

    x: Float[Array, "batch inputs"]
    y: Float[Array, "batch outputs"]
    free: State
    nudged: list[State]


@compiled
def _resolved(nudging: Nudging, free: Solution, nudged: Sequence[Solution]) -> Int[Array, " batch"]:
    return read_displacement(nudging, free, nudged)[2]


@compiled
def _cosines(
    field: AbstractVectorField, chip: AbstractChip, nudging: Nudging, batch: _Measured, own: AbstractVectorField | None
) -> Float[Array, "batch truths"]:
    """The cosines of every sample's measured update to the three truths, in the order of COSINES; the circuit's own
    gradients are at hand, or are the chip's by the ODE.
    """
    cost = Quadratic()
    ideal = EqProp(nudging=Nudging.symmetric(_NEAR_0[field.dtype.itemsize]), cost=cost)

    def chip_gradient(x: Array, y: Array, state: State) -> AbstractVectorField:
        """With respect to the PROGRAMMED weights, through what the chip makes of them."""
        _, back = jax.vjp(lambda p: chip.field(eqx.combine(p, field)).parameters(), field.parameters())
        ended = Solution(state, jnp.zeros(1, field.dtype), *[jnp.zeros(1, jnp.int32)] * 3)
        return back(ImplicitGradient(cost=cost).at(chip.field(field), x, y, ended).gradient)[0]

    def sample(one: PyTree, own: PyTree) -> Array:
        x, y, free, nudged = jax.tree.map(lambda leaf: leaf[None], one)
        displacement = amplified(field, nudging.displacement(free, nudged))
        measured = jax.tree.map(jnp.negative, pull_back(field, x, free, displacement))
        nominal = ideal.estimate(field, x, y, throw=False)
        true = ImplicitGradient(cost=cost).at(field, x, y, nominal.free)
        truths = (nominal.gradient, chip_gradient(x, y, free) if own is None else own, true.gradient)
        return jnp.stack([tree_cosine(measured, true) for true in truths])

    return jax.vmap(sample)(batch, own)
