"""Pictures of how well circuits learn: against one swept parameter, and over many chips."""

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ..circuits.fidelity import FidelitySweep
from ..circuits.fidelity_campaign import JUDGED
from ..circuits.montecarlo import MonteCarlo
from ..results import NoPictureError
from .draw import draw
from .style import COLOURS, INK, MARKERS, legend_above, panels, styled

_BINS = 30
_DASHES = (0, (4, 2))
_LEAST = 1e-3  # degrees; smaller angles are not shown
_COLOURS = (COLOURS["blue"], COLOURS["red"], COLOURS["green"])
_ANGLES = {
    "cosine_to_ideal_eqprop": "to ideal EqProp",
    "cosine_to_chip_gradient": "to the chip's gradient",
    "cosine_to_nominal_gradient": "to the nominal gradient",
}
_TIMES = {"settling_free": "free phase", "settling_nudged": "nudged phases"}
_SPREADS = {
    "cosine_to_ideal_eqprop": ("cosine of the update to ideal EqProp's", 1.0),
    "cosine_to_chip_gradient": ("cosine to the chip's gradient", 1.0),
    "settling_free": ("settling time of the free phase (τ)", 1.0),
    "joules_update": ("energy of an update (pJ)", 1e12),
}


@draw.register(FidelitySweep)
@styled
def _sweep(result: FidelitySweep, ax: Axes | None = None) -> Axes:
    """The first parameter's values against the angle between updates and what they should be, and the settling times.

    Lines are means over the chips, bands reach from the lowest to the highest; points are hollow where a phase was not
    at rest.
    """
    name, parameter = next(iter(result.parameters.items()))
    rows = [row for row in result.rows() if row["parameter"] == name]
    values = np.array(sorted({row["value"] for row in rows}), float)

    def chips(measure: str) -> Float[np.ndarray, "values chips"]:
        return np.array([[row[measure] for row in rows if row["value"] == value] for value in values], float)

    axes = panels([3.4, 2.0], share_x=True) if ax is None else np.array([ax])
    settled = (chips("settled") == 1).all(axis=1)
    for k, (measure, title) in enumerate(_ANGLES.items()):
        # Not arccos alone: the cosine of a small angle has lost the digits that it needs, and rounds to above 1.
        angles = np.degrees(np.arccos(np.clip(chips(measure), -1, 1 - 1e-12)))
        _curve(axes[0], values, angles, settled, (k, title))
    axes[0].axhline(90, color=INK, linewidth=0.9, linestyle=(0, (5, 3)))
    pass_line = float(np.degrees(np.arccos(np.clip(result.passing, -1, 1))))
    axes[0].axhline(pass_line, color=INK, linewidth=0.9, linestyle=":")
    axes[0].set_yscale("log")
    axes[0].set(ylabel="angle of the update (°)", ylim=(max(_LEAST, axes[0].get_ylim()[0]), 190))
    axes[0].yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes[0].set_title(f"How far updates point away (dashed: 90°; dotted: a cosine of {result.passing:g})")
    if ax is None:
        for k, (measure, title) in enumerate(_TIMES.items()):
            _curve(axes[1], values, chips(measure), settled, (k, title))
        axes[1].set(ylabel="settling time (τ)", ylim=(0, None))
    if not settled.all():
        axes[-1].plot([], [], "o", color=INK, markerfacecolor="white", label="not at rest")
    for panel in axes:
        panel.set_xscale("linear" if parameter.linear else "log")
        panel.legend(loc="best", ncols=1)
    axes[-1].set_xlabel(parameter.title)
    axes[-1].set_xticks(values, [f"{value:g}" for value in values])
    axes[-1].minorticks_off()
    return axes[0]


def _curve(
    ax: Axes,
    values: Float[np.ndarray, " values"],
    chips: Float[np.ndarray, "values chips"],
    settled: Bool[np.ndarray, " values"],
    which: tuple[int, str],
) -> None:
    k, name = which
    colour, middle = _COLOURS[k % 3], chips.mean(axis=1)
    ax.plot(values, middle, MARKERS[k], linestyle="-", color=colour, label=name, linewidth=1.6, markersize=5.5)
    moving = ~settled
    ax.plot(values[moving], middle[moving], MARKERS[k], color=colour, markerfacecolor="white", markersize=5.5)
    if chips.shape[1] > 1:
        ax.fill_between(values, chips.min(axis=1), chips.max(axis=1), color=colour, alpha=0.15, linewidth=0)


@draw.register(MonteCarlo)
@styled
def _montecarlo(result: MonteCarlo, ax: Axes | None = None) -> Axes:
    """How the measures are spread over the chips at rest, a panel each, with lines at 5, 50 and 95 % of them.

    Both cosines have the pass line too, or say where it is, where it would be far from all chips.

    Raises:
        NoPictureError: where no chip came to rest.
    """
    rest = result.at_rest
    columns = {measure: _SPREADS[measure][1] * result.column(measure)[rest] for measure in _SPREADS}
    drawn = {measure: values[np.isfinite(values)] for measure, values in columns.items() if np.isfinite(values).any()}
    if not drawn:
        raise NoPictureError("no chip came to rest in all its phases: there is nothing to draw")
    axes = panels([2.5] * len(drawn)) if ax is None else np.array([ax])
    for panel, (measure, values), colour in zip(axes, drawn.items(), _COLOURS * len(drawn), strict=False):
        panel.hist(values, min(_BINS, max(5, len(values) // 4)), color=colour, alpha=0.85)
        panel.yaxis.set_major_locator(MaxNLocator(integer=True))  # no halves of chips
        for share, form in ((5, _DASHES), (50, "-"), (95, _DASHES)):
            panel.axvline(float(np.percentile(values, share)), color=INK, linewidth=1.2, linestyle=form)
        if measure in JUDGED:
            _pass_line(panel, values, result.passing)
        panel.set(xlabel=_SPREADS[measure][0], ylabel="chips")
        panel.grid(axis="x", visible=False)
    moving = f", {int((~rest).sum())} of them not at rest and left out" if not rest.all() else ""
    pad = 24 if next(iter(drawn)) in JUDGED else None  # its legend stands below the title
    axes[0].set_title(f"{len(rest)} chips{moving}; lines at 5, 50 and 95 % of those shown", pad=pad)
    return axes[0]


def _pass_line(ax: Axes, values: Float[np.ndarray, " chips"], passing: float) -> None:
    low, high = float(values.min()), float(values.max())
    look = {"color": COLOURS["red"], "linewidth": 1.8, "linestyle": ":"}
    if abs(passing - (low + high) / 2) <= 2.5 * (high - low):
        ax.axvline(passing, **look, label=f"pass line {passing:g}")
    else:  # drawn, it would press all chips into one bar
        where = "left" if passing < low else "right"
        ax.plot([], [], **look, label=f"pass line {passing:g}, far to the {where}")
    legend_above(ax)
