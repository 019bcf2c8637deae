"""Sampled signals, tasks of input and target signals, and recordings of simulations."""

from collections.abc import Sequence
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float

from ._arrays import as_scalar, cast, is_concrete, not_finite, real_numbers
from .results import AbstractPytreeResult

EXPLOSION_BOUND = 1e6  # a state beyond this has exploded
INTERPOLATIONS = ("linear", "hold")
TIME_FIRST, BATCH_FIRST = "time-batch", "batch-time"  # the first two axes of an array of several sequences


class Signal(eqx.Module):
    """A signal sampled at equal intervals from time 0, and continued between its samples.

    Make one with `Signal.sampled`, which takes a single sequence too.

    Attributes:
        values: the samples (time, batch, channels).
        step: the time between samples, in the unit of the time constants.
        interpolation: `linear` joins the samples by straight lines, as a piecewise linear source does; `hold` keeps
            each until the next. Beyond the last sample it stays at that.
    """

    values: Float[Array, "time batch channels"]
    step: Float[Array, ""] = eqx.field(converter=as_scalar)
    interpolation: str = eqx.field(static=True, default="linear")

    def __check_init__(self) -> None:
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(f"interpolation={self.interpolation!r}: choose one of {', '.join(INTERPOLATIONS)}")
        if is_concrete(self.step) and not 0 < float(self.step) < np.inf:
            raise ValueError(f"step={float(self.step):g}: give the time between samples, a number above 0")

    @classmethod
    def sampled(
        cls,
        values: ArrayLike,
        step: float | Array = 1.0,
        interpolation: str = "linear",
        *,
        missing: bool = False,
        axes: str | None = None,
    ) -> "Signal":
        """A signal from samples (time, channels), one sequence, or (time, batch, channels).

        Args:
            values: the samples, at least two.
            step: the time between them.
            interpolation: `linear` or `hold`.
            missing: whether NaN is allowed, and means that the sample is missing.
            axes: `time-batch`, or `batch-time` for an array (batch, time, channels), as other packages have it; needed
                where there are more sequences than samples, which would be taken for the other order.

        Raises:
            ValueError: for what holds no real numbers, another shape, fewer than two samples, NaN or infinity where it
                is not allowed, or axes that are not said where they are in doubt.
        """
        values = real_numbers("a signal", values)
        array = cast(values, jnp.result_type(float))
        if axes not in (None, TIME_FIRST, BATCH_FIRST):
            raise ValueError(f"axes={axes!r}: choose {TIME_FIRST} or {BATCH_FIRST}")
        if array.ndim == 3 and axes == BATCH_FIRST:
            array = array.swapaxes(0, 1)
        if array.ndim == 3 and axes is None and 1 < len(array) < array.shape[1]:
            one, other = array.shape[:2]
            raise ValueError(
                f"an array of shape {array.shape} holds {one} samples of {other} sequences, or {one} sequences of "
                f"{other} samples: say axes={TIME_FIRST!r} or axes={BATCH_FIRST!r}"
            )
        if array.ndim == 2 and array.size:
            array = array.reshape(len(array), 1, -1)
        if array.ndim != 3 or array.shape[0] < 2 or 0 in array.shape:
            raise ValueError(
                f"a signal of shape {np.shape(values)}: give (time, channels) or (time, batch, channels) with at least "
                "two samples"
            )
        if is_concrete(array):
            bad = np.isinf(array) if missing else ~np.isfinite(array)
            if count := int(np.any(bad, axis=(1, 2)).sum()):
                what, mend = not_finite(np.where(np.isnan(values), 0, values) if missing else values, array.dtype)
                raise ValueError(f"a signal holds {what} at {count} of its {len(array)} samples; {mend}")
        return cls(array, step, interpolation)

    @property
    def times(self) -> Float[Array, " time"]:
        """When the samples were taken."""
        return self.step * jnp.arange(len(self.values), dtype=self.values.dtype)

    @property
    def channels(self) -> int:
        """How many numbers a sample has."""
        return self.values.shape[2]

    def check_channels(self, inputs: int, system: str) -> None:
        """Refuses to drive a system with another number of inputs.

        Raises:
            ValueError: for another number of channels.
        """
        if self.channels != inputs:
            raise ValueError(f"the signal has {self.channels} channels and the {system} {inputs} inputs")

    def astype(self, dtype: jnp.dtype) -> "Signal":
        """The same in another precision."""
        return Signal(self.values.astype(dtype), self.step.astype(dtype), self.interpolation)

    def at(self, time: Float[Array, ""]) -> Float[Array, "batch channels"]:
        """The signal at any time; before 0 its first sample, after its end its last."""
        place = jnp.clip(time / self.step, 0, len(self.values) - 1)
        before = jnp.minimum(jnp.floor(place).astype(jnp.int32), len(self.values) - 1)
        if self.interpolation == "hold":
            return self.values[before]
        after = jnp.minimum(before + 1, len(self.values) - 1)
        return self.values[before] + (place - before) * (self.values[after] - self.values[before])


