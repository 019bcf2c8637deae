"""Learners of signals by name: readouts in closed form, optimisers of kernel networks, gradients and online rules."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from ..kernel_networks import LBFGS, AbstractOptimiser, Adam, BackwardTuning, EarlyStopping, KernelNetwork, Problem
from ..signals import Task
from ..vector_fields import AbstractVectorField
from .aprl import APRL
from .bptt import BPTT
from .liquid import Liquid
from .online import learn_online
from .online_rule import AbstractOnlineRule
from .readout import Readout
from .reservoir import AbstractEchoStateNetwork
from .rtrl import RTRL
from .streaming import advance

Progress = Callable[[int, int], None]

RIDGES = tuple(10.0**k for k in range(-10, 1))  # of the mean eigenvalue of the states' correlations


class Learnt(NamedTuple):
    """What a learner gives: the model, a row an iteration, and why it ended."""

    model: Any
    history: list[dict[str, Any]]
    ended: str


class LearnerSettings(NamedTuple):
    """The settings of a learner; each by default its own.

    Attributes:
        iterations: steps at most.
        patience: iterations without a better validation after which kernel networks and `bptt` end. Online rules keep
            the epoch that was best on what they learn from.
        rate: the learning rate of `bptt`, `adam`, `rtrl` and `aprl`.
        ridge: of the readout, as for `Readout.fit`; the best of a grid on the validation part by default.
        key: a JAX random key, for rules that draw.
        progress: called with (iterations done, at most).
    """

    iterations: int | None = None
    patience: int = 50
    rate: float | None = None
    ridge: float | None = None
    key: Any = None
    progress: Progress | None = None

    @classmethod
    def of(cls, settings: dict[str, Any]) -> "LearnerSettings":
        """From keywords.

        Raises:
            ValueError: for a setting that no learner has, or one that cannot be.
        """
        if unknown := set(settings) - set(cls._fields):
            raise ValueError(
                f"no learner has the setting {', '.join(sorted(unknown))}: there are {', '.join(cls._fields)}"
            )
        found = cls(**settings)
        for name in ("iterations", "patience", "rate"):
            if getattr(found, name) is not None and not 0 < getattr(found, name) < np.inf:
                raise ValueError(f"{name}={getattr(found, name)}: give a number above 0")
        return found


def default_learner(model: Any) -> str:
    """The learner of a model.

    Raises:
        ValueError: for what is no model.
    """
    if isinstance(model, AbstractEchoStateNetwork | Liquid):
        return "ridge"
    if isinstance(model, KernelNetwork):
        return "backward-tuning"
    if isinstance(model, AbstractVectorField):
        return "bptt"
    raise ValueError(
        f"a {type(model).__name__} is no model for signals: give a vector field, a KernelNetwork, an echo state "
        "network or a Liquid"
    )


def learn(
    model: Any,
    learner: str | AbstractOptimiser | AbstractOnlineRule,
    train: Task,
    validation: Task | None,
    settings: LearnerSettings,
) -> Learnt:
    """Lets a learner learn.

    Args:
        model: what learns.
        learner: its name, or itself.
        train: the task.
        validation: the same sequences with the targets of the validation part alone; None without any.
        settings: of the learner.

    Raises:
        ValueError: for a learner that does not fit the model.
    """
    default_learner(model)  # refuses what is no model
    name = learner if isinstance(learner, str) else None
    if isinstance(model, AbstractEchoStateNetwork | Liquid) and name == "ridge":
        return _ridge(model, train, validation, settings)
    if isinstance(model, KernelNetwork) and (isinstance(learner, AbstractOptimiser) or name in _OPTIMISERS):
        return _optimised(model, _OPTIMISERS[name](settings) if name else learner, train, validation, settings)
    if isinstance(model, AbstractVectorField) and name == "bptt":
        return _bptt(model, train, validation, settings)
    if isinstance(model, AbstractVectorField) and (isinstance(learner, AbstractOnlineRule) or name in _ONLINE):
        return _online(model, _ONLINE[name](settings.rate) if name else learner, train, settings)
    fitting = {"ridge": "reservoirs and liquids", "bptt": "vector fields"}
    fitting |= dict.fromkeys(_OPTIMISERS, "kernel networks") | dict.fromkeys(_ONLINE, "vector fields")
    there = "; ".join(f"{one} is for {which}" for one, which in fitting.items())
    raise ValueError(f"learner {learner!r} does not fit a {type(model).__name__}: {there}")


_OPTIMISERS: dict[Any, Callable[[LearnerSettings], AbstractOptimiser]] = {
    "backward-tuning": lambda settings: BackwardTuning(iterations=settings.iterations or 200),
    "lbfgs": lambda settings: LBFGS(iterations=settings.iterations or 500),
    "adam": lambda settings: Adam(iterations=settings.iterations or 2000, rate=settings.rate or 1e-2),
}
_ONLINE: dict[Any, Callable[[float | None], AbstractOnlineRule]] = {
    "rtrl": lambda rate: RTRL(rate=1e-2 if rate is None else rate),
    "aprl": lambda rate: APRL(rate=1.0 if rate is None else rate),
}


def _ridge(model: Any, train: Task, validation: Task | None, settings: LearnerSettings) -> Learnt:
    """The readout whose ridge is the best on the validation part; with feedback, the targets are fed back meanwhile."""
    whole = train if validation is None else validation
    states = np.asarray(_states(model, whole, train), float)
    seen = states[: len(train.targets)]
    targets = np.asarray(train.targets, float)
    flat = seen.reshape(-1, seen.shape[2])[np.isfinite(targets).all(axis=2).ravel()]
    unit = float(np.sum((flat - flat.mean(axis=0)) ** 2)) / flat.shape[1] if len(flat) else 1.0
    if settings.ridge is not None or validation is None:
        ridges: list[float] = [1e-6 * max(unit, 1e-300) if settings.ridge is None else settings.ridge]
    else:
        ridges = [one * max(unit, 1e-300) for one in RIDGES]
    history, best, lowest = [], None, np.inf
    for number, ridge in enumerate(ridges):
        readout = Readout.fit(seen, targets, ridge=ridge)
        error = float("nan")
        if validation is not None:
            error = float(validation.mean_squared_error(readout(jnp.asarray(states, readout.weights.dtype))))
        history.append({"ridge": ridge, "validation": error})
        if best is None or error < lowest:
            best, lowest = readout, error
        if settings.progress is not None:
            settings.progress(number + 1, len(ridges))
    fitted = eqx.tree_at(lambda m: m.readout, model, best, is_leaf=lambda leaf: leaf is None)
    return Learnt(fitted, history, "solved in closed form")


def _states(model: Any, task: Task, train: Task) -> Array:
    if isinstance(model, AbstractEchoStateNetwork) and model.reservoir.feedback:
        beyond = len(task.targets) - len(train.targets)
        learnt = jnp.pad(train.targets, [(0, beyond), (0, 0), (0, 0)], constant_values=jnp.nan)
        taught = jnp.nan_to_num(jnp.where(jnp.isfinite(learnt), learnt, task.targets))
        teacher = eqx.tree_at(lambda signal: signal.values, task.inputs, taught)
        return model.run(task.inputs, teacher=teacher, throw=False).states
    return model.run(task.inputs).states


def _optimised(
    network: KernelNetwork, optimiser: Any, train: Task, validation: Task | None, settings: LearnerSettings
) -> Learnt:
    stopping = None
    if validation is not None:
        stopping = EarlyStopping(Problem(network, validation.astype(network.low.dtype)), settings.patience)
    problem = Problem(network, train.astype(network.low.dtype))
    found = optimiser.fit(problem, progress=settings.progress, stopping=stopping)
    history = found.rows()
    if stopping is not None:
        history = [row | {"validation": judged} for row, judged in zip(history, stopping.costs, strict=False)]
    return Learnt(found.network, history, found.advice)


def _bptt(field: AbstractVectorField, train: Task, validation: Task | None, settings: LearnerSettings) -> Learnt:
    """Adam on the gradient of BPTT, all series at once; the best weights on the validation part are kept."""
    iterations, descent, rule = settings.iterations or 1000, optax.adam(settings.rate or 1e-2), BPTT()
    parameters: Any = field.parameters()  # a pytree, which optax takes
    state = descent.init(parameters)
    scored = jnp.maximum(jnp.sum(train.scored), 1)

    @eqx.filter_jit
    def moved(parameters: Any, state: Any, gradient: Any) -> tuple[Any, Any]:
        mean = jax.tree.map(lambda g: g / scored.astype(g.dtype), gradient)
        change, state = descent.update(mean, state)
        return eqx.apply_updates(parameters, change), state

    best, lowest, since, history, ended = parameters, np.inf, 0, [], f"stopped after {iterations} iterations"
    for number in range(iterations):
        here = eqx.combine(parameters, field)
        found = rule.estimate(here, train)
        error = judged = float(found.error)
        if validation is not None:
            outputs, _ = advance(here, validation.inputs.values, validation.inputs.step, None)
            judged = float(validation.mean_squared_error(outputs))
        history.append({"iteration": number, "error": error, "validation": judged})
        if settings.progress is not None:
            settings.progress(number + 1, iterations)
        if judged < lowest:
            best, lowest, since = parameters, judged, 0
        since += 1
        if not np.isfinite(error):
            ended = f"exploded after {number} iterations: lower the rate"
            break
        if since > settings.patience and validation is not None:
            ended = f"stopped early: no better validation in {settings.patience} iterations"
            break
        parameters, state = moved(parameters, state, found.gradient)
    return Learnt(eqx.combine(best, field), history, ended)


def _online(field: AbstractVectorField, rule: Any, train: Task, settings: LearnerSettings) -> Learnt:
    run = learn_online(rule, field, train, epochs=settings.iterations or 50, key=settings.key)
    return Learnt(run.field, run.rows(), run.advice)
