"""A picture of circuits that learn by themselves: their losses, and the weights of the first one."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ..circuits.ngspice import SimulatorFailed
from ..circuits.plasticity import CircuitLearning, TrainingRecord
from ..results import NoPictureError, with_unit
from .draw import draw
from .style import COLOURS, CYCLE, INK, panels, styled


@draw.register(CircuitLearning)
@styled
def _circuit_learning(result: CircuitLearning, ax: Axes | None = None) -> Axes:
    """The learning curves of all circuits over those of the reference ODE; of the first circuit how its weights moved
    and, for one output and few samples, how its outputs came to their targets.

    Raises:
        NoPictureError: where the simulator failed for the first circuit.
    """
    first = result.records[0]
    if isinstance(first, SimulatorFailed):
        raise NoPictureError(f"ngspice gave no usable result for seed {result.seeds[0]}: there are no weights to draw")
    shown = result.task.y.shape[1] == 1 and len(result.task.x) <= len(CYCLE)
    axes = panels([2.8, 2.6] + [2.6] * shown) if ax is None else np.array([ax])
    _losses(axes[0], result)
    if ax is None:
        _weights(axes[1], first, result.schedule.epochs)
    if ax is None and shown:
        _outputs(axes[2], result, first)
    return axes[0]


def _losses(ax: Axes, result: CircuitLearning) -> None:
    losses, equations = result.losses, result.reference_losses
    epochs = np.arange(1, losses.shape[1] + 1)
    if equations is not None:
        for k, loss in enumerate(equations):
            label = None if k else "reference ODE"
            ax.plot(epochs, loss, color=COLOURS["grey"], linewidth=3.4, alpha=0.5, label=label)
    for k, loss in enumerate(losses):
        ax.plot(epochs, loss, color=COLOURS["blue"], linewidth=1.2, label=None if k else "ngspice")
    passing = result.schedule.passing_loss
    ax.axhline(passing, color=COLOURS["green"], linewidth=1.2, linestyle=(0, (4, 3)), label="learnt")
    ax.set(xlabel="epoch", ylabel="loss / variance", yscale="log", xlim=(0, None))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    number = np.isfinite(losses[:, -1]).sum()
    ax.set_title(f"Loss of {number} circuits that learn by themselves" if number != 1 else "Loss in the circuit")
    low, high = ax.get_ylim()
    ax.set_ylim(low, high * (high / low) ** 0.15)
    ax.legend(loc="upper right", ncols=3, columnspacing=1.2)


def _weights(ax: Axes, record: TrainingRecord, epochs: int) -> None:
    layers, names = record.plastic.kinds
    weights = record.weights[: record.learning]
    shown = np.linspace(0, epochs, len(weights))
    for layer, (name, colour) in enumerate(zip(names, CYCLE, strict=False)):
        for k, synapse in enumerate(np.flatnonzero(layers == layer)):
            label = None if k else name
            ax.plot(shown, weights[:, synapse], color=colour, linewidth=1.0, alpha=0.8, label=label)
    ax.set(xlabel="epoch", ylabel="weight W", xlim=(0, None))
    ax.set_title("Capacitor voltages, as the weights they stand for")
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.22 * (high - low))
    ax.legend(loc="upper left", ncols=len(names), columnspacing=1.2)


def _outputs(ax: Axes, result: CircuitLearning, record: TrainingRecord) -> None:
    samples, milliseconds = record.samples[: record.learning], 1e3 * result.netlist.map["scales"]["tau_s"]
    times = milliseconds * record.times[: record.learning]
    for target in np.unique(result.task.y):
        ax.axhline(target, color=INK, linewidth=1.0, linestyle=(0, (4, 3)))
    for k, (x, colour) in enumerate(zip(result.task.x, CYCLE, strict=False)):
        own = samples == k
        label = "input " + ", ".join(f"{value:+.1f}" for value in x)
        ax.plot(times[own], record.outputs[: record.learning][own, 0], color=colour, linewidth=1.2, label=label)
    energy = with_unit(record.joules_training, "J")
    ax.set(xlabel="time in the circuit (ms)", ylabel="output, state units", xlim=(0, None))
    ax.set_title("Outputs, targets dashed" + (f": {energy} of training" if energy else ""))
    low, high = ax.get_ylim()
    ax.set_ylim(low - 0.3 * (high - low), high)
    ax.legend(loc="lower right", ncols=2, columnspacing=1.2)
