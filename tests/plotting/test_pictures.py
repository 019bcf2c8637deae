"""Pictures: that they show the numbers they were given, leave matplotlib as it was, and end up on disk whole."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest

from eqprop_field import Estimate, LayeredField, Nudging, Settings, Simulation, Solution, TrainingRun, plotting
from eqprop_field.plotting.phases import until_settled

TIMES = np.linspace(0.0, 8.0, 60)


def relaxing(neurons: int, to: float = 1.0) -> np.ndarray:
    """Exponential approach of every neuron to its own level, (time, neurons)."""
    return to * np.linspace(0.1, 0.9, neurons) * (1 - np.exp(-TIMES))[:, None]


def two_layers(shift: float = 0.0) -> dict[str, np.ndarray]:
    return {"Output layer": relaxing(3) + shift, "Hidden layer 1": relaxing(5) + shift}


def drawn(ax) -> list[np.ndarray]:
    """The vertical data of the lines that are neurons, as long as the longest."""
    lines = [np.asarray(line.get_ydata()) for line in ax.get_lines()]
    longest = max(map(len, lines))
    return [line for line in lines if len(line) == longest]


def test_importing_plotting_loads_no_pyplot_and_changes_no_settings():
    code = (
        "import sys, matplotlib; before = dict(matplotlib.rcParams); import eqprop_field.plotting; "
        "assert 'matplotlib.pyplot' not in sys.modules; assert dict(matplotlib.rcParams) == before"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_drawing_a_simulation_loads_no_circuits_and_every_result_is_drawn_in_its_file():
    code = """
import importlib, pathlib, sys
from eqprop_field import plotting
from eqprop_field.plotting.draw import _FILES
import eqprop_field.analysis.simulation
draw = plotting.draw
import eqprop_field.plotting.phases
assert {'eqprop_field.circuits', 'eqprop_field.sequence'} & set(sys.modules) == set()
for file in pathlib.Path(plotting.__file__).parent.glob('*.py'):
    importlib.import_module(f'eqprop_field.plotting.{file.stem}')
assert plotting.draw is draw
found = {of.__module__: drawing.__module__ for of, drawing in draw.registry.items() if of is not object}
assert found == {f'eqprop_field.{of}': f'eqprop_field.plotting.{file}' for of, file in _FILES.items()}, found
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def simulation(free: object, nudged: object, beta: float, times: np.ndarray = TIMES) -> Simulation:
    """The result of a batch of one whose states took these ways, (time, neurons) a layer."""

    def solution(path: object) -> Solution:
        path = jax.tree.map(lambda leaf: jnp.asarray(leaf)[:, None], path)
        still, counts, ends = jnp.zeros(1), jnp.zeros(1, int), jax.tree.map(lambda leaf: leaf[-1], path)
        return Solution(ends, still, counts, counts, counts, jnp.asarray(times[-1]), jnp.asarray(times), path)

    field = LayeredField.create(jax.random.key(0), (2, 5, 3))
    estimate = Estimate(field, jnp.zeros(1), jnp.zeros(1, int), solution(free), (solution(nudged),))
    return Simulation(field, np.ones((1, 3)), Nudging.one_sided(beta), estimate)


def test_drawing_leaves_the_settings_as_they_were():
    before = dict(matplotlib.rcParams)
    simulation(*[tuple(two_layers().values())] * 2, beta=0.1).plot()
    assert dict(matplotlib.rcParams) == before


def test_phases_show_every_neuron_through_both_phases_and_its_displacement():
    free = two_layers()
    nudged = {name: path[-1] + 0.1 * relaxing(path.shape[1]) for name, path in free.items()}
    axes = simulation(tuple(free.values()), tuple(nudged.values()), beta=0.1).plot().figure.axes
    assert len(axes) == 3
    some = until_settled(TIMES, free) >= TIMES
    for ax, name in zip(axes, free, strict=False):
        paths = drawn(ax)
        assert len(paths) == free[name].shape[1]
        for k, path in enumerate(paths):
            np.testing.assert_allclose(path, np.concatenate([free[name][some, k], nudged[name][some, k]]))
    np.testing.assert_allclose(np.stack(drawn(axes[-1])[:3], 1), relaxing(3), atol=1e-12)


