"""The same free phase by other libraries, as their users write it."""

import importlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from scipy.integrate import solve_ivp

from ..vector_fields import AbstractLayered, AbstractNeuralNetwork

_LONGEST = 2000.0


class Missing(ImportError):
    """A library to compare with is not installed."""


class NotReached(RuntimeError):
    """A solver did not reach the residual."""


def library(name: str) -> Any:
    """Another library.

    Raises:
        Missing: where it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise Missing(f"{name} is not installed: pip install 'eqprop-field[bench]'") from error


class _Numpy:
    """The field in numpy: W, the drive, and rho."""

    def __init__(self, field: AbstractNeuralNetwork, x: jax.Array) -> None:
        self.weights = [np.asarray(w) for w in _pairs(field)]
        drive = field.drive(x)
        self.drive = [np.asarray(d) for d in jax.tree.leaves(drive)]
        self.widths = np.cumsum([d.shape[1] for d in self.drive])[:-1]
        self.tanh = field.activation.name == "tanh"


def _pairs(field: AbstractNeuralNetwork) -> list[jax.Array]:
    """Forward and feedback weights of neighbouring layers in turn; a graph's one matrix."""
    if isinstance(field, AbstractLayered):
        return [w for pair in zip(field.forward[:-1], field.feedback, strict=True) for w in pair]
    return [field.recurrent_matrix()]


def _inputs_of(rates: list[Any], weights: list[Any], drive: list[Any]) -> list[Any]:
    """W rho(s) + drive by layer, with the operators of numpy and PyTorch alike."""
    if len(rates) == 1:
        return [rates[0] @ weights[0].T + drive[0]]
    total = list(drive)
    for i, (ahead, back) in enumerate(zip(weights[::2], weights[1::2], strict=True)):
        total[i] = total[i] + rates[i + 1] @ ahead.T
        total[i + 1] = total[i + 1] + rates[i] @ back.T
    return total


def scipy(field: AbstractNeuralNetwork, x: jax.Array, residual: float) -> Callable[[], float]:
    """scipy's RK45, the batch as one state, stopped by an event; the loosest tolerance that reaches the residual."""
    net = _Numpy(field, x)
    shape = (len(x), sum(d.shape[1] for d in net.drive))

    def velocity(t: float, flat: np.ndarray) -> np.ndarray:
        del t
        states = np.split(flat.reshape(shape).astype(np.float32), net.widths, axis=1)
        rates = [np.tanh(s) if net.tanh else np.clip(s, 0, 1) for s in states]
        return np.concatenate(
            [i - s for i, s in zip(_inputs_of(rates, net.weights, net.drive), states, strict=True)], 1
        ).ravel()

    def moving(t: float, flat: np.ndarray) -> float:
        return float(np.abs(velocity(t, flat)).max() - 0.5 * residual)  # the event's state is interpolated

    moving.terminal = True  # pyright: ignore[reportFunctionMemberAccess]

    def settled(tolerance: float) -> float:
        solved = solve_ivp(
            velocity, (0, _LONGEST), np.zeros(shape).ravel(), rtol=tolerance, atol=tolerance, events=moving
        )
        return float(np.abs(velocity(0.0, solved.y[:, -1])).max())

    tolerance = _first("scipy's RK45", settled, residual / 10 * 0.5 ** np.arange(6), residual)
    return lambda: settled(tolerance)


def _first(name: str, settled: Callable[[float], float], values: np.ndarray, residual: float) -> float:
    """The first of the settings with which the solver reaches the residual."""
    for value in values.tolist():
        if settled(value) <= residual:
            return value
    raise NotReached(f"{name} does not reach a residual of {residual:g}")


class _Torch:
    """The field in PyTorch."""

    def __init__(self, field: AbstractNeuralNetwork, x: jax.Array) -> None:
        self.torch = library("torch")
        net = _Numpy(field, x)
        self.weights = [self.torch.from_numpy(np.array(w)) for w in net.weights]
        self.drive = [self.torch.from_numpy(np.array(d)) for d in net.drive]
        self.widths = [d.shape[1] for d in self.drive]
        self.rho = self.torch.tanh if net.tanh else lambda s: s.clamp(0, 1)
        self.rest = self.torch.zeros(len(x), sum(self.widths))

    def map(self, flat: Any) -> Any:
        """W rho(s) + drive."""
        states = self.torch.split(flat, self.widths, dim=1)
        return self.torch.cat(_inputs_of([self.rho(s) for s in states], self.weights, self.drive), dim=1)

    def residual(self, flat: Any) -> float:
        """max |mu|."""
        return float((self.map(flat) - flat).abs().max())


def torchdiffeq(
    field: AbstractNeuralNetwork, x: jax.Array, residual: float, **tolerances: float
) -> Callable[[], float]:
    """torchdiffeq's dopri5 up to the first of the times 5, 10, 15, ... that reaches the residual, found beforehand."""
    solver, net = library("torchdiffeq"), _Torch(field, x)

    def settled(time: float) -> float:
        with net.torch.no_grad():
            times = net.torch.tensor([0.0, time])
            return net.residual(solver.odeint(lambda _, s: net.map(s) - s, net.rest, times, **tolerances)[-1])

    time = _first("dopri5 by the time 200", settled, np.arange(5.0, 205.0, 5.0), residual)
    return lambda: settled(time)


def torchdeq(field: AbstractNeuralNetwork, x: jax.Array, residual: float) -> Callable[[], float]:
    """torchdeq's Anderson, with the loosest of the tolerances 1, 1/2, 1/4, ... that reaches the residual."""
    deq, net = library("torchdeq"), _Torch(field, x)

    def settled(tolerance: float) -> float:
        solver = deq.get_deq(f_solver="anderson", f_max_iter=300, f_tol=tolerance, f_stop_mode="abs")
        with net.torch.no_grad():
            return net.residual(solver(net.map, net.rest)[0][-1])

    tolerance = _first("torchdeq's Anderson", settled, 0.5 ** np.arange(20), residual)
    return lambda: settled(tolerance)


def torch_sweeps(field: AbstractNeuralNetwork, x: jax.Array, residual: float) -> Callable[[], float]:
    """The sweeps of `Equilibrium` written out in PyTorch: even layers, odd layers, a look at what still moves."""
    net = _Torch(field, x)
    torch, weights, drive = net.torch, net.weights, net.drive

    def incoming(rates: list[Any], i: int) -> Any:
        if len(drive) == 1:
            return rates[0] @ weights[0].T + drive[0]
        total = drive[i]
        if i + 1 < len(drive):
            total = torch.addmm(total, rates[i + 1], weights[2 * i].T)
        if i > 0:
            total = torch.addmm(total, rates[i - 1], weights[2 * i - 1].T)
        return total

    def run() -> float:
        with torch.no_grad():
            states = list(torch.split(net.rest, net.widths, dim=1))
            rates = [net.rho(s) for s in states]
            evens, odds = range(0, len(states), 2), range(1, len(states), 2)
            for sweep in range(1000):
                towards = {i: incoming(rates, i) for i in evens}
                # The odd layers were solved last; only the even ones still move.
                reached = max(float((towards[i] - states[i]).abs().max()) for i in evens)
                if sweep and reached <= residual:
                    return reached
                for half in (evens, odds):
                    for i in half:
                        states[i] = towards[i] if i in towards else incoming(rates, i)
                        rates[i] = net.rho(states[i])
        raise NotReached(f"the plain sweeps do not reach a residual of {residual:g}")

    return run
