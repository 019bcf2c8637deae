r"""Units of Vieville et al. 2017, appendix A, as kernels; u is the input, gamma a leak, alpha an offset."""

import dataclasses
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .nodes import AbstractUnit, KernelContext, Kernels, Nodes

LARGEST_LEAK = 0.999
_LARGEST = 1e6  # a recurrent value of a linear unit is not read beyond this


def squash(u: Float[Array, "*any"], low: float = -1.0, high: float = 1.0) -> Float[Array, "*any"]:
    r"""$\zeta_{[a,b]}(u) = \frac{a+b}{2} + \frac{b-a}{2}\tanh\frac{2u}{b-a}$, of slope 1 at 0."""
    half = 0.5 * (high - low)
    return 0.5 * (low + high) + half * jnp.tanh(u / half)


def gate(u: Float[Array, "*any"]) -> Float[Array, "*any"]:
    r"""$\zeta_{[0,1]}(u) = 1/(1 + e^{-4u})$."""
    return squash(u, 0.0, 1.0)


def _affine(context: KernelContext) -> Kernels:
    return Kernels(shared=context.affine)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Linear(AbstractUnit):
    r"""Linear units (L): $x_n(t) = \alpha_n + \sum_k W_{nk}\,x_k(t-1) + \sum_m V_{nm}\,u_m(t-1)$.

    What is read of x_k(t-1) stops at plus and minus a million, as does its derivative. Columns of `x`: offset, rates,
    inputs.
    """

    def nodes(self) -> tuple[Nodes, ...]:
        return (Nodes("x", self.units, kernels=_affine),)

    def rates(self, context: KernelContext) -> Float[Array, "batch units"]:
        return jnp.clip(context.delayed("x", 1), -_LARGEST, _LARGEST)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LNL(AbstractUnit):
    r"""Linear-non-linear units with a leak (LNL, equation 7): $x = l + g\,\zeta(z)$, $l_n(t) = \gamma_n x_n(t-1)$,
    $z_n(t) = \alpha_n + \sum_k W_{nk}\,x_k(t-1) + \sum_m V_{nm}\,u_m(t-1)$.

    With gamma = 1 - dt/tau and g = dt/tau it is the Euler step of a leaky integrator. gamma stays within [0, 0.999].
    Columns of `z`: offset, rates, inputs; of `l`: gamma.

    Attributes:
        low: a, the lower end of zeta.
        high: b, the upper end.
        gain: g.
    """

    low: float = -1.0
    high: float = 1.0
    gain: float = 1.0

    def nodes(self) -> tuple[Nodes, ...]:
        def value(context: KernelContext) -> Array:
            return context.current("l") + self.gain * squash(context.current("z"), self.low, self.high)

        def leak(context: KernelContext) -> Kernels:
            return Kernels(per_node=context.delayed("x", 1)[..., None])

        return (
            Nodes("x", self.units, unweighted=value),
            Nodes("l", self.units, kernels=leak),
            Nodes("z", self.units, kernels=_affine),
        )

    def bounds(self) -> Mapping[str, Mapping[int, tuple[float, float]]]:
        return {"l": {0: (0.0, LARGEST_LEAK)}}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TypedLNL(AbstractUnit):
    r"""Strongly typed LNL units (equation 9): $x = \zeta_{[0,1]}(f)\,x(t-1) + (1 - \zeta_{[0,1]}(f))\,z$ with
    $f_n(t) = \alpha_n + \gamma_n x_n(t-1)$ and $z_n(t) = \sum_k W_{nk}\,x_k(t-1) + \sum_m V_{nm}\,u_m(t-1)$.

    Columns of `f`: offset, gamma; of `z`: rates, inputs.
    """

    def nodes(self) -> tuple[Nodes, ...]:
        def value(context: KernelContext) -> Array:
            keep = gate(context.current("f"))
            return keep * context.delayed("x", 1) + (1 - keep) * context.current("z")

        def forget(context: KernelContext) -> Kernels:
            return Kernels(shared=context.constant, per_node=context.delayed("x", 1)[..., None])

        def total(context: KernelContext) -> Kernels:
            return Kernels(shared=jnp.concatenate([context.rates(), context.inputs(1)], axis=1))

        return (
            Nodes("x", self.units, unweighted=value),
            Nodes("f", self.units, kernels=forget),
            Nodes("z", self.units, kernels=total),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class LSTM(AbstractUnit):
    r"""Long short-term memory with peepholes (equation 8).

    $$x = \zeta_{[0,1]}(y^{out})\,\zeta(s), \qquad s(t) = \zeta_{[0,1]}(y^f)\,s(t-1) + \zeta_{[0,1]}(y^{in})\,\zeta(g)$$

    with $g = W^g x(t-1) + V^g u(t-1)$ and $y^*_n = w^*_n s_n(t-1) + W^* x(t-1) + V^* u(t-1)$. The report leaves the y^c
    that its gates read undefined; here it is the cell's output x, as is usual. It prints no offsets: they are frozen
    at 0 and can be freed. Columns of `out`, `forget`, `in`: offset, rates, inputs, peephole; of `g`: offset, rates,
    inputs.
    """

    def nodes(self) -> tuple[Nodes, ...]:
        def value(context: KernelContext) -> Array:
            return gate(context.current("out")) * squash(context.current("s"))

        def memory(context: KernelContext) -> Array:
            kept = gate(context.current("forget")) * context.delayed("s", 1)
            return kept + gate(context.current("in")) * squash(context.current("g"))

        def gated(context: KernelContext) -> Kernels:
            return Kernels(shared=context.affine, per_node=context.delayed("s", 1)[..., None])

        return (
            Nodes("x", self.units, unweighted=value),
            Nodes("s", self.units, unweighted=memory),
            *(Nodes(name, self.units, kernels=gated) for name in ("out", "forget", "in")),
            Nodes("g", self.units, kernels=_affine),
        )

    def frozen(self) -> Mapping[str, Mapping[int, float]]:
        return {name: {0: 0.0} for name in ("out", "forget", "in", "g")}


@dataclasses.dataclass(frozen=True, kw_only=True)
class AIF(AbstractUnit):
    r"""Approximate integrate-and-fire (equation 10), $Y_n = \zeta_{[0,1]}(v_n)$ a spike of adjustable sharpness:

    $$x_n(t) = \gamma_n (1 - Y_n(t))\,x_n(t-1) + \alpha_n + \sum_k W_{nk} Y_k(t) + \sum_m V_{nm} u_m(t-1),
      \qquad v_n(t) = \omega_n (x_n(t-1) - \theta)$$

    The print reads zeta(v_k(t-1)), which would delay a spike twice, for v(t) already holds x(t-1). omega stays within
    [0, 100]. The derivative of (1 - Y) x by v is negative: AIF kernels are not monotone. Columns of `x`: offset,
    spikes, inputs, gamma; of `v`: omega.

    Attributes:
        threshold: theta; 1/2 in the report, 1 on the slides.
        memory_gain: a factor of the memory kernel; 1 in the report, 1/2 in the authors' program.
    """

    threshold: float = 0.5
    memory_gain: float = 1.0

    def nodes(self) -> tuple[Nodes, ...]:
        def total(context: KernelContext) -> Kernels:
            kept = self.memory_gain * (1 - gate(context.current("v"))) * context.delayed("x", 1)
            return Kernels(shared=context.affine, per_node=kept[..., None])

        def excess(context: KernelContext) -> Kernels:
            return Kernels(per_node=context.delayed("x", 1)[..., None] - self.threshold)

        return Nodes("x", self.units, kernels=total), Nodes("v", self.units, kernels=excess)

    def rates(self, context: KernelContext) -> Float[Array, "batch units"]:
        return gate(context.current("v"))

    def bounds(self) -> Mapping[str, Mapping[int, tuple[float, float]]]:
        return {"v": {0: (0.0, 100.0)}}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SoftMax(AbstractUnit):
    r"""Soft maximum units (equation 11): $x_n = e^{z_n - \Lambda}$, $\Lambda = \log\sum_k e^{z_k}$, z as in LNL.

    The report has e^z and their sum as nodes; by the logarithm nothing overflows. Columns of `z`: offset, rates,
    inputs.
    """

    def nodes(self) -> tuple[Nodes, ...]:
        def value(context: KernelContext) -> Array:
            return jnp.exp(context.current("z") - context.current("log_sum"))

        def log_sum(context: KernelContext) -> Array:
            return jax.nn.logsumexp(context.current("z"), axis=1, keepdims=True)

        return (
            Nodes("x", self.units, unweighted=value),
            Nodes("log_sum", 1, unweighted=log_sum),
            Nodes("z", self.units, kernels=_affine),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sparse(AbstractUnit):
    r"""Sparse units, a fixed leak and a rectified sum of few others: $x_n(t) = \gamma x_n(t-1) + \max(0, z_n(t))$.

    z_n sums D = max(2, floor(sqrt N)) other units, drawn once, and all inputs; the rectifier's slope at 0 is 1/2. The
    authors' program always takes units 0 to D-1 (a slip of its index) and gives 1/2 at z = 0. Columns of `z`: offset,
    inputs, then the D units of `sources`.

    Attributes:
        leak: gamma, not learnt.
        draw: seed of the draw of presynaptic units.
    """

    leak: float = 0.5
    draw: int = 0

    @property
    def sources(self) -> np.ndarray:
        """The presynaptic units of each unit (units, D)."""
        degree = min(self.units, max(2, int(self.units**0.5)))
        random = np.random.default_rng(self.draw)
        return np.stack([np.sort(random.permutation(self.units)[:degree]) for _ in range(self.units)])

    def nodes(self) -> tuple[Nodes, ...]:
        sources = self.sources

        def value(context: KernelContext) -> Array:
            return self.leak * context.delayed("x", 1) + jnp.maximum(context.current("z"), 0)

        def total(context: KernelContext) -> Kernels:
            everywhere = jnp.concatenate([context.constant, context.inputs(1)], axis=1)
            return Kernels(shared=everywhere, per_node=context.rates()[:, sources])

        return Nodes("x", self.units, unweighted=value), Nodes("z", self.units, kernels=total)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mixture(AbstractUnit):
    """Mixtures: units of several kinds in one network, each reading the rates of all.

    Groups bear the member's number in front: `0.x`, `0.z`, `1.x`. The observed units are the first of the first member.
    Make one with `Mixture.of`.

    Attributes:
        members: the units, all with the same inputs.
    """

    members: tuple[AbstractUnit, ...] = ()

    @classmethod
    def of(cls, *members: AbstractUnit) -> "Mixture":
        """The mixture of these.

        Raises:
            ValueError: for fewer than two members, members with different inputs, or a kind whose sources are fixed.
        """
        if len(members) < 2 or len({member.inputs for member in members}) > 1:
            raise ValueError("a mixture is made of at least two units with the same number of inputs")
        if any(isinstance(member, Sparse) for member in members):
            raise ValueError("Sparse units have fixed sources among themselves: they cannot be mixed with others")
        total = sum(member.units for member in members)
        return cls(units=total, inputs=members[0].inputs, outputs=members[0].outputs, members=members)

    def _each(self, of: Callable[[AbstractUnit], Mapping]) -> dict:
        return {f"{k}.{name}": value for k, member in enumerate(self.members) for name, value in of(member).items()}

    def nodes(self) -> tuple[Nodes, ...]:
        def inside(prefix: str, function: Callable | None) -> Callable | None:
            return None if function is None else lambda context: function(context.scoped(prefix))

        found = []
        for k, member in enumerate(self.members):
            prefix = f"{k}."
            for group in member.nodes():
                parts = (inside(prefix, group.unweighted), inside(prefix, group.kernels))
                found.append(Nodes(prefix + group.name, group.count, *parts))
        return tuple(found)

    def rates(self, context: KernelContext) -> Float[Array, "batch units"]:
        sent = [member.rates(context.scoped(f"{k}.")) for k, member in enumerate(self.members)]
        return jnp.concatenate(sent, axis=1)

    def frozen(self) -> Mapping[str, Mapping[int, float]]:
        return self._each(lambda member: member.frozen())

    def bounds(self) -> Mapping[str, Mapping[int, tuple[float, float]]]:
        return self._each(lambda member: member.bounds())