class Task(eqx.Module):
    """Input sequences and the target outputs at the same instants.

    The target of sample k is compared with the output when the network has reached sample k; the first is not scored,
    for there the network is in its initial state. Make one with `Task.of`, or with `Task.stack` from sequences of
    different lengths.

    Attributes:
        inputs: the inputs of the network (time, batch, inputs).
        targets: the target outputs (time, batch, outputs); NaN where one is missing.
        valid: which samples belong to a sequence, and which pad a shorter one (time, batch).
    """

    inputs: Signal
    targets: Float[Array, "time batch outputs"]
    valid: Bool[Array, "time batch"]

    @classmethod
    def of(
        cls,
        inputs: ArrayLike,
        targets: ArrayLike,
        step: float | Array = 1.0,
        interpolation: str = "linear",
        *,
        axes: str | None = None,
    ) -> "Task":
        """A task from inputs and targets, each (time, channels) or (time, batch, channels); NaN targets are missing.

        Arguments as for `Signal.sampled`.

        Raises:
            ValueError: for inputs and targets of different lengths or batches, for NaN in the inputs, for a task
                without any target, and as `Signal.sampled`.
        """
        drive = Signal.sampled(inputs, step, interpolation, axes=axes)
        target = Signal.sampled(targets, step, missing=True, axes=axes).values
        if drive.values.shape[:2] != target.shape[:2]:
            raise ValueError(
                f"the inputs have {drive.values.shape[0]} samples of {drive.values.shape[1]} sequences and the targets "
                f"{target.shape[0]} of {target.shape[1]}: give one target for every input sample (NaN where it is "
                "missing), and join sequences of different lengths by Task.stack"
            )
        if is_concrete(target) and not np.isfinite(np.asarray(target)[1:]).any():
            raise ValueError("all targets are missing after the first sample: there is nothing to learn from")
        return cls(drive, target, jnp.asarray(np.ones(target.shape[:2], bool)))

    @classmethod
    def stack(
        cls,
        inputs: Sequence[ArrayLike],
        targets: Sequence[ArrayLike],
        step: float | Array = 1.0,
        interpolation: str = "linear",
    ) -> "Task":
        """A task from sequences of any lengths, (time, channels) each, side by side.

        A shorter sequence is padded with its last input and with missing targets; nothing is learnt there.

        Raises:
            ValueError: for different numbers of inputs and targets, and for each pair as `Task.of`.
        """
        if len(inputs) != len(targets) or not inputs:
            raise ValueError(f"{len(inputs)} input sequences and {len(targets)} target sequences: give one for one")
        parts = [cls.of(x, y, step, interpolation) for x, y in zip(inputs, targets, strict=True)]
        if len({(part.inputs.channels, part.targets.shape[2]) for part in parts}) > 1:
            raise ValueError("sequences have different numbers of channels: give every one the same inputs and outputs")
        longest = max(len(part.targets) for part in parts)

        def side_by_side(arrays: list[Array], **fill: Any) -> Array:
            """Concatenated along the batch, each padded to the longest."""
            padded = [jnp.pad(a, [(0, longest - len(a))] + [(0, 0)] * (a.ndim - 1), **fill) for a in arrays]
            return jnp.concatenate(padded, axis=1)

        return cls(
            Signal(side_by_side([part.inputs.values for part in parts], mode="edge"), step, interpolation),
            side_by_side([part.targets for part in parts], constant_values=jnp.nan),
            side_by_side([part.valid for part in parts], constant_values=False),
        )

    @property
    def batch(self) -> int:
        """How many sequences."""
        return self.targets.shape[1]

    @property
    def outputs(self) -> int:
        """How many numbers a target has."""
        return self.targets.shape[2]

    def astype(self, dtype: jnp.dtype) -> "Task":
        """The same in another precision."""
        return Task(self.inputs.astype(dtype), self.targets.astype(dtype), self.valid)

    @property
    def scored(self) -> Bool[Array, "time batch outputs"]:
        """Which targets are known, and not at the first sample."""
        return jnp.isfinite(self.targets).at[0].set(False)

    def errors(self, outputs: Float[Array, "time batch outputs"]) -> Float[Array, "time batch outputs"]:
        """Output minus target; 0 at the first sample, and where the target is missing."""
        known = self.scored
        return jnp.where(known, outputs - jnp.where(known, self.targets, 0), 0)

    def mean_squared_error(self, outputs: Float[Array, "time batch outputs"]) -> Float[Array, ""]:
        """The mean of the squared errors over all scored targets."""
        return jnp.sum(self.errors(outputs) ** 2) / jnp.maximum(jnp.sum(self.scored), 1)


