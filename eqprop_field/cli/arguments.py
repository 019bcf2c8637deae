"""How options that are lists are written on the command line, and the options that describe a network."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from tyro.constructors import PrimitiveConstructorSpec

from .command import Refused
from .numbers import OF_RECIPE, Gain, OptionalFloat, Positive

if TYPE_CHECKING:
    from ..substrates import Nudging
    from ..training import SymmetryRepair
    from ..vector_fields import AbstractVectorField


_MOST_IN_A_SWEEP = 1000


def _one_word(parse: Callable[[str], Any], write: Callable[[Any], str], metavar: str) -> PrimitiveConstructorSpec[Any]:
    """An option whose value is one word, read by `parse`."""
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=lambda words: parse(words[0]),
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=lambda value: [write(value)],
    )


def _sizes(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"{text!r} is no list of layers: write whole numbers, input first, such as 64,32,10") from None


def _convolutions(text: str) -> tuple[tuple[int, int, int], ...]:
    """`CHANNELSxKERNEL` or `CHANNELSxKERNEL/POOL`, joined by commas."""
    try:
        layers = []
        for part in text.split(","):
            maps, _, pool = part.partition("/")
            channels, kernel = maps.split("x")
            layers.append((int(channels), int(kernel), int(pool or 1)))
    except ValueError:
        raise ValueError(
            f"{text!r} is no list of convolutions: write CHANNELSxKERNEL/POOL, such as 32x5/2,64x5/2"
        ) from None
    return tuple(layers)


def _pairs(text: str) -> tuple[tuple[int, int], ...]:
    """`I-J`, joined by commas."""
    try:
        return tuple((int(i), int(j)) for i, j in (part.split("-") for part in text.split(",")))
    except ValueError:
        raise ValueError(f"{text!r} is no list of pairs of layers: write I-J, such as 0-2,1-3") from None


def _numbers(of_what: str) -> Callable[[str], tuple[float, ...]]:
    def parse(text: str) -> tuple[float, ...]:
        try:
            return tuple(float(part) for part in text.split(","))
        except ValueError:
            raise ValueError(f"{text!r} is no list of {of_what}: write numbers joined by commas") from None

    return parse


def _times(text: str) -> tuple[float, float]:
    """`FREE,NUDGED`, or one number for both."""
    try:
        free, _, nudged = text.partition(",")
        times = float(free), float(nudged or free)
        if not all(0 < time < math.inf for time in times):
            raise ValueError
    except ValueError:
        raise ValueError(
            f"{text!r} is no duration of phases: write FREE,NUDGED in time constants above 0, such as 40,30"
        ) from None
    return times


def _names(text: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    if not names:
        raise ValueError("give at least one name, or several joined by commas")
    return names


def _sweep(low: float, high: float, otherwise: str) -> Callable[[str], tuple[float, ...]]:
    """`FIRST:LAST:COUNT`, or one number, within these limits."""

    def parse(text: str) -> tuple[float, ...]:
        try:
            first_said, last_said, count_said = text.split(":") if ":" in text else (text, text, "1")
            first, last, count = float(first_said), float(last_said), int(count_said)
            if not (low <= first <= last <= high and 1 <= count <= _MOST_IN_A_SWEEP):
                raise ValueError
        except ValueError:
            raise ValueError(f"{text!r} is no sweep of {otherwise}") from None
        if count == 1:
            return (first,)
        return tuple(round(first + (last - first) * k / (count - 1), 12) for k in range(count))

    return parse


def _written(sweep: tuple[float, ...]) -> str:
    return f"{sweep[0]:g}:{sweep[-1]:g}:{len(sweep)}" if sweep else ""


_rates, _betas = _numbers("learning rates"), _numbers("influence parameters")
_symmetries = _sweep(-1.0, 1.0, "symmetries: write FIRST:LAST:COUNT within -1 and 1, such as -1:1:11")
_gains = _sweep(0.0, 1e6, "gains: write FIRST:LAST:COUNT of numbers of at least 0, such as 0.5:4:8")
_sizes_spec = _one_word(_sizes, lambda v: ",".join(map(str, v)), "N,N,...")
Sizes = Annotated[tuple[int, ...], _sizes_spec]
OptionalSizes = Annotated[tuple[int, ...], _sizes_spec, tyro.conf.arg(help_behavior_hint="")]
Convolutions = Annotated[
    tuple[tuple[int, int, int], ...],
    _one_word(_convolutions, lambda v: ",".join(f"{c}x{k}/{p}" for c, k, p in v), "32x5/2,..."),
    tyro.conf.arg(help_behavior_hint=""),
]
Skips = Annotated[
    tuple[tuple[int, int], ...],
    _one_word(_pairs, lambda v: ",".join(f"{i}-{j}" for i, j in v), "I-J,..."),
    tyro.conf.arg(help_behavior_hint=""),
]
Layers = Annotated[
    tuple[int, ...], _one_word(_sizes, lambda v: ",".join(map(str, v)), "I,..."), tyro.conf.arg(help_behavior_hint="")
]
NetworkFile = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="NET")]
OptionalNetworkFile = Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="NET", help_behavior_hint="")]
OptionalFile = Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")]
Count = Annotated[int, tyro.conf.arg(metavar="N", help_behavior_hint="")]  # 0 where it is left away
Rates = Annotated[tuple[float, ...], _one_word(_rates, lambda v: ",".join(map(str, v)), "RATE,..."), OF_RECIPE]
Betas = Annotated[tuple[float, ...], _one_word(_betas, lambda v: ",".join(f"{one:g}" for one in v), "BETA,...")]
Numbers = Annotated[
    tuple[float, ...],
    _one_word(_numbers("values"), lambda v: ",".join(f"{one:g}" for one in v), "VALUE,..."),
    tyro.conf.arg(help_behavior_hint=""),
]
Times = Annotated[
    tuple[float, float],
    _one_word(_times, lambda v: f"{v[0]:g},{v[1]:g}" if v[0] != v[1] else f"{v[0]:g}", "FREE,NUDGED"),
]
ChosenTimes = Annotated[
    tuple[float, ...],
    _one_word(_times, lambda v: ",".join(f"{one:g}" for one in v), "FREE,NUDGED"),
    tyro.conf.arg(help_behavior_hint="(default: chosen from the ODE)"),
]
Names = Annotated[tuple[str, ...], _one_word(_names, ",".join, "NAME,...")]
Sweep = Annotated[tuple[float, ...], _one_word(_symmetries, _written, "FIRST:LAST:COUNT")]
OptionalSweep = Annotated[Sweep, tyro.conf.arg(help_behavior_hint="")]
Gains = Annotated[tuple[float, ...], _one_word(_gains, _written, "FIRST:LAST:COUNT")]


@dataclasses.dataclass(frozen=True, kw_only=True)
class NudgeOptions:
    """How strongly the output neurons are nudged, and to which sides of beta = 0."""

    beta: float = 0.1
    """Influence parameter: not 0, and between -1 and 1 (above -1 for one-sided nudging; inf holds the outputs)."""
    nudging: Literal["one-sided", "symmetric"] = "one-sided"
    """One nudged phase at beta, or two at beta and -beta, whose error is O(beta^2)."""

    def build(self) -> "Nudging":
        """The nudging.

        Raises:
            ValueError: for a beta without meaning.
        """
        from ..substrates import Nudging

        return (Nudging.symmetric if self.nudging == "symmetric" else Nudging.one_sided)(self.beta)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Phases:
    """What a command runs: a network, its samples, and what nudges them."""

    net: NetworkFile
    """The network file."""
    input: Path
    """Firing rates of the input neurons, (batch, inputs): a .npy, .npz[:NAME] or .csv file, or - for CSV on stdin."""
    target: Path
    """Target states of the output neurons, (batch, outputs), likewise."""
    nudge: NudgeOptions = dataclasses.field(default_factory=NudgeOptions)
    cost: str = "quadratic"
    """What nudges: quadratic, matching, cross-entropy, huber, margin, or yours of an --import, as module:attribute."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecipeNudge:
    """The same where a recipe has a beta; for rules whose name or method does not say how they nudge."""

    beta: OptionalFloat = None
    """Influence parameter."""
    nudging: Annotated[Literal["one-sided", "symmetric"] | None, OF_RECIPE] = None
    """One nudged phase at beta, or two at beta and -beta, whose error is O(beta^2)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Architecture:
    """The network: --sizes for layers, or --graph with --inputs and --outputs for a directed graph."""

    sizes: OptionalSizes = ()
    """Neurons per layer, input first: 64,32,10."""
    convolutions: Convolutions = ()
    """Layers of feature maps between the image, the first of --sizes, and the others: channels x kernel / pooling."""
    graph: Count = 0
    """Neurons of a graph, instead of --sizes."""
    inputs: Count = 0
    """Inputs of the graph."""
    outputs: Count = 0
    """Output neurons of the graph."""
    density: float = 1.0
    """Share of the graph's pairs of neurons that are joined."""
    field: Literal["layered", "conv", "graph", "hopfield"] | None = None
    """Kind of the field (default: what the others describe); hopfield has one weight a pair, and an energy."""
    skips: Skips = ()
    """Further pairs of layers of a graph or hopfield network with --sizes, 0 the output: 0-2,1-3."""
    lateral: Layers = ()
    """Layers of such a network whose neurons are joined among themselves: 0,1."""
    tau: Numbers = ()
    """Time constants: one for all, one for each layer behind the input, or one for each neuron of a --graph."""
    activation: str = "hard_sigmoid"
    """Firing rate: hard_sigmoid, sigmoid, tanh, relu, softplus or linear."""
    gain: Gain = 0.5
    """Scale of the weights relative to Glorot's."""
    feedback_gain: Positive = 1.0
    """Strength of the feedback between layers; well below 1 for deep networks, which then settle in few sweeps."""

    @property
    def described(self) -> bool:
        """Whether any of these options was given."""
        return self != type(self)()

    def draw(self, seed: int, symmetry: float) -> "AbstractVectorField":
        """A new network with weights of this symmetry.

        Raises:
            Refused: for options that describe no network, or two.
        """
        if not (self.sizes or self.graph):
            raise Refused("no network is described: give --sizes 64,32,10, or --graph 50 --inputs 5 --outputs 5")
        if self.sizes and (self.graph or self.inputs or self.outputs or self.density != 1):
            raise Refused("--sizes and --graph, --inputs, --outputs, --density describe two networks: give one of them")
        if self.graph and not (self.inputs and self.outputs):
            raise Refused("--graph needs --inputs and --outputs too, such as --graph 50 --inputs 5 --outputs 5")

        import jax

        from ..activations import activation
        from ..vector_fields import draw_network

        graph = {"neurons": self.graph, "inputs": self.inputs, "outputs": self.outputs, "density": self.density}
        return draw_network(
            jax.random.key(seed),
            self.sizes,
            kind=self.field,
            convolutions=self.convolutions,
            graph=graph if self.graph else None,
            skips=self.skips,
            lateral=self.lateral,
            tau=self.tau,
            symmetry=symmetry,
            activation=activation(self.activation),
            gain=self.gain,
            feedback_gain=self.feedback_gain,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Repair:
    """What training does about asymmetric weights."""

    feedback: Literal["learned", "kolen_pollack", "fixed", "tied"] = "learned"
    """How feedback weights change: by the rule, by Kolen-Pollack with --decay, not at all, or as the forward ones."""
    decay: Annotated[float | None, tyro.conf.arg(metavar="SHARE", help_behavior_hint="")] = None
    """Share of its strength that a synapse loses a step, such as 0.001; for --feedback kolen_pollack."""
    homeostasis: Annotated[float | None, tyro.conf.arg(metavar="STRENGTH", help_behavior_hint="")] = None
    """Strength of the pull of the Jacobian towards symmetry, such as 0.01; 0 for none, where a recipe has one."""

    def settings(self) -> "SymmetryRepair":
        """The same for the training loop; raises ValueError for a combination that has no meaning."""
        from ..training import SymmetryRepair

        return SymmetryRepair(self.feedback, self.decay, self.homeostasis or None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scale:
    """The devices and processes that train together. Every process is started with the same options but its own
    --process; only the first writes files.
    """

    devices: Annotated[int | None, tyro.conf.arg(metavar="N", help_behavior_hint="(default: the first alone)")] = None
    """How many devices, over all processes, share every batch."""
    coordinator: Annotated[str | None, tyro.conf.arg(metavar="HOST:PORT", help_behavior_hint="")] = None
    """Where the first of several processes is to be found."""
    processes: Annotated[int, tyro.conf.arg(metavar="N", help_behavior_hint="")] = 1
    """How many processes train together."""
    process: Annotated[int, tyro.conf.arg(metavar="K", help_behavior_hint="")] = 0
    """Which of them this is, from 0."""

    def join(self) -> None:
        """Joins the other processes, if there are any; to be called before JAX computes.

        Raises:
            ValueError: for options that do not fit together.
        """
        from ..training import join_processes

        if self.coordinator is not None:
            if self.devices is None:
                raise Refused("--coordinator needs --devices: how many of all processes' devices share a batch")
            join_processes(self.coordinator, self.processes, self.process)
        elif self.processes != 1 or self.process != 0:
            raise Refused("--processes and --process need --coordinator: the HOST:PORT of the first process")
