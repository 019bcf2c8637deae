"""A picture of circuits that learn by themselves: the loss, the weights and what was learnt."""

import numpy as np
from jaxtyping import Float, Int
from matplotlib.ticker import MaxNLocator

from .style import COLOURS, CYCLE, panels, styled


@styled
def in_circuit(
    losses: Float[np.ndarray, "seed epoch"],
    weights: Float[np.ndarray, "presentation synapse"],
    layers: Int[np.ndarray, " synapse"],
    names: list[str],
    *,
    twins: Float[np.ndarray, "seed epoch"] | None = None,
    learnt: float | None = None,
) -> np.ndarray:
    """Draws the learning curves of several circuits, and how the weights of the first one moved.

    Args:
        losses: mean cost of every epoch, as a share of the targets' variance, a circuit a row; NaN where it failed.
        weights: W of every synapse of the first circuit at each presentation of a sample.
        layers: which of `names` each synapse belongs to.
        names: kinds of synapses.
        twins: losses of the same circuits by their differential equations.
        learnt: the loss at which a circuit counts as having learnt.

    Returns:
        The Axes, top first.
    """
    axes = panels([2.8, 2.6])
    epochs = np.arange(1, losses.shape[1] + 1)
    if twins is not None:
        for k, loss in enumerate(twins):
            axes[0].plot(epochs, loss, color=COLOURS["grey"], linewidth=3.4, alpha=0.5, label=None if k else "ODE twin")
    for k, loss in enumerate(losses):
        axes[0].plot(epochs, loss, color=COLOURS["blue"], linewidth=1.2, label=None if k else "ngspice")
    if learnt is not None:
        axes[0].axhline(learnt, color=COLOURS["green"], linewidth=1.2, linestyle=(0, (4, 3)), label="learnt")
    axes[0].set(xlabel="epoch", ylabel="loss / variance", yscale="log", xlim=(0, None))
    axes[0].xaxis.set_major_locator(MaxNLocator(integer=True))
    number = np.isfinite(losses[:, -1]).sum()
    axes[0].set_title(f"Loss of {number} circuits that learn by themselves" if number != 1 else "Loss in the circuit")
    low, high = axes[0].get_ylim()
    axes[0].set_ylim(low, high * (high / low) ** 0.15)
    axes[0].legend(loc="upper right", ncols=3, columnspacing=1.2)
    shown = np.linspace(0, losses.shape[1], len(weights))
    for layer, (name, colour) in enumerate(zip(names, CYCLE, strict=False)):
        for k, synapse in enumerate(np.flatnonzero(layers == layer)):
            label = None if k else name
            axes[1].plot(shown, weights[:, synapse], color=colour, linewidth=1.0, alpha=0.8, label=label)
    axes[1].set(xlabel="epoch", ylabel="weight W", xlim=(0, None))
    axes[1].set_title("Capacitor voltages, as the weights they stand for")
    low, high = axes[1].get_ylim()
    axes[1].set_ylim(low, high + 0.22 * (high - low))
    axes[1].legend(loc="upper left", ncols=len(names), columnspacing=1.2)
    return axes
