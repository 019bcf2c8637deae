"""From any vector field and its samples to a circuit of expressions, with its nudge, whatever the cost."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from ..._arrays import float64, in_float64
from ...substrates.dynamics import Dynamics
from ...substrates.nudging import AbstractNudge
from ...vector_fields import AbstractVectorField
from ...vector_fields.base import State, flatten_state
from ..ir import AbstractCircuit, NoiseSource, ScheduleSegment
from .expressions import Affine, Expressions, Scalar
from .from_jax import PerSample, evaluate, trace
from .primitives import entries_of
from .structure import sample_rows


@dataclasses.dataclass(frozen=True, eq=False)
class ExpressionCircuit(AbstractCircuit):
    r"""Any vector field with clamped samples: $\tau_i \dot s_i = \mu^\beta_i$, each an expression in voltages.

    Attributes:
        table: the expressions' atoms.
        mu: mu^beta of every state variable, with its nudge; sources follow the schedule.
        groups, tau, start, schedule, noise: as `AbstractCircuit` says.
        clamped: which of the table's samples, one after another.
        inputs: explicit inputs of those samples (samples, inputs); no columns where they are folded.
        targets: of those samples (samples, outputs); no columns where nothing nudges.
        limits: what the states are clamped to, (N,) each; infinite where they are not. None for plain dynamics.
        leaves: what the leaves of the state are called, such as `v`; an array alone has the name "".
    """

    table: Expressions
    mu: tuple[Scalar, ...]
    groups: tuple[int, ...]
    tau: Float[np.ndarray, " neurons"]
    start: Float[np.ndarray, " neurons"]
    schedule: tuple[ScheduleSegment, ...]
    clamped: tuple[int, ...]
    inputs: Float[np.ndarray, "samples inputs"]
    targets: Float[np.ndarray, "samples outputs"]
    limits: tuple[Float[np.ndarray, " neurons"], Float[np.ndarray, " neurons"]] | None = None
    noise: NoiseSource | None = None
    from_operating_point: bool = False
    leaves: tuple[str, ...] = ()

    @property
    def samples(self) -> tuple[int, ...]:
        return self.clamped


def compile_field(
    field: AbstractVectorField,
    x: ArrayLike,
    nudge: AbstractNudge | None,
    schedule: Sequence[ScheduleSegment],
    *,
    starts: ArrayLike | None = None,
    in_sequence: int = 1,
    fold_inputs: bool = True,
) -> list[ExpressionCircuit]:
    """Compiles any field for a batch: its velocity and its nudge are traced by JAX and walked, primitive by primitive.

    In windows with an influence parameter the nudge acts with that one, whatever its own; one that is no pull of a
    cost, such as a clamp, is switched on there. A nudge that refers to the free state reads it from capacitors that
    follow the state until just before, and then hold it.

    Args:
        field: what moves, in any precision; the circuit is made in float64.
        x: inputs (samples, inputs).
        nudge: what nudges in the windows that do, with the targets of all samples; None where none does.
        schedule: the windows of a sample.
        starts: initial states (samples, neurons); the field's by default.
        in_sequence: how many samples a circuit clamps one after another; the last one may have fewer.
        fold_inputs: whether what depends on the sample alone is computed beforehand, rather than by the circuit from
            one source for every input.

    Returns:
        The circuits, in the order of the samples; their expressions are shared.

    Raises:
        ValueError: for what no circuit computes, naming the line; for a nudge of a complex beta, and for parameters,
            samples or starts that do not fit or are not finite.
    """
    rows = sample_rows("x", x, field.n_inputs)
    with float64():
        wide, pull = in_float64(field), None if nudge is None else nudge.pull
        targets, table = np.zeros((len(rows), 0)) if pull is None else np.asarray(pull.target, float), Expressions()
        mu = _velocity(table, wide, rows, in_float64(nudge), fold_inputs)
        state = wide.initial_state(1)
        start, sizes = np.asarray(flatten_state(state), np.float64)[0], _sizes(state)
        tau = np.concatenate([np.ravel(np.asarray(t, np.float64)) for t in jax.tree.leaves(wide.time_constants())])
    shared = ExpressionCircuit(
        table=table,
        mu=tuple(mu),
        groups=tuple(sizes.values()),
        tau=tau,
        start=start,
        schedule=(),
        clamped=(),
        inputs=rows[:, :0] if fold_inputs else rows,
        targets=targets,
        leaves=tuple(sizes),
        limits=_limits(field, state),
    )
    _check_finite(shared)
    given = None if starts is None else sample_rows("starts", starts, len(tau))
    if given is not None and len(given) != len(rows):
        raise ValueError(f"there are {len(given)} starts for {len(rows)} samples: give one for each")
    numbers = [tuple(range(len(rows)))[first : first + in_sequence] for first in range(0, len(rows), in_sequence)]
    return [
        dataclasses.replace(
            shared,
            clamped=clamped,
            schedule=tuple(dataclasses.replace(w, sample=k) for k in range(len(clamped)) for w in schedule),
            start=start if given is None else given[clamped[0]],
            inputs=shared.inputs[list(clamped)],
            targets=targets[list(clamped)],
        )
        for clamped in numbers
    ]


def _sizes(state: State) -> dict[str, int]:
    """How many numbers each leaf of the state of one sample has, by its name."""
    paths, _ = jax.tree_util.tree_flatten_with_path(state)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf.size for path, leaf in paths}


def _velocity(
    table: Expressions, field: AbstractVectorField, rows: np.ndarray, nudge: AbstractNudge | None, fold: bool
) -> list[Scalar]:
    """mu^beta of all state variables as expressions."""
    state = field.initial_state(1)
    size = sum(leaf.size for leaf in jax.tree.leaves(state))
    states = [table.leaf("state", i) for i in range(size)]
    x = PerSample(tuple(row[None] for row in rows)) if fold else _leaves(table, "input", (1, rows.shape[1]))
    leaves, structure = jax.tree.flatten(nudge)
    pull = None if nudge is None else nudge.pull
    given = [_nudge_part(table, leaf, pull, len(rows)) for leaf in leaves]

    def velocity(x: Array, parts: list[Array], share: Array, free: State, state: State) -> State:
        acting = None if nudge is None else jax.tree.unflatten(structure, parts).anchored(field, x, free)
        if acting is not None and pull is None:
            acting = acting.switched(share)
        return Dynamics(field, field.drive(x), acting).velocity()(state)

    parts = [leaf[:1] if jnp.ndim(leaf) and leaf is not None else leaf for leaf in leaves]
    traced = trace(velocity, jnp.asarray(rows[:1]), parts, jnp.ones(()), state, state)
    # Outside nudged windows a nudge that refers to the free state refers to the state itself, and has no part.
    nudging = table.leaf("nudging")
    held = [
        table.add(s, table.multiply(nudging, table.add(table.leaf("held", i), table.scale(s, -1.0))))
        for i, s in enumerate(states)
    ]
    shaped = [leaf for scalars in (held, states) for leaf in _shaped(scalars, state)]
    return evaluate(table, traced, x, *given, entries_of(nudging), *shaped)


def _nudge_part(table: Expressions, leaf: Array, pull: object, samples: int) -> object:
    """An array of a nudge: the influence parameter and the target are sources, others are known."""
    if leaf is getattr(pull, "beta", None):
        if jnp.iscomplexobj(leaf):
            raise ValueError("a circuit has real voltages: a complex beta (holomorphic nudging) needs an ODE substrate")
        return _leaves(table, "beta", ())
    if leaf is getattr(pull, "target", None):
        return _leaves(table, "target", (1, leaf.shape[1]))
    if not leaf.ndim:
        return leaf
    return PerSample(tuple(np.asarray(leaf[k : k + 1]) for k in range(samples)))


def _leaves(table: Expressions, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    entries = np.empty(shape, object)
    for k, at in enumerate(np.ndindex(*shape)):
        entries[at] = table.leaf(kind, k)
    return entries


def _shaped(scalars: Sequence[Scalar], state: State) -> list[np.ndarray]:
    """The scalars of a flattened state as its leaves."""
    leaves, first = [], 0
    for leaf in jax.tree.leaves(state):
        entries = np.empty(leaf.size, object)
        entries[:] = scalars[first : first + leaf.size]
        leaves.append(entries.reshape(leaf.shape))
        first += leaf.size
    return leaves


def _limits(field: AbstractVectorField, state: State) -> tuple[np.ndarray, np.ndarray] | None:
    if not field.projected:
        return None
    sizes = [leaf.size for leaf in jax.tree.leaves(state)]
    low, high = np.repeat(np.array(field.leaf_bounds, np.float64), sizes, axis=0).T
    return low, high


def _check_finite(circuit: ExpressionCircuit) -> None:
    numbers = {"the time constants": circuit.tau, "the targets": circuit.targets, "the initial state": circuit.start}
    for what, values in numbers.items():
        if not np.isfinite(values).all():
            raise ValueError(f"{what} hold NaN or infinity; no circuit can be built from that")
    if np.any(circuit.tau <= 0):
        raise ValueError("every time constant must be positive: a neuron's capacitance is tau over its leak")
    scalars = [*circuit.mu, *(operand for atom in circuit.table.atoms for operand in atom.operands)]
    constants = [[s.constant, *s.weights.tolist()] if isinstance(s, Affine) else [s] for s in scalars]
    values = np.array([value for one in constants for value in one])
    if not (np.isfinite(values).all() and all(np.isfinite(source).all() for source in circuit.table.sources)):
        raise ValueError("mu holds NaN or infinity: check its parameters and inputs; no circuit can be built from that")
