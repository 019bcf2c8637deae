"""Pictures of experiments: that they show the numbers of the result, and that one panel fits into a figure of ours."""

import numpy as np
import pytest
from matplotlib.figure import Figure

import eqprop_field as epf
from eqprop_field import plotting

RNG = np.random.default_rng(0)


def alignment(rules=("eqprop",), symmetries=5, cosine=None):
    shape = (len(rules), symmetries, 4, 6, 3)
    cosine = RNG.uniform(-1, 1, shape) if cosine is None else cosine
    return epf.Alignment(
        symmetries=np.linspace(-1, 1, symmetries),
        rules=tuple(rules),
        layers=("all", "0", "1"),
        cosine=cosine,
        codes=np.where(np.isfinite(cosine), 0, 1),
        jacobian_asymmetry=RNG.uniform(0, 1, shape[1:4]),
        weight_symmetry=np.ones(shape[1:3]),
        betas=(1e-4,) * len(rules),
    )


def training_alignment():
    values = np.array([[[0.2, 0.4], [0.4, 0.8]]])
    return epf.TrainingAlignment(
        rules=("eqprop",),
        layers=("all", "0", "1"),
        epochs=np.arange(2.0),
        cosine=np.stack([values] * 3, axis=-1),
        jacobian_asymmetry=values,
        weight_symmetry=values,
        settled=np.ones((1, 2, 2)),
        validation_error=values,
    )


def snapshot():
    return epf.Snapshot(("all", "0", "1"), np.array([0.5, 0.9, np.nan]), 0.25, 0.5, 1.0)


def budget():
    return epf.ErrorBudget(
        betas=np.array([0.1, 0.01]),
        contributions=("asymmetry", "finite beta"),
        error=np.array([[0.1, 1e-20], [0.2, 1e-20]]),
        whole=np.array([0.1, 0.2]),
        along=np.array([[1.25, -0.25], [1.0, 0.0]]),
        cosine=np.array([[0.9, 0.95, 1.0], [0.8, 0.9, 1.0]]),
        used=np.array([2.0, 3.0]),
        samples=3,
    )


def stability():
    nothing = np.nan
    return epf.Stability(
        attractor=np.array([[0, 0, 0, 2], [2, 2, 2, 2]]),
        equilibrium=np.array([[0, 0, 0, -1], [-1, -1, -1, -1]]),
        abscissa=np.array([[-1.0, -1.0, -1.0, nothing], [nothing] * 4]),
        period=np.array([[nothing, nothing, nothing, 7.0], [5.0, 5.0, 5.0, 6.0]]),
        amplitude=np.array([[nothing, nothing, nothing, 1.0], [1.0] * 4]),
        eigenvalues=np.array([[-1.0 + 1j, -1.0 - 1j], [nothing, nothing]]),
        final=np.zeros((2, 4, 2)),
    )


def good_parameters():
    share = np.array([[0.0, 0.5], [np.nan, 1.0]])
    shares = dict.fromkeys(("converging", "descending", "good", "cycling"), share)
    return epf.GoodParameters(np.array([1.0, 2.0]), np.array([-1.0, 1.0]), **shares, networks=2)


def spike_pairs():
    return epf.spike_pairs(np.arange(-20.0, 21.0, 10.0), step=1.0)


def poisson_pairs():
    expected = np.array([-2.0, 0.0, 1.0])
    return epf.PoissonPairs(np.array([10.0, 10.0, 20.0]), expected / 10, expected, 1.1 * expected, np.full(3, 0.1))


def rate_histogram():
    values = np.array([-1.0, 2.0])
    return epf.RateHistogram(np.array([-10.0, 0.0, 10.0]), values, np.full(2, 0.1), np.array([30.0, 40.0]), values)


def stdp():
    return epf.Stdp(spike_pairs(), poisson_pairs(), rate_histogram())


def successive_updates():
    process = {"neurons": RNG.normal(size=(4, 3)), "layer 0": np.zeros((4, 2))}
    return epf.SuccessiveUpdates({name: 1.1 * change for name, change in process.items()}, process)


RESULTS = [
    alignment, training_alignment, snapshot, budget, stability, good_parameters,
    spike_pairs, poisson_pairs, rate_histogram, stdp, successive_updates,
]  # fmt: skip


