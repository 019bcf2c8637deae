r"""Nodes as weighted sums of kernels: equation 1 of Vieville et al. 2017, and what a unit has to say of itself."""

import abc
import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Values = Mapping[str, Float[Array, "batch _"]]
Weights = dict[str, Float[Array, "_ _"]]  # by group (nodes, kernels)


class Kernels(NamedTuple):
    """The kernels of a group of nodes; the weights' columns are the shared ones first, then each node's own.

    Attributes:
        shared: what every node of the group sums (batch, kernels); None without any.
        own: what only that node sums (batch, nodes, kernels); None without any.
    """

    shared: Float[Array, "*any kernels"] | None = None
    own: Float[Array, "*any nodes kernels"] | None = None

    @property
    def width(self) -> int:
        """D, how many kernels a node sums."""
        return sum(part.shape[-1] for part in self if part is not None)

    def weighted(self, weights: Float[Array, "nodes kernels"]) -> Float[Array, "*any nodes"]:
        """The sum over d of W_nd Phi_nd."""
        split = 0 if self.shared is None else self.shared.shape[-1]
        parts = [] if self.shared is None else [self.shared @ weights[:, :split].T]
        if self.own is not None:
            parts.append(jnp.sum(self.own * weights[:, split:], axis=-1))
        return functools.reduce(jnp.add, parts)


@dataclasses.dataclass(frozen=True)
class Reading:
    """What the kernels of a node may read at step t: any node before t, another node at t, the inputs up to t.

    A unit's functions are given one of these; nothing else may enter a kernel.

    Attributes:
        now: x(t) of a group, by its name, (batch, nodes). A group that reads itself at t is refused.
        before: x(t - lag) of a group, lag at least 1; zeros before the beginning.
        stimulus: u(t - lag), lag at least 0, (batch, inputs); zeros before the beginning.
        rates: what all units of the network send to each other, (batch, sources).
    """

    now: Callable[[str], Array]
    before: Callable[[str, int], Array]
    stimulus: Callable[[int], Array]
    rates: Callable[[], Array]

    def inside(self, member: str) -> "Reading":
        """The same for one member of a mixture, whose groups bear its name in front."""
        return dataclasses.replace(
            self, now=lambda name: self.now(member + name), before=lambda name, lag: self.before(member + name, lag)
        )

    @property
    def one(self) -> Float[Array, "batch 1"]:
        """The kernel whose weight is an offset."""
        return jnp.ones_like(self.stimulus(1)[:, :1])

    @property
    def affine(self) -> Float[Array, "batch kernels"]:
        """1, all rates and all inputs of t - 1: the kernels of an affine sum of the whole network."""
        return jnp.concatenate([self.one, self.rates(), self.stimulus(1)], axis=1)


@dataclasses.dataclass(frozen=True)
class Nodes:
    r"""A group of nodes of one form, $x_n(t) = \Phi_{n0t}$ or $x_n(t) = \sum_d W_{nd}\,\Phi_{ndt}$.

    Attributes:
        name: what other groups call it.
        count: how many nodes.
        unweighted: Phi_0, without weights (batch, nodes). Either this or kernels.
        kernels: the kernels whose sum is weighted.
    """

    name: str
    count: int
    unweighted: Callable[[Reading], Array] | None = None
    kernels: Callable[[Reading], Kernels] | None = None

    def __post_init__(self) -> None:
        if (self.unweighted is None) == (self.kernels is None):
            raise ValueError(f"nodes {self.name!r} need either firmware or kernels: give one of them")
        if self.count < 1:
            raise ValueError(f"nodes {self.name!r}: count={self.count}, give at least one node")

    def value(self, weights: Weights, reading: Reading) -> Float[Array, "batch nodes"]:
        """x(t) of these nodes."""
        if self.unweighted is not None:
            return self.unweighted(reading)
        assert self.kernels is not None  # for the type checker: `__post_init__` has seen to it
        return self.kernels(reading).weighted(weights[self.name])