class Recording(AbstractPytreeResult):
    """The recording of a driven network: its states and outputs at the samples of the input.

    Attributes:
        times: the sample times (time,).
        states: of all neurons, output neurons first (time, batch, neurons): membrane voltages, a reservoir's states, or
            the filtered spikes of a liquid.
        outputs: the outputs (time, batch, outputs).
        carried: which of the states are read at later steps (neurons,); all by default. The others, the inner sums of a
            kernel network, may be large without anything growing.
    """

    times: Float[Array, " time"]
    states: Float[Array, "time batch neurons"]
    outputs: Float[Array, "time batch outputs"]
    carried: Bool[Array, " neurons"] | None = None
    stem: ClassVar[str] = "recording"

    def rows(self) -> list[dict[str, Any]]:
        """One row a sample and sequence: `time`, `sequence`, `output_0`, ..., `state_0`, ..."""
        both = np.concatenate([self.outputs, self.states], axis=2)
        k, n = self.outputs.shape[2], self.states.shape[2]
        names = [*(f"output_{i}" for i in range(k)), *(f"state_{i}" for i in range(n))]
        return [
            {"time": time, "sequence": b} | dict(zip(names, values, strict=True))
            for time, sample in zip(np.asarray(self.times).tolist(), both.tolist(), strict=True)
            for b, values in enumerate(sample)
        ]

    def summary(self) -> dict[str, Any]:
        samples, sequences, neurons = self.states.shape
        return {
            "samples": samples,
            "sequences": sequences,
            "neurons": neurons,
            "outputs": self.outputs.shape[2],
            "exploded": int(np.sum(self.exploded)),
        }

    @property
    def failure(self) -> str | None:
        return self._explosion()

    @property
    def exploded(self) -> Bool[Array, " batch"]:
        """Which sequences hold NaN or a carried state beyond a million (batch,)."""
        return beyond(self.states, self.carried)

    def check(self) -> None:
        """Refuses a run that exploded; while JAX traces nothing is checked.

        Raises:
            ExplodedError: if a sequence exploded.
        """
        if is_concrete(self) and (message := self._explosion()):
            raise ExplodedError(message)

    def _explosion(self) -> str | None:
        if not (count := int(np.sum(self.exploded))):
            return None
        return (
            f"{count} of {len(self.exploded)} sequences exploded (a state beyond {EXPLOSION_BOUND:g}, or NaN): lower "
            "the gain or the input, use an activation that saturates, or sample more finely"
        )


@jax.jit  # one pass over what may be large
def beyond(
    states: Float[Array, "time batch neurons"], carried: Bool[Array, " neurons"] | None
) -> Bool[Array, " batch"]:
    """Which sequences hold NaN or a carried state beyond a million; all states are carried by default."""
    within = jnp.abs(states) < EXPLOSION_BOUND
    sound = within if carried is None else within | (~carried & ~jnp.isnan(states))
    return ~jnp.all(sound, axis=(0, 2))


class ExplodedError(RuntimeError):
    """A driven network's state grew without bound; the message says in how many sequences, and what to do."""