def test_phases_of_many_neurons_show_some_and_say_so():
    ax = simulation(relaxing(500), relaxing(500), beta=0.5).plot()
    assert len([line for line in ax.get_lines() if len(line.get_xdata()) > 3]) == 40
    assert "40 of 500" in ax.get_title(loc="left")


def test_phases_end_where_nothing_more_moves():
    late = np.linspace(0.0, 100.0, 400)
    path = (1 - np.exp(-late))[:, None]
    ax = simulation(path, path, beta=0.1, times=late).plot()
    # Both phases, each until exp(-t) = 0.002.
    assert ax.get_xlim()[1] == pytest.approx(2 * np.log(500), abs=1.0)


def test_learning_curve_marks_the_network_that_was_kept():
    field = LayeredField.create(jax.random.key(0), (2, 3))
    entry = lambda epoch, error: {  # noqa: E731
        "epoch": epoch, "train_objective": error**2, "train_error": error, "validation_error": error,
        "verdicts": {"converged": 9}, "seconds": 1.0, "cosine": {"all": 1 - error}, "weight_symmetry": 0.5,
    }  # fmt: skip
    history = [entry(k + 1, error) for k, error in enumerate([0.5, 0.3, 0.1, 0.2, 0.2])]
    run = TrainingRun(field, field, history, best_epoch=3, test_error=0.123, settings=Settings())
    ax = run.plot()
    assert len(ax.figure.axes) == 3
    assert any("12.3 %" in text.get_text() for text in ax.texts)
    star = next(line for line in ax.get_lines() if len(line.get_xdata()) == 1)
    assert (star.get_xdata()[0], star.get_ydata()[0]) == pytest.approx((3, 12.3))
    np.testing.assert_allclose(ax.figure.axes[2].get_lines()[0].get_ydata(), [0.5, 0.7, 0.9, 0.8, 0.8])
    ax.figure.draw_without_rendering()
    for panel in ax.figure.axes[1:]:  # a legend covers neither data nor the title
        legend, title = panel.get_legend().get_window_extent(), panel._left_title.get_window_extent()
        assert panel.get_window_extent().y1 <= legend.y0 + 1 and legend.y1 <= title.y0 + 1
    (alone,) = plotting.panels([2.0])
    assert run.plot(alone) is alone


def test_ratios_say_what_colours_mean():
    spreads, goals = np.array([[1.0, 2.0, 3.0]] * 3), [(1.5, True), (1.5, False), (None, True)]
    ax = plotting.ratios(["a", "b", "c"], spreads, goals)
    (legend,) = ax.figure.legends
    said = [text.get_text() for text in legend.get_texts()]
    assert said == ["goal met", "goal missed", "no goal set", "goal, pointing to the good side"]
    assert "median" in ax.get_title(loc="left")
    assert len({line.get_color() for line in ax.get_lines() if line.get_label() in said[:3]}) == 3


def test_one_neuron_is_no_plural():
    ax = simulation(relaxing(1), relaxing(1), beta=0.1).plot()
    assert ax.get_title(loc="left") == "Neurons, 1 neuron"


def test_heat_maps_put_zero_in_the_middle_of_the_colours():
    matrix = np.array([[0.0, 2.0, -0.5]])
    (ax,) = plotting.heat_maps({"W": matrix})
    (image,) = ax.images
    np.testing.assert_array_equal(image.get_array(), matrix)
    assert image.get_clim() == (-2.0, 2.0)


def test_digits_say_right_and_wrong_not_by_colour_alone():
    axes = plotting.digits(np.zeros((2, 8, 8)), [3, 5], [3, 6], columns=2)
    assert [ax.get_title() for ax in axes] == ["3 ✓", "6 ✗ (5)"]


def test_save_writes_a_png_whole(tmp_path):
    (ax,) = plotting.heat_maps({"W": np.eye(3)})
    plotting.save(ax.figure, tmp_path / "made" / "w.png")
    content = (tmp_path / "made" / "w.png").read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert content.endswith(b"IEND\xaeB`\x82")
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["w.png"]
