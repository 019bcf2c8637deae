"""The circuit as data: what is built for ONE sample, in dimensionless units and without a word of SPICE."""

import abc
import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int


@dataclasses.dataclass(frozen=True)
class ScheduleSegment:
    """A stretch of the transient with an influence parameter that is constant, or oscillates.

    Attributes:
        duration: in state-time units (multiples of a time constant of 1).
        beta: the influence parameter during it; 0 is a free phase.
        sample: which of the circuit's samples is clamped.
        omega: angular frequency in radians a time unit of an influence parameter beta cos(omega t), t from the window's
            beginning; 0 for a constant one.
    """

    duration: float
    beta: float = 0.0
    sample: int = 0
    omega: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.duration) and self.duration > 0):
            raise ValueError(f"duration={self.duration!r} of a phase must be a positive, finite number")
        if not math.isfinite(self.beta):
            raise ValueError(f"beta={self.beta!r} must be a finite number")
        if self.sample < 0:
            raise ValueError(f"sample={self.sample} must be the number of a sample, from 0")
        if not 0 <= self.omega < math.inf:
            raise ValueError(f"omega={self.omega!r} must be a finite angular frequency of at least 0")


def schedule(
    free_time: float,
    nudged_time: float,
    betas: Sequence[float],
    return_time: float | None = None,
    *,
    samples: int = 1,
) -> tuple[ScheduleSegment, ...]:
    """The free phase, then every nudged phase, with a way back to the free state between any two of them.

    For betas (b, -b): free, +b, free, -b. The odd windows are the nudged ones. Several samples follow one another,
    each with all these windows; a free phase then starts from where the sample before ended.

    Args:
        free_time: duration of the free phase.
        nudged_time: duration of every nudged phase.
        betas: influence parameters of the nudged phases; none gives the free phase alone.
        return_time: duration of the ways back, `nudged_time` by default.
        samples: how many samples are clamped in sequence.

    Raises:
        ValueError: for durations, betas or a number of samples without meaning.
    """
    if samples < 1:
        raise ValueError(f"samples={samples}: clamp at least one sample")
    windows = []
    for sample in range(samples):
        windows.append(ScheduleSegment(free_time, 0.0, sample))
        for i, beta in enumerate(betas):
            if i:
                windows.append(ScheduleSegment(nudged_time if return_time is None else return_time, 0.0, sample))
            windows.append(ScheduleSegment(nudged_time, beta, sample))
    return tuple(windows)


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
    """What one sample clamps.

    Attributes:
        drive: folded input and bias W_in x + b (N,), or the bias alone where the inputs are explicit.
        target: y (K,), or None where nothing nudges.
        input_rates: firing rates of explicit inputs (M,); empty where they are folded.
    """

    drive: Float[np.ndarray, " neurons"]
    target: Float[np.ndarray, " outputs"] | None = None
    input_rates: Float[np.ndarray, " inputs"] = dataclasses.field(default_factory=lambda: np.zeros(0))


@dataclasses.dataclass(frozen=True, eq=False)
class Synapses:
    """Synapses as a list: `weight[k]` is the strength from source `pre[k]` to neuron `post[k]`.

    Attributes:
        post: the neuron that receives the current.
        pre: the source: a neuron or, for input synapses, an input.
        weight: the strength; never 0.
    """

    post: Int[np.ndarray, " synapses"]
    pre: Int[np.ndarray, " synapses"]
    weight: Float[np.ndarray, " synapses"]

    @classmethod
    def from_matrix(cls, matrix: Float[np.ndarray, "post pre"]) -> "Synapses":
        """One synapse for every entry that is not 0."""
        post, pre = np.nonzero(matrix)
        return cls(post, pre, matrix[post, pre])

    def __len__(self) -> int:
        return len(self.weight)

    def __iter__(self) -> Iterator[tuple[int, int, float]]:
        """(post, pre, weight) of every synapse, as Python's own numbers."""
        return zip(self.post.tolist(), self.pre.tolist(), self.weight.tolist(), strict=True)


@dataclasses.dataclass(frozen=True, eq=False)
class NoiseSource:
    """Currents that nobody asked for, piecewise linear in time.

    Attributes:
        times: of the corners (corners,), from 0, strictly increasing, in state-time units.
        drive: what is added to every neuron's drive at the corners (corners, neurons).
    """

    times: Float[np.ndarray, " corners"]
    drive: Float[np.ndarray, "corners neurons"]


