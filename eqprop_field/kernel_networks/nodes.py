"""Nodes as weighted sums of kernels (equation 1 of Vieville et al. 2017), and the interface of units."""

import abc
import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

Values = Mapping[str, Float[Array, "batch _"]]
Weights = dict[str, Float[Array, "_ _"]]  # by group (nodes, kernels)


class Kernels(NamedTuple):
    """The kernels of a group of nodes; the weights' columns are the shared ones first, then those of each node alone.

    Attributes:
        shared: summed by every node of the group (batch, kernels); None without any.
        per_node: summed by one node each (batch, nodes, kernels); None without any.
    """

    shared: Float[Array, "*any kernels"] | None = None
    per_node: Float[Array, "*any nodes kernels"] | None = None

    @property
    def count(self) -> int:
        """D, how many kernels a node sums."""
        return sum(part.shape[-1] for part in self if part is not None)

    def weighted(self, weights: Float[Array, "nodes kernels"]) -> Float[Array, "*any nodes"]:
        """The sum over d of W_nd Phi_nd."""
        split = 0 if self.shared is None else self.shared.shape[-1]
        parts = [] if self.shared is None else [self.shared @ weights[:, :split].T]
        if self.per_node is not None:
            parts.append(jnp.sum(self.per_node * weights[:, split:], axis=-1))
        return functools.reduce(jnp.add, parts)


@dataclasses.dataclass(frozen=True)
class KernelContext:
    """The variables that a kernel may read at step t: nodes before t, other nodes at t, inputs up to t.

    The argument of every function of a unit; a kernel depends on nothing else.

    Attributes:
        current: x(t) of a group, by its name, (batch, nodes). A group that reads itself at t is refused.
        delayed: x(t - lag) of a group, lag at least 1; zeros before the beginning.
        inputs: u(t - lag), lag at least 0, (batch, inputs); zeros before the beginning.
        rates: the output of all units of the network to one another, (batch, sources).
    """

    current: Callable[[str], Array]
    delayed: Callable[[str, int], Array]
    inputs: Callable[[int], Array]
    rates: Callable[[], Array]

    def scoped(self, prefix: str) -> "KernelContext":
        """The same for one member of a mixture, whose groups' names begin with this prefix."""
        return dataclasses.replace(
            self,
            current=lambda name: self.current(prefix + name),
            delayed=lambda name, lag: self.delayed(prefix + name, lag),
        )

    @property
    def constant(self) -> Float[Array, "batch 1"]:
        """The kernel whose weight is an offset."""
        return jnp.ones_like(self.inputs(1)[:, :1])

    @property
    def affine(self) -> Float[Array, "batch kernels"]:
        """1, all rates and all inputs of t - 1: the kernels of an affine sum of the whole network."""
        return jnp.concatenate([self.constant, self.rates(), self.inputs(1)], axis=1)


@dataclasses.dataclass(frozen=True)
class Nodes:
    r"""A group of nodes of one form, $x_n(t) = \Phi_{n0t}$ or $x_n(t) = \sum_d W_{nd}\,\Phi_{ndt}$.

    Attributes:
        name: its name among the unit's groups.
        count: how many nodes.
        unweighted: Phi_0, the term without weights (batch, nodes). Either this or kernels.
        kernels: the kernels of the weighted sum.
    """

    name: str
    count: int
    unweighted: Callable[[KernelContext], Array] | None = None
    kernels: Callable[[KernelContext], Kernels] | None = None

    def __post_init__(self) -> None:
        if (self.unweighted is None) == (self.kernels is None):
            raise ValueError(f"nodes {self.name!r} need either an unweighted term or kernels: give one of them")
        if self.count < 1:
            raise ValueError(f"nodes {self.name!r}: count={self.count}, give at least one node")

    def value(self, weights: Weights, context: KernelContext) -> Float[Array, "batch nodes"]:
        """x(t) of these nodes."""
        if self.unweighted is not None:
            return self.unweighted(context)
        assert self.kernels is not None  # for the type checker: `__post_init__` has seen to it
        return self.kernels(context).weighted(weights[self.name])


