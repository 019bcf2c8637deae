r"""Closed-form networks: memory, logic and sequences by threshold units, whose weights are known exactly.

Source: Vieville et al. 2017, appendix D, corrected where the print does not do what it says. The threshold is
$\Upsilon(v) = H(v - \tfrac12)$, 1/2 at v = 1/2. Sample 0 is rest; a network without inputs is run with any signal of
one channel, which tells how long. All weights are frozen.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from ..signals import Signal
from .network import KernelNetwork
from .nodes import AbstractUnit, KernelContext, Kernels, Nodes
from .units import gate

Rows = Sequence[Sequence[float]] | np.ndarray

_SPARE_BITS = 7  # of a clock's weight, which must be right to 2^-tau


def threshold(v: Float[Array, "*any"], width: float = 0.0) -> Float[Array, "*any"]:
    r"""The threshold $\Upsilon(v)$; with a width, $\Upsilon_\epsilon(v) = \zeta_{[0,1]}((v - \tfrac12)/\epsilon)$.

    The area between the two is epsilon log(2) / 2.
    """
    return jnp.heaviside(v - 0.5, 0.5) if width == 0 else gate((v - 0.5) / width)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExplicitUnit(AbstractUnit):
    """A unit given by its groups of nodes.

    Attributes:
        groups: the groups, the observed one first.
    """

    groups: tuple[Nodes, ...] = ()

    def nodes(self) -> tuple[Nodes, ...]:
        return self.groups


def _network(*groups: Nodes, weights: Mapping[str, Rows], inputs: int = 1, outputs: int = 1) -> KernelNetwork:
    unit = ExplicitUnit(units=groups[0].count, inputs=inputs, outputs=outputs, groups=groups)
    return KernelNetwork.frozen(unit, weights)


# Groups of nodes are made once: networks that differ in their weights alone are simulated by one compiled program.
@functools.cache
def _clock_nodes(name: str) -> tuple[Nodes, Nodes]:
    done = f"{name}_done"

    def charge(context: KernelContext) -> Kernels:
        charged, over = context.delayed(name, 1), context.delayed(done, 1)
        kept = (1 - threshold(charged)) * charged
        return Kernels(per_node=jnp.stack([kept, 1 - threshold(over)], axis=-1))

    def count(context: KernelContext) -> Kernels:
        return Kernels(per_node=jnp.stack([context.delayed(done, 1), threshold(context.delayed(name, 1))], axis=-1))

    return Nodes(name, 1, kernels=charge), Nodes(done, 1, kernels=count)


_STRIKE = Nodes("x", 1, unweighted=lambda context: threshold(context.current("c")))
_DONE = Nodes("x", 1, unweighted=lambda context: context.current("c_done"))


def _clock_weights(tau: int, name: str) -> Mapping[str, Rows]:
    if not 2 <= tau <= _latest():
        raise ValueError(f"tau={tau}: a clock strikes at any step from 2 to {_latest()}, beyond which {_ends()}")
    return {name: [[0.5, _charge(tau)]], f"{name}_done": [[1.0, 1.0]]}


def _latest() -> int:
    """The last step that the present precision tells from the next: 45 in float64, 16 in float32."""
    return jnp.finfo(jnp.result_type(float)).nmant - _SPARE_BITS


def _ends() -> str:
    name = str(jnp.result_type(float))
    return f"{name} ends" + ("; jax_enable_x64 reaches 45" if name == "float32" else "")


def _charge(tau: int) -> float:
    r"""$h_\tau = \frac{1}{4 (1 - 2^{1/2 - \tau})}$: charged by it, a node passes 1/2 at step tau."""
    return 0.25 / (1 - 2.0 ** (0.5 - tau))


def clock(tau: int) -> KernelNetwork:
    r"""A clock: 1 at sample tau, 0 at every other.

    $$c(t) = \tfrac12 (1 - \Upsilon(c(t-1)))\,c(t-1) + h_\tau (1 - \Upsilon(d(t-1))), \qquad
      d(t) = d(t-1) + \Upsilon(c(t-1))$$

    The print says that c is 0 afterwards: c(tau + 1) is h, and then decays. It strikes twice for tau = 1.

    Raises:
        ValueError: for tau outside of 2 to 45 (16 in float32), beyond which a weight cannot tell the step.
    """
    return _network(_STRIKE, *_clock_nodes("c"), weights=_clock_weights(tau, "c"))


def true_step(tau: int) -> KernelNetwork:
    """A step: 0 up to sample tau, 1 after it; the second node of a clock.

    The print's step is `metronome`, which falls back at once.

    Raises:
        ValueError: as `clock`.
    """
    return _network(_DONE, *_clock_nodes("c"), weights=_clock_weights(tau, "c"))


@functools.cache
def _metronome_nodes() -> tuple[Nodes, Nodes]:
    def charge(context: KernelContext) -> Kernels:
        charged = context.delayed("s", 1)
        return Kernels(per_node=((1 - threshold(charged)) * charged)[..., None], shared=context.constant)

    fired = Nodes("x", 1, unweighted=lambda context: threshold(context.current("s")))
    return fired, Nodes("s", 1, kernels=charge)


def metronome(tau: int) -> KernelNetwork:
    r"""A metronome: 1 at samples tau, 2 tau, 3 tau and so on, 0 at every other; always 1 for tau = 1.

    $s(t) = \tfrac12 (1 - \Upsilon(s(t-1)))\,s(t-1) + h_\tau$. The print calls it a delayed step, 1 from tau on: but
    the node is emptied when it fires.

    Raises:
        ValueError: for tau outside of 1 to 45 (16 in float32).
    """
    if not 1 <= tau <= _latest():
        raise ValueError(f"tau={tau}: give a period from 1 to {_latest()}, beyond which {_ends()}")
    return _network(*_metronome_nodes(), weights={"s": [[_charge(tau), 0.5]]})


def latch() -> KernelNetwork:
    r"""A set-reset latch: $z(t) = \Upsilon(z(t-1)) + \Upsilon(u_1(t)) - \Upsilon(u_0(t))$; above 1/2 it is set.

    Input 1 sets, input 0 resets, neither or both keep what is.
    """

    def kernels(context: KernelContext) -> Kernels:
        return Kernels(shared=threshold(jnp.concatenate([context.delayed("x", 1), context.inputs(0)], axis=1)))

    return _network(Nodes("x", 1, kernels=kernels), weights={"x": [[1.0, -1.0, 1.0]]}, inputs=2)


def exclusive_or(*, by_product: bool = False) -> KernelNetwork:
    r"""The exclusive or of two inputs, a step later.

    $x = \Upsilon(a) + \Upsilon(b) - 2\Upsilon(o)$ with $o = \Upsilon(a) + \Upsilon(b) - 1$; or, with a product,
    $x = \tfrac12 - 2(\Upsilon(a) - \tfrac12)(\Upsilon(b) - \tfrac12)$.
    """
    if by_product:

        def value(context: KernelContext) -> Array:
            a, b = jnp.split(threshold(context.inputs(1)) - 0.5, 2, axis=1)
            return 0.5 - 2 * a * b

        return _network(Nodes("x", 1, unweighted=value), weights={}, inputs=2)

    def both(context: KernelContext) -> Kernels:
        return Kernels(shared=jnp.concatenate([context.constant, threshold(context.inputs(1))], axis=1))

    def either(context: KernelContext) -> Kernels:
        return Kernels(shared=threshold(jnp.concatenate([context.inputs(1), context.current("o")], axis=1)))

    nodes = Nodes("x", 1, kernels=either), Nodes("o", 1, kernels=both)
    return _network(*nodes, weights={"x": [[1.0, 1.0, -2.0]], "o": [[-1.0, 1.0, 1.0]]}, inputs=2)


def delayed_product(first: int, second: int, answer: int) -> KernelNetwork:
    r"""Echoes its input, but at sample `answer` gives the product of the inputs of samples `first` and `second`.

    $o = (1 - \Upsilon(c_T))\,u + \Upsilon(c_T)\,x_a x_b$ and $x_a = (1 - \Upsilon(c_a))\,x_a(t-1) + \Upsilon(c_a)\,u$,
    x_b likewise, with clocks c. The print has $\Upsilon(c) - 1$ for both second factors, which does neither.

    Raises:
        ValueError: as `clock`, or for an answer before both are there.
    """
    if answer <= max(first, second):
        raise ValueError(f"answer={answer}: ask after both factors are there, at {first} and {second}")
    clocks = {"clock_a": first, "clock_b": second, "clock_end": answer}
    weights = {group: rows for name, tau in clocks.items() for group, rows in _clock_weights(tau, name).items()}
    return _network(*_product_nodes(), weights=weights)


@functools.cache
def _product_nodes() -> tuple[Nodes, ...]:
    def struck(context: KernelContext, name: str) -> Array:
        return threshold(context.current(name))

    def kept(context: KernelContext, which: str) -> Array:
        now = struck(context, f"clock_{which}")
        return (1 - now) * context.delayed(f"kept_{which}", 1) + now * context.inputs(0)

    def value(context: KernelContext) -> Array:
        at_end = struck(context, "clock_end")
        return (1 - at_end) * context.inputs(0) + at_end * context.current("kept_a") * context.current("kept_b")

    memories = [Nodes(f"kept_{w}", 1, unweighted=lambda context, w=w: kept(context, w)) for w in ("a", "b")]
    clocks = [node for name in ("clock_a", "clock_b", "clock_end") for node in _clock_nodes(name)]
    return Nodes("x", 1, unweighted=value), *memories, *clocks


def linear_generator(sequence: ArrayLike) -> KernelNetwork:
    r"""Generates a sequence o from sample 1 on by one linear node that reads its whole past.

    $x(t) = W_0 + \sum_{d=1}^{T-1} W_d\,x(t-d)$ with $W_0 = o(0)$ and
    $W_k = \big(o(k) - W_0 - \sum_{d=1}^{k-1} W_d\,o(k-d)\big)/o(0)$ (the print counts from 1). Where o(0) = 0 it
    generates o + 1, and a second node takes the 1 away. Rounding errors add up along the sequence, and the weights may
    grow with it: what it generates is compared with the sequence before it is given out.

    Raises:
        ValueError: for something that is no sequence of at least two numbers, and for one that it does not generate to
            half the digits of the present precision.
    """
    values = _sequence(sequence, 1)[:, 0]
    shift = 1.0 if values[0] == 0 else 0.0
    o = values + shift
    weights = np.zeros(len(o))
    weights[0] = o[0]
    for k in range(1, len(o)):
        weights[k] = (o[k] - weights[0] - weights[1:k] @ o[k - 1 : 0 : -1]) / o[0]

    def kernels(context: KernelContext) -> Kernels:
        past = [context.delayed("line", lag) for lag in range(1, len(o))]
        return Kernels(shared=jnp.concatenate([context.constant, *past], axis=1))

    out = Nodes(
        "x", 1, kernels=lambda context: Kernels(shared=jnp.concatenate([context.constant, context.current("line")], 1))
    )
    found = _network(out, Nodes("line", 1, kernels=kernels), weights={"x": [[-shift, 1.0]], "line": weights[None]})
    generated = np.asarray(found.run(Signal.sampled(np.zeros((len(o) + 1, 1))), throw=False).outputs)[1:, 0, 0]
    allowed = float(jnp.finfo(generated.dtype).eps) ** 0.5 * np.abs(o).max()
    missed = np.flatnonzero(~(np.abs(generated - values) <= allowed))
    if len(missed):
        raise ValueError(
            f"the weights of this sequence reach {np.abs(weights).max():.2g}, and rounding errors spoil it from sample "
            f"{missed[0]} on: generate it by delay_line or ramp_generator, which add no errors up"
        )
    return found


def delay_line(sequence: ArrayLike) -> KernelNetwork:
    r"""Generates sequences o from sample 1 on by T delayed steps, and 0 after their end.

    $x(t) = \sum_n (o(n) - o(n+1))\,(1 - \Upsilon(s_n(t)))$ with $s_n(t) = s_{n-1}(t-1)$ and a step s_0. The print has
    $\Upsilon$ in place of $1 - \Upsilon$, which gives o(0) - o(t), and begins the line with a metronome of period 1
    in place of a step.

    Raises:
        ValueError: for something that is no sequence of at least two samples.
    """
    o = _sequence(sequence, None)

    def line(context: KernelContext) -> Array:
        before = context.delayed("line", 1)
        return jnp.concatenate([context.delayed("on", 1), before[:, :-1]], axis=1)

    def kernels(context: KernelContext) -> Kernels:
        return Kernels(shared=1 - threshold(context.current("line")))

    started = Nodes("on", 1, unweighted=lambda context: context.constant)
    out = Nodes("x", o.shape[1], kernels=kernels)
    return _network(out, Nodes("line", len(o), unweighted=line), started, weights={"x": _steps(o)}, outputs=o.shape[1])


def ramp_generator(sequence: ArrayLike) -> KernelNetwork:
    r"""Generates sequences as `delay_line`, by a ramp r(t) = r(t-1) + 1 and thresholds $\Upsilon(r(t) - n - 1)$.

    With the factor $1 - \Upsilon$, as `delay_line`.

    Raises:
        ValueError: as `delay_line`.
    """
    o = _sequence(sequence, None)
    thetas = 1.0 + np.arange(len(o))

    def rising(context: KernelContext) -> Kernels:
        return Kernels(shared=jnp.concatenate([context.constant, context.delayed("ramp", 1)], axis=1))

    def kernels(context: KernelContext) -> Kernels:
        return Kernels(shared=1 - threshold(context.current("ramp") - thetas))

    nodes = Nodes("x", o.shape[1], kernels=kernels), Nodes("ramp", 1, kernels=rising)
    return _network(*nodes, weights={"x": _steps(o), "ramp": [[1.0, 1.0]]}, outputs=o.shape[1])


def _steps(o: np.ndarray) -> np.ndarray:
    """o(n) - o(n + 1), o being 0 behind its end (outputs, time)."""
    return (o - np.concatenate([o[1:], np.zeros_like(o[:1])])).T


def _sequence(sequence: ArrayLike, width: int | None) -> np.ndarray:
    o = np.asarray(sequence, float)
    o = o[:, None] if o.ndim == 1 else o
    if o.ndim != 2 or len(o) < 2 or o.shape[1] == 0 or width not in (None, o.shape[1]) or not np.isfinite(o).all():
        raise ValueError(f"a sequence of shape {np.shape(sequence)}: give at least two samples, all finite")
    return o
