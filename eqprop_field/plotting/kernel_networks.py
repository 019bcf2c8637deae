"""Pictures of fits of kernel networks: the cost against the iteration, and the error of an online run."""

import numpy as np
from matplotlib.axes import Axes

from ..kernel_networks import OnlineTuningResult, OptimisationResult, ReverseEngineeringResult
from .draw import draw
from .style import COLOURS, panels, styled


@draw.register
@styled
def optimisation(result: OptimisationResult, ax: Axes | None = None) -> Axes:
    """Draws the cost against the iteration; costs that are 0 or infinite are left out."""
    axes: Axes = panels([3.2])[0] if ax is None else ax
    shown = np.where((result.costs > 0) & np.isfinite(result.costs), result.costs, np.nan)
    axes.plot(np.arange(len(shown)), shown)
    if np.isfinite(shown).any():
        axes.set_yscale("log")
    axes.set(xlabel="iteration", ylabel="cost")
    axes.set_title(f"Cost {result.cost:.2g} after {result.simulations} simulations")
    return axes


@draw.register
@styled
def reverse_engineering_run(result: ReverseEngineeringResult, ax: Axes | None = None) -> Axes:
    """Draws the cost of the fit against the iteration."""
    axes = optimisation(result.fit, ax)
    axes.set_title(f"{result.size} {result.unit} units by {result.rule}: NRMSE {result.nrmse:.2g}")
    return axes


@draw.register
@styled
def online_tuning(result: OnlineTuningResult, ax: Axes | None = None) -> Axes:
    """Draws the error of every stride, and its median over 25."""
    axes: Axes = panels([3.2])[0] if ax is None else ax
    samples = result.stride * np.arange(1, len(result.error) + 1)
    axes.plot(samples, result.error, color=COLOURS["grey"], linewidth=0.8, label="every stride")
    if len(samples) >= 25:
        windows = np.lib.stride_tricks.sliding_window_view(result.error, 25)
        axes.plot(samples[12:-12], np.median(windows, axis=1), color=COLOURS["blue"], label="median of 25 strides")
    axes.set(xlabel="sample", ylabel="mean squared error", yscale="log")
    axes.legend(loc="upper right")
    return axes