@dataclasses.dataclass(frozen=True, kw_only=True)
class AbstractUnit(abc.ABC):
    """The form of a network: its groups of nodes, and what they send each other.

    A frozen dataclass of Python values. A subclass that defines `nodes` is simulated and tuned like any other: its
    derivatives come from JAX (`check_unit` compares them with finite differences).

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

    def rates(self, context: KernelContext) -> Float[Array, "batch units"]:
        """The outputs of these units to all others at step t; x(t - 1) by default."""
        return context.delayed("x", 1)

    def frozen(self) -> Mapping[str, Mapping[int, float]]:
        """Weights that are not learnt: by group, the value of a column of kernels; none by default."""
        return {}

    def bounds(self) -> Mapping[str, Mapping[int, tuple[float, float]]]:
        """Bounds of weights: by group, (low, high) of a column; none by default."""
        return {}


@dataclasses.dataclass(frozen=True)
class UnitStructure:
    """The structure of a unit, found by evaluating its functions once, on shapes.

    Attributes:
        groups: its nodes by name, in the order in which they stand in a state: the observed ones first.
        evaluation_order: the names in an order in which they can be evaluated within a step.
        kernel_counts: D of the groups that have weights.
        delayed: the groups that are read at later steps.
        max_lag: R, how many steps back nodes are read.
        max_input_lag: S, how many steps back inputs are read.
    """

    groups: Mapping[str, Nodes]
    evaluation_order: tuple[str, ...]
    kernel_counts: Mapping[str, int]
    delayed: tuple[str, ...]
    max_lag: int
    max_input_lag: int

    @property
    def size(self) -> int:
        """How many nodes in all."""
        return sum(group.count for group in self.groups.values())

    @property
    def carried(self) -> Bool[Array, " nodes"]:
        """Which nodes are observed or read at later steps: those that can grow. The others are sums within a step."""
        first = next(iter(self.groups))
        parts = [jnp.full(group.count, n == first or n in self.delayed) for n, group in self.groups.items()]
        return jnp.concatenate(parts)

    def split(self, states: Float[Array, "*any nodes"]) -> dict[str, Float[Array, "*any _"]]:
        """States by group."""
        parts, start = {}, 0
        for name, group in self.groups.items():
            parts[name] = states[..., start : start + group.count]
            start += group.count
        return parts

    def concatenate(self, values: Mapping[str, Float[Array, "*any _"]]) -> Float[Array, "*any nodes"]:
        """The states of all groups in one array, the units first; the inverse of `split`."""
        return jnp.concatenate([values[name] for name in self.groups], axis=-1)


@functools.lru_cache(maxsize=256)
def structure_of(unit: AbstractUnit) -> UnitStructure:
    """The structure of a unit, kept for the next call.

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
    tracer = _StructureTracer(unit, groups)
    jax.eval_shape(lambda: [tracer.current(name) for name in groups])
    return UnitStructure(
        groups=groups,
        evaluation_order=tuple(tracer.order),
        kernel_counts=tracer.kernel_counts,
        delayed=tuple(name for name in groups if name in tracer.delayed_groups),
        max_lag=max(tracer.lags),
        max_input_lag=max(tracer.input_lags),
    )


class _StructureTracer:
    """A context of zeros that records what is read."""

    def __init__(self, unit: AbstractUnit, groups: Mapping[str, Nodes]) -> None:
        self.unit, self.groups = unit, groups
        self.order: list[str] = []
        self.unfinished: list[str] = []
        self.lags, self.input_lags, self.delayed_groups = {1}, {1}, set[str]()
        self.kernel_counts: dict[str, int] = {}
        self.context = KernelContext(self.current, self.delayed, self.inputs, lambda: unit.rates(self.context))

    def current(self, name: str) -> Array:
        value = self._zeros(name)
        if name in self.unfinished:
            loop = " -> ".join([*self.unfinished, name])
            raise ValueError(f"nodes read each other at the same instant: {loop}; read one of them by delayed()")
        if name not in self.order:
            self.unfinished.append(name)
            self._check_shapes(self.groups[name])
            self.order.append(self.unfinished.pop())
        return value

    def delayed(self, name: str, lag: int) -> Array:
        if lag < 1:
            raise ValueError(f"delayed({name!r}, {lag}): the lag is at least 1; read the same instant by current()")
        self.lags.add(lag)
        self.delayed_groups.add(name)
        return self._zeros(name)

    def inputs(self, lag: int) -> Array:
        if lag < 0:
            raise ValueError(f"inputs({lag}): inputs of later steps cannot be read")
        self.input_lags.add(lag)
        return jnp.zeros((1, self.unit.inputs))

    def _zeros(self, name: str) -> Array:
        if name not in self.groups:
            raise ValueError(f"a kernel reads {name!r}, but this unit has {', '.join(self.groups)}")
        return jnp.zeros((1, self.groups[name].count))

    def _check_shapes(self, group: Nodes) -> None:
        """Counts the kernels of a group, and refuses those of a wrong shape."""
        needed, shape = (1, group.count), (1, group.count)
        if group.kernels is None:
            shape = group.unweighted(self.context).shape if group.unweighted else shape
        else:
            kernels = group.kernels(self.context)
            self.kernel_counts[group.name] = kernels.count
            shape = shape if kernels.per_node is None else kernels.per_node.shape[:2]
            if kernels.count == 0:
                raise ValueError(f"nodes {group.name!r} have no kernels: give at least one, or an unweighted term")
        if shape != needed:
            raise ValueError(f"nodes {group.name!r} gave the shape {shape} for a batch of one: it must be {needed}")
