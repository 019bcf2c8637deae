"""Under which conditions a circuit makes its updates, and the parameters of these conditions that can be swept."""

import dataclasses
import math
from collections.abc import Callable, Mapping

import jax
from jaxtyping import Array, Key

from .._arrays import check_positive
from ..substrates.nudging import Nudging
from ..substrates.solution import as_tolerance
from .levels import AbstractLevel, Behavioural, OpAmp, Transistor
from .variation import Variation

_QUIET = 4.0  # standard deviations that a residual may owe to the noise


@dataclasses.dataclass(frozen=True)
class Conditions:
    """Under which conditions a circuit makes its updates.

    Attributes:
        level: how it is built.
        variation: how much the devices of its chips differ.
        foundry_mismatch: whether the transistors of its chips differ as their foundry says, see `Process.fabricated`.
        noise: rms of the noise in every neuron's drive, state units; 0 for quiet circuits.
        noise_interval: between the corners of the noise, in time units.
        beta: the influence parameter.
        symmetric: whether both beta and -beta are nudged with, or beta alone.
        time: duration of the free phase, and of nudged ones too if `nudged_time` is None; in time units.
        nudged_time: duration of a nudged phase.
        tol: the residual up to which a phase counts as at rest; under noise, see `rest`.

    Raises:
        ValueError: for a noise, a beta, a time or a tolerance without meaning, and for a foundry's mismatch of a level
            that has none of its transistors.
    """

    level: AbstractLevel = dataclasses.field(default_factory=Behavioural)
    variation: Variation = dataclasses.field(default_factory=Variation)
    foundry_mismatch: bool = False
    noise: float = 0.0
    noise_interval: float = 0.25
    beta: float = 0.1
    symmetric: bool = True
    time: float = 40.0
    nudged_time: float | None = None
    tol: float = 1e-4

    def __post_init__(self) -> None:
        if not 0 <= self.noise < math.inf:
            raise ValueError(f"noise={self.noise!r}: give a finite rms of at least 0, in state units")
        for name, time in (("time", self.time), ("nudged_time", self.nudged_time)):
            if time is not None and not 0 < time < math.inf:
                raise ValueError(f"{name}={time!r}: give a phase a positive, finite duration")
        check_positive(self, "noise_interval")
        as_tolerance(self.tol)
        self.nudging()
        if self.foundry_mismatch:
            self.level_of(jax.random.key(0))

    def level_of(self, key: Key[Array, ""]) -> AbstractLevel:
        """The level of the chip that has this key: with transistors of its own where a foundry's mismatch is drawn."""
        if not self.foundry_mismatch:
            return self.level
        if not isinstance(self.level, Transistor):
            raise ValueError(
                f"a foundry's mismatch is that of its transistors, and the {self.level.name} level has none"
            )
        return dataclasses.replace(self.level, process=self.level.process.fabricated(jax.random.fold_in(key, 2)))

    @property
    def rest(self) -> float:
        """The residual up to which a phase counts as at rest: `tol`, and four times the noise, which never rests."""
        return self.tol + _QUIET * self.noise

    def nudging(self) -> Nudging:
        """Which betas."""
        return (Nudging.symmetric if self.symmetric else Nudging.one_sided)(self.beta)


@dataclasses.dataclass(frozen=True)
class SweptParameter:
    """A parameter of the conditions that is swept while the others stay.

    Attributes:
        title: what it is, with its unit.
        values: its values, in increasing order.
        apply: the conditions with the parameter at a value.
        random: whether chips differ at one value, so that one chip says little.
        linear: whether its values belong on a linear axis.
        unsettling: whether its values may leave phases unsettled, which is what the sweep is to show: it fails only if
            no run came to rest.
    """

    title: str
    values: tuple[float, ...]
    apply: Callable[[Conditions, float], Conditions]
    random: bool = False
    linear: bool = False
    unsettling: bool = False


def _varied(conditions: Conditions, **spreads: float | int) -> Conditions:
    return dataclasses.replace(conditions, variation=dataclasses.replace(conditions.variation, **spreads))


def _whole(value: float) -> int:
    if not float(value).is_integer():
        raise ValueError(f"bits={value!r}: give a whole number")
    return int(value)


SWEPT_PARAMETERS: Mapping[str, SweptParameter] = {
    "beta": SweptParameter(
        "influence parameter β", (0.01, 0.03, 0.1, 0.3, 0.6), lambda c, value: dataclasses.replace(c, beta=value)
    ),
    "time": SweptParameter(
        "duration of every phase (τ)",
        (1.0, 2.0, 4.0, 8.0, 16.0, 32.0),
        lambda c, v: dataclasses.replace(c, time=v, nudged_time=None),
        unsettling=True,
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
        lambda c, value: _varied(c, bits=_whole(value)),
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