_NONE = Synapses(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))


class AbstractCircuit(abc.ABC):
    """What every circuit says of itself to whoever writes it down, runs it and measures it.

    Attributes:
        groups: how many state variables each leaf of the state has, in their order.
        tau: time constants (N,), positive.
        start: the state at time 0 (N,).
        from_operating_point: whether the simulator solves for the first equilibrium instead.
        schedule: the windows, one after another.
        noise: what is added to the drives; None for a quiet circuit.
    """

    groups: tuple[int, ...]
    tau: Float[np.ndarray, " neurons"]
    start: Float[np.ndarray, " neurons"]
    from_operating_point: bool
    schedule: tuple[ScheduleSegment, ...]
    noise: NoiseSource | None

    @property
    @abc.abstractmethod
    def samples(self) -> Sequence[Any]:
        """All clamped samples, in the order of their numbers."""

    @property
    @abc.abstractmethod
    def limits(self) -> tuple[Float[np.ndarray, " neurons"], Float[np.ndarray, " neurons"]] | None:
        """The interval that each state is clamped to; None for plain dynamics."""

    @property
    def leaves(self) -> tuple[str, ...]:
        """What the leaves of the state are called, where they have names."""
        return ()

    @property
    def n_neurons(self) -> int:
        return len(self.tau)

    @property
    def oscillating(self) -> int | None:
        """The window whose nudge oscillates."""
        return next((k for k, window in enumerate(self.schedule) if window.beta and window.omega), None)

    @property
    def total_time(self) -> float:
        """The duration of all windows, in state-time units."""
        return math.fsum(window.duration for window in self.schedule)


