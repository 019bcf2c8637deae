"""A picture of the GDU property: successive updates of equilibrium propagation on the gradients of BPTT."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from .style import CYCLE, INK, panels, styled

_CIRCLES = {"linestyle": "", "marker": "o", "markersize": 4.2, "markerfacecolor": "white"}

Processes = Mapping[str, Float[np.ndarray, "_ _"]]


@styled
def successive_updates(eqprop: Processes, bptt: Processes, *, lines: int = 5) -> np.ndarray:
    """Draws what every step changes, BPTT's as lines and equilibrium propagation's as circles, group by group.

    Args:
        eqprop: by group, (step, entry): the changes along the nudged phase, per unit of beta.
        bptt: the same, minus what the steps backwards add to the gradient.
        lines: how many entries to draw of each group: those that change most.

    Returns:
        The Axes, top first; each title names the group and the relative difference over all its entries.
    """
    axes = panels([1.9] * len(bptt), share_x=True)
    shown = 1  # steps, until nothing more is to be seen
    for ax, (name, process) in zip(axes, bptt.items(), strict=True):
        steps = np.arange(len(process))
        most = np.argsort(-np.abs(process).sum(axis=0))[:lines]
        for entry, colour in zip(most, CYCLE * len(most), strict=False):
            ax.plot(steps, process[:, entry], color=colour, linewidth=1.4)
            ax.plot(steps, eqprop[name][:, entry], color=colour, **_CIRCLES)
        length = np.linalg.norm(process)
        apart = np.linalg.norm(eqprop[name] - process)
        said = f"relative difference {apart / length:.1e}" if length > 0 else "no gradient"
        ax.axhline(0.0, color=INK, linewidth=0.8)
        ax.set_title(f"{name[:1].upper()}{name[1:]}: {said}")
        ax.set_ylabel("change")
        shown = max([shown, *(1 + np.flatnonzero(np.abs(process).max(axis=1) > 0.01 * np.abs(process).max()))])
    axes[-1].set_xlim(-0.5, shown + 0.5)
    axes[-1].set_xlabel("steps forwards (nudged phase), backwards (BPTT)")
    axes[0].plot([], [], color=INK, linewidth=1.4, label="BPTT")
    axes[0].plot([], [], color=INK, **_CIRCLES, label="equilibrium propagation")
    axes[0].legend(loc="best", ncols=1)
    return axes