@pytest.mark.parametrize("make", RESULTS)
def test_a_main_panel_fits_into_a_figure_of_ours_and_a_result_shows_and_saves_itself(make, tmp_path):
    result = make()
    figure = Figure()
    ax = figure.subplots()
    assert result.plot(ax) is ax
    assert figure.axes[0] is ax and ax.get_title(loc="left")
    assert 'src="data:image/png;base64,' in result._repr_html_()
    assert repr(result).startswith(type(result).__name__ + "(") and "\n" not in repr(result)
    saved = result.save(tmp_path / "o", seed=3)
    assert {path.name for path in (tmp_path / "o").iterdir()} == set(saved["files"])
    assert saved["seed"] == 3
    rows = result.rows()
    columns = (tmp_path / "o" / f"{result.stem}.csv").read_text().splitlines()[0]
    assert all(",".join(row) == columns for row in rows)
    assert list(result.to_pandas().columns) == list(rows[0])


def test_alignment_draws_the_mean_of_what_was_kept():
    cosine = RNG.uniform(-1, 1, (1, 5, 4, 6, 3))
    cosine[0, 2, :, :3] = np.nan
    cosine[0, 4] = np.nan
    axes = alignment(cosine=cosine).plot().figure.axes
    expected = [cosine[0, c, ..., 0][np.isfinite(cosine[0, c, ..., 0])].mean() for c in range(4)]
    shown = np.asarray(axes[0].get_lines()[0].get_ydata())
    np.testing.assert_allclose(shown[:4], expected)
    assert np.isnan(shown[4])
    assert len(axes) == 3
    assert len(axes[-1].get_lines()[0].get_xdata()) == 5 * 4  # a point a network


def test_many_rules_have_a_panel_for_every_layer_and_looks_of_their_own():
    rules = [f"rule {k}" for k in range(14)]
    axes = alignment(rules, 3).plot().figure.axes
    assert len(axes) == 4
    lines = axes[0].get_lines()[:14]
    assert len({line.get_color() for line in lines}) == 14
    assert len({(line.get_marker(), line.get_linestyle()) for line in lines}) == 14
    (legend,) = axes[0].figure.legends
    assert [text.get_text() for text in legend.get_texts()] == rules


def test_alignment_over_training_draws_the_mean_over_seeds():
    axes = training_alignment().plot().figure.axes
    assert len(axes) == 6
    np.testing.assert_allclose(axes[0].get_lines()[0].get_ydata(), [0.3, 0.6])
    np.testing.assert_allclose(axes[-1].get_lines()[0].get_ydata(), [30.0, 60.0])


def test_a_snapshot_has_a_bar_a_layer():
    bars = snapshot().plot().patches
    assert [bar.get_width() for bar in bars] == [0.5, 0.9, 0.0]


def test_error_budget_draws_lengths_and_shares():
    axes = budget().plot().figure.axes
    asymmetry = axes[0].get_lines()[1]
    np.testing.assert_allclose(asymmetry.get_xydata(), [[0.01, 0.2], [0.1, 0.1]])
    assert "below" in axes[0].get_lines()[2].get_label()
    assert sum(bar.get_width() for bar in axes[1].patches) == pytest.approx(200.0)
    assert min(bar.get_x() + bar.get_width() for bar in axes[1].patches) == pytest.approx(-25.0)
    assert budget().lines()[1].endswith("1 samples left out")


def test_stability_counts_every_start_once():
    spectrum, starts = stability().plot().figure.axes
    assert "-1.000" in spectrum.get_title(loc="left")
    assert sum(bar.get_width() for bar in starts.patches) == 8
    assert [text.get_text() for text in starts.texts] == ["1 equilibrium, period 7.0", "period 5.0–6.0"]


def test_good_parameters_are_maps_from_0_to_100():
    *axes, _ = good_parameters().plot().figure.axes
    assert len(axes) == 4
    for ax in axes:
        (image,) = ax.images
        np.testing.assert_array_equal(np.ma.filled(image.get_array(), np.nan), 100 * good_parameters().good)
        assert image.get_clim() == (0, 100)


def test_stdp_has_a_panel_a_protocol():
    axes = stdp().plot().figure.axes
    curve, trains, histogram = axes
    np.testing.assert_array_equal(curve.get_lines()[1].get_ydata(), spike_pairs().change)
    assert "slope 1.100" in trains.get_title(loc="left")
    assert len(trains.get_legend().get_texts()) == 3  # equal, 10 Hz, 20 Hz
    assert [bar.get_height() for bar in histogram.patches] == [-1.0, 2.0]
    assert "70 pairs" in histogram.get_title(loc="left")


def test_updates_without_a_gradient_are_titled_so():
    axes = successive_updates().plot().figure.axes
    assert [ax.get_title(loc="left") for ax in axes] == ["Neurons: relative difference 1.0e-01", "Layer 0: no gradient"]
    assert successive_updates().summary()["difference"]["layer 0"] is None


def test_what_has_no_picture_is_refused_by_name():
    with pytest.raises(TypeError, match="no picture of a int"):
        plotting.draw(3)