@dataclasses.dataclass(frozen=True, eq=False)
class Circuit(AbstractCircuit):
    r"""A network of leaky integrators with clamped samples: $\tau_i \dot s_i = \sum_j W_{ij}\rho(s_j) + d_i - g_i s_i$.

    The first `len(target)` neurons are the output; during a window with influence parameter beta they also feel
    $\beta n_k (y_k - s_k)$. All g and n are 1 but on a chip whose devices differ. Neurons are in the order of
    `flatten_state`: group by group, the output first.

    Attributes:
        activation: the name of rho, which is the name of its subcircuit.
        bounds: the interval states are clamped to, or None for the plain dynamics.
        groups: how many neurons each layer has, from the output back (one group for a graph).
        tau: time constants (N,), positive.
        drive: folded input and bias W_in x + b (N,), or the bias alone where the inputs are explicit.
        synapses: among the neurons.
        start: the state at time 0 (N,).
        from_operating_point: whether the transient starts from the free equilibrium that the simulator finds by
            itself, instead of from `start`. Only for networks that have no other one, see `compile_circuit`.
        target: y (K,), or None where nothing nudges.
        schedule: the windows, one after another.
        input_rates: firing rates of explicit inputs (M,); empty where they are folded.
        input_synapses: from the explicit inputs.
        transposing: whether the nudged windows also have the transposed synapses of AEP, which act on the deviation
            from the free state that was held when beta rose.
        following: the samples after the first one, which `drive`, `target` and `input_rates` describe.
        leaks: g, the conductance of every leak over the scaling's (N,), positive; None where all are 1.
        nudge_gains: n, the strength of every nudge over the nominal (K,), positive; None where all are 1.
        noise: what is added to the drives; None for a quiet circuit.

    Raises:
        ValueError: for anything that is not finite, and for shapes or indices that do not fit each other.
    """

    activation: str
    bounds: tuple[float, float] | None
    groups: tuple[int, ...]
    tau: Float[np.ndarray, " neurons"]
    drive: Float[np.ndarray, " neurons"]
    synapses: Synapses
    start: Float[np.ndarray, " neurons"]
    target: Float[np.ndarray, " outputs"] | None
    schedule: tuple[ScheduleSegment, ...]
    input_rates: Float[np.ndarray, " inputs"] = dataclasses.field(default_factory=lambda: np.zeros(0))
    input_synapses: Synapses = _NONE
    following: tuple[Sample, ...] = ()
    transposing: bool = False
    from_operating_point: bool = False
    leaks: Float[np.ndarray, " neurons"] | None = None
    nudge_gains: Float[np.ndarray, " outputs"] | None = None
    noise: NoiseSource | None = None

    @property
    def samples(self) -> tuple[Sample, ...]:
        """All clamped samples, in the order of their numbers."""
        return (Sample(self.drive, self.target, self.input_rates), *self.following)

    @property
    def limits(self) -> tuple[Float[np.ndarray, " neurons"], Float[np.ndarray, " neurons"]] | None:
        if self.bounds is None:
            return None
        low, high = self.bounds
        return np.full(self.n_neurons, low), np.full(self.n_neurons, high)

    @property
    def _outputs(self) -> int:
        return 0 if self.target is None else len(self.target)

    def __post_init__(self) -> None:
        self._check_finite()
        n = self.n_neurons
        if not (len(self.drive) == len(self.start) == sum(self.groups) == n and n > 0):
            raise ValueError(
                f"a circuit of {n} neurons was given {len(self.drive)} drives, {len(self.start)} initial states "
                f"and groups of {self.groups}; all must describe the same neurons"
            )
        for synapses, sources in ((self.synapses, n), (self.input_synapses, len(self.input_rates))):
            if len(synapses) and not (
                0 <= synapses.post.min() <= synapses.post.max() < n
                and 0 <= synapses.pre.min() <= synapses.pre.max() < sources
            ):
                raise ValueError("a synapse joins neurons or inputs that this circuit does not have")
        for what, values, count in (("leaks", self.leaks, n), ("nudge gains", self.nudge_gains, self._outputs)):
            if values is not None and not (values.shape == (count,) and np.all(values > 0)):
                raise ValueError(f"the {what} of this circuit are {count} positive numbers, one each")
        if np.any(self.tau <= 0):
            raise ValueError("every time constant must be positive: a neuron's capacitance is tau over its leak")
        if not self.schedule:
            raise ValueError("the schedule is empty: give at least one window, the free phase")
        if self.from_operating_point and self.schedule[0].beta:
            raise ValueError("the operating point is that of the first window, which must be a free phase (beta = 0)")
        if self.target is None and any(window.beta for window in self.schedule):
            raise ValueError("the schedule nudges, but there is no target to nudge towards; give y")
        if self.oscillating is not None and sum(window.beta != 0 for window in self.schedule) != 1:
            raise ValueError(
                "a nudge that oscillates is the only one of its circuit: give others circuits of their own"
            )
        if self.target is not None and len(self.target) > n:
            raise ValueError(f"there are {len(self.target)} targets for {n} neurons; give at most one a neuron")
        self._check_samples()

    def _check_samples(self) -> None:
        def shapes(sample: Sample) -> tuple[object, ...]:
            target = sample.target
            return sample.drive.shape, None if target is None else target.shape, sample.input_rates.shape

        if any(shapes(sample) != shapes(self.samples[0]) for sample in self.following):
            raise ValueError("all samples of a circuit need drives, targets and input rates of the same shapes")
        last = max(window.sample for window in self.schedule)
        if last >= len(self.samples):
            raise ValueError(f"the schedule clamps sample {last}, but the circuit has {len(self.samples)}")

    def _check_finite(self) -> None:
        samples = self.samples
        arrays = {
            "the time constants": self.tau,
            "the biases or the folded input": np.concatenate([sample.drive for sample in samples]),
            "the weights": self.synapses.weight,
            "the initial state": self.start,
            "the target": np.concatenate([np.zeros(0) if s.target is None else s.target for s in samples]),
            "the input": np.concatenate([sample.input_rates for sample in samples]),
            "the input weights": self.input_synapses.weight,
            "the leaks": np.zeros(0) if self.leaks is None else self.leaks,
            "the nudge gains": np.zeros(0) if self.nudge_gains is None else self.nudge_gains,
            "the noise": np.zeros(0) if self.noise is None else self.noise.drive,
        }
        for what, values in arrays.items():
            bad = int(np.sum(~np.isfinite(values)))
            if bad:
                raise ValueError(f"{what} hold NaN or infinity in {bad} places; no circuit can be built from that")