@dataclasses.dataclass(frozen=True, kw_only=True)
class AbstractUnit(abc.ABC):
    """The form of a network: its groups of nodes, and what they send each other.

    A frozen dataclass of Python values. Write `nodes`, and a unit of yours is simulated and tuned like any other: its
    derivatives come from JAX (`check_unit` holds them against finite differences).

    Attributes:
        units: N.
        inputs: M.
        outputs: how many units are observed, the first ones.
    """

    units: int
    inputs: int = 1
    outputs: int = 1

    def __post_init__(self) -> None:
        if self.units < 1 or self.inputs < 1 or not 1 <= self.outputs <= self.units:
            raise ValueError(
                f"units={self.units}, inputs={self.inputs}, outputs={self.outputs}: all at least 1, outputs <= units"
            )

    @abc.abstractmethod
    def nodes(self) -> tuple[Nodes, ...]:
        """The groups of nodes in any order, but the first must be `x`, the units themselves."""

    def rates(self, reading: Reading) -> Float[Array, "batch units"]:
        """What these units send to all others at step t; x(t - 1) by default."""
        return reading.before("x", 1)

    def held(self) -> Mapping[str, Mapping[int, float]]:
        """Weights that are not learnt: by group, the value of a column; none by default."""
        return {}

    def bounds(self) -> Mapping[str, Mapping[int, tuple[float, float]]]:
        """Bounds of weights: by group, (low, high) of a column; none by default."""
        return {}


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is found out about a unit by reading it once.

    Attributes:
        groups: its nodes by name, in the order in which they stand in a state: the observed ones first.
        order: the names in an order in which they can be evaluated within a step.
        widths: D of the groups that have weights.
        shared: how many of these kernels are the same for all nodes of the group.
        remembered: the groups that are read at later steps.
        reach: R, how many steps back nodes are read.
        delay: S, how many steps back inputs are read.
    """

    groups: Mapping[str, Nodes]
    order: tuple[str, ...]
    widths: Mapping[str, int]
    shared: Mapping[str, int]
    remembered: tuple[str, ...]
    reach: int
    delay: int

    @property
    def size(self) -> int:
        """How many nodes in all."""
        return sum(group.count for group in self.groups.values())

    def split(self, states: Float[Array, "*any nodes"]) -> dict[str, Float[Array, "*any _"]]:
        """States by group."""
        parts, start = {}, 0
        for name, group in self.groups.items():
            parts[name] = states[..., start : start + group.count]
            start += group.count
        return parts

    def joined(self, values: Mapping[str, Float[Array, "*any _"]]) -> Float[Array, "*any nodes"]:
        """The states of all nodes side by side, the units' own first."""
        return jnp.concatenate([values[name] for name in self.groups], axis=-1)


@functools.lru_cache(maxsize=256)
def plan(unit: AbstractUnit) -> Plan:
    """Reads every kernel once, by shapes alone.

    Raises:
        ValueError: for two groups of one name, fewer nodes in the first group than are observed, nodes that read each
            other at the same instant, a name that is not there, and kernels of another shape than their group.
    """
    nodes = unit.nodes()
    groups = {group.name: group for group in nodes}
    if len(groups) < len(nodes) or nodes[0].count < unit.outputs:
        raise ValueError(
            f"{type(unit).__name__}.nodes(): name every group differently, and give the observed one first"
        )
    survey = _Survey(unit, groups)
    jax.eval_shape(lambda: [survey.now(name) for name in groups])
    return Plan(
        groups=groups,
        order=tuple(survey.order),
        widths=survey.widths,
        shared=survey.shared,
        remembered=tuple(name for name in groups if name in survey.read_later),
        reach=max(survey.lags),
        delay=max(survey.delays),
    )


class _Survey:
    """A reading of zeros that notes what is read."""

    def __init__(self, unit: AbstractUnit, groups: Mapping[str, Nodes]) -> None:
        self.unit, self.groups = unit, groups
        self.order: list[str] = []
        self.unfinished: list[str] = []
        self.lags, self.delays, self.read_later = {1}, {1}, set[str]()
        self.widths: dict[str, int] = {}
        self.shared: dict[str, int] = {}
        self.reading = Reading(self.now, self.before, self.stimulus, lambda: unit.rates(self.reading))

    def now(self, name: str) -> Array:
        value = self._zeros(name)
        if name in self.unfinished:
            circle = " -> ".join([*self.unfinished, name])
            raise ValueError(f"nodes read each other at the same instant: {circle}; read one of them by before()")
        if name not in self.order:
            self.unfinished.append(name)
            self._measure(self.groups[name])
            self.order.append(self.unfinished.pop())
        return value

    def before(self, name: str, lag: int) -> Array:
        if lag < 1:
            raise ValueError(f"before({name!r}, {lag}): the lag is at least 1; read the same instant by now()")
        self.lags.add(lag)
        self.read_later.add(name)
        return self._zeros(name)

    def stimulus(self, lag: int) -> Array:
        if lag < 0:
            raise ValueError(f"stimulus({lag}): inputs of later steps cannot be read")
        self.delays.add(lag)
        return jnp.zeros((1, self.unit.inputs))

    def _zeros(self, name: str) -> Array:
        if name not in self.groups:
            raise ValueError(f"a kernel reads {name!r}, but this unit has {', '.join(self.groups)}")
        return jnp.zeros((1, self.groups[name].count))

    def _measure(self, group: Nodes) -> None:
        """Notes how many kernels a group has, having seen to their shapes."""
        wanted, shape = (1, group.count), (1, group.count)
        if group.kernels is None:
            shape = group.unweighted(self.reading).shape if group.unweighted else shape
        else:
            kernels = group.kernels(self.reading)
            self.widths[group.name] = kernels.width
            self.shared[group.name] = 0 if kernels.shared is None else kernels.shared.shape[-1]
            shape = shape if kernels.own is None else kernels.own.shape[:2]
            if kernels.width == 0:
                raise ValueError(f"nodes {group.name!r} have no kernels: give at least one, or unweighted")
        if shape != wanted:
            raise ValueError(f"nodes {group.name!r} gave the shape {shape} for a batch of one: it must be {wanted}")
