"""What training makes of data: classes, one output, numbers; and what it refuses or warns of before the first step."""

import dataclasses
import warnings

import jax
import numpy as np
import pytest

import eqprop_field as epf
from eqprop_field.training import ErrorKind, ErrorMeasure, Settings, error_rate, train

RULE = epf.EqProp(nudging=epf.Nudging.symmetric(0.2), substrate=epf.Equilibrium(tol=1e-6, solver=epf.Sweeps(200)))
SETTINGS = Settings(epochs=2, batch_size=5, learning_rates=(0.1,))
X = np.random.default_rng(0).uniform(size=(20, 3)).astype(np.float32)
LABELS = np.arange(20) % 2


def network(outputs=2, **options):
    return epf.LayeredField.create(jax.random.key(0), (3, 4, outputs), gain=0.5, **options)


def dataset(y, x=X):
    samples = epf.Samples(x, y)
    return epf.Dataset("mine", samples, samples, samples, ("no", "yes"))


def go(y, outputs=2, x=X, **options):
    return train(network(outputs, **options), RULE, dataset(y, x), SETTINGS, progress=False)


def outputs_of(field, x=X):
    return np.asarray(field.output(RULE.substrate.settle(field, x).state))


def with_row(array, row, value):
    array = np.array(array)
    array[row] = value
    return array


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (X, LABELS[:10], "x has 20 rows and y has 10: give one target row for each input row"),
        ([[1.0, 2.0], [3.0]], [0, 1], "x has rows of different lengths"),
        (with_row(X, 7, np.nan), LABELS, "x holds NaN or infinity in row 7, one of 1"),
        (X, with_row(np.zeros((20, 2)), slice(3, 5), np.inf), "y holds NaN or infinity in row 3, one of 2"),
        (X, with_row(np.zeros(20), 4, np.nan), "y holds NaN or infinity in row 4"),
        (X, 1e300 * np.ones(20), "y holds numbers above 3.4e+38 in row 0"),
        (X, ["no", "yes"] * 10, "y holds <U3 values"),
        (X, np.array(0), "y holds int64 values of shape ()"),
        (np.ma.masked_less(X, 0.5), LABELS, "x has masked entries: give a number for each, or leave their rows out"),
        (X[0], LABELS[:3], "x has shape (3,) and y (3,): give x as (samples, inputs)"),
        (X, np.zeros((20, 2, 1)), "x has shape (20, 3) and y (20, 2, 1)"),
    ],
)
def test_data_that_are_no_samples_are_refused_in_one_sentence(x, y, message):
    with pytest.raises(ValueError) as refused:
        epf.Samples(x, y)
    assert message in str(refused.value)


def test_lists_are_data():
    mine = epf.Samples(X.tolist(), np.eye(2)[LABELS].tolist())
    np.testing.assert_array_equal(mine.x, X)
    np.testing.assert_array_equal(mine.y, np.eye(2)[LABELS])
    assert mine.x.dtype == mine.y.dtype == np.float32


def test_integers_are_classes():
    of_integers, one_hot = go(LABELS.tolist()), go(np.eye(2)[LABELS])
    assert [e["validation_error"] for e in of_integers.history] == [e["validation_error"] for e in one_hot.history]
    for name, tensor in of_integers.last_field.tensors().items():
        np.testing.assert_array_equal(tensor, one_hot.last_field.tensors()[name])
    assert error_rate(RULE, of_integers.field, epf.Samples(X, LABELS)) == of_integers.test_error
    assert of_integers.error_kind is ErrorKind.classes


@pytest.mark.parametrize("wrong", [-1, 2])
def test_a_label_that_is_no_class_is_named_with_its_row(wrong):
    message = f"mine.train has the label {wrong} in row 6, one of 1 outside its 2 classes: number them from 0 to 1"
    with pytest.raises(ValueError, match=message):
        go(with_row(LABELS, 6, wrong))
    with pytest.raises(ValueError, match=f"the set has the label {wrong} in row 6"):
        epf.Samples.of(X, with_row(LABELS, 6, wrong), 2)


def test_labels_of_another_kind_are_refused():
    with pytest.raises(ValueError, match="labels are float64 of shape"):
        epf.Samples.of(X, LABELS / 2, 2)


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_an_empty_set_is_refused_before_the_first_step(part):
    whole = dataset(LABELS)
    empty = dataclasses.replace(whole, **{part: epf.Samples(X[:0], LABELS[:0])})
    with pytest.raises(ValueError, match=f"mine.{part} has no samples: give at least one"):
        train(network(), RULE, empty, SETTINGS, measure=lambda field: pytest.fail("it trained"), progress=False)


def test_other_widths_are_refused():
    with pytest.raises(ValueError, match="mine.train has 3 inputs and 3 targets, but the network has 3 inputs and 2"):
        go(np.zeros((20, 3)))
    with pytest.raises(ValueError, match="the set has 2 inputs"):
        error_rate(RULE, network(), epf.Samples(X[:, :2], LABELS))


@pytest.mark.parametrize("targets", [(0, 1), (0.3, 0.7)])
def test_one_output_tells_two_targets_apart_in_their_middle(targets):
    y = np.array(targets)[(X.sum(axis=1) > 1.5).astype(int)]
    run = go(y, outputs=1)
    output = outputs_of(run.field)[:, 0]
    expected = np.mean((output > 0.5) != (y > 0.5))
    assert run.test_error == pytest.approx(expected) and run.error_kind is ErrorKind.binary
    assert 0 < error_rate(RULE, network(1), epf.Samples(X, y)) < 1  # argmax of one column would say 0
    assert "error        " in run.lines()[2] and run.lines()[2].endswith(" %")


def test_numbers_have_an_error_in_their_unit():
    y = 0.3 + 0.4 * X[:, 0] * X[:, 1]
    run = go(y, outputs=1)
    expected = np.sqrt(np.mean((outputs_of(run.field)[:, 0] - y) ** 2))
    assert run.test_error == pytest.approx(expected, rel=1e-5) and run.error_kind is ErrorKind.regression
    assert run.summary()["error_kind"] == "root mean square error, in the targets' unit"
    assert "root mean square, in the targets' unit" in run.lines()[1]
    axes = run.plot()
    assert any("unit" in panel.get_ylabel() for panel in axes.figure.axes)


def test_the_kind_of_error_is_read_off_the_targets():
    kind = lambda y: ErrorMeasure.of(epf.Samples(np.zeros((len(y), 1)), np.array(y, float))).kind  # noqa: E731
    assert kind([[1, 0], [0, 1]]) is ErrorKind.classes
    assert kind([[0.9, 0.1], [0.1, 0.9]]) is ErrorKind.classes
    assert kind([[1, 1], [0, 1]]) is ErrorKind.regression
    assert kind([[0.5, 0.1], [-0.5, 0.2]]) is ErrorKind.regression
    assert kind([[0], [1], [0]]) is ErrorKind.binary
    assert kind([[0], [1], [2]]) is ErrorKind.regression
    assert kind([[1], [1]]) is ErrorKind.regression


def test_an_unsettled_sample_has_the_largest_error_within_the_targets():
    impatient = epf.EqProp(substrate=epf.Equilibrium(tol=1e-12, solver=epf.Sweeps(1)))
    y = np.array([0.2, 0.9, 0.5], np.float32)
    error = error_rate(impatient, network(1), epf.Samples(X[:3], y))
    assert error == pytest.approx(np.sqrt(np.mean([0.7**2, 0.7**2, 0.4**2])), rel=1e-5)
    free = impatient.substrate.settle(network(), X, throw=False)
    right = np.argmax(network().output(free.state), axis=1)
    assert error_rate(impatient, network(), epf.Samples(X, right)) == np.mean(~np.asarray(free.converged)) > 0.9


def test_inputs_that_saturate_are_warned_of_with_a_scale_that_mends_them():
    # Not trained: a warning is what is asked for.
    with pytest.warns(epf.DataWarning, match=r"the x of mine go from .* lie from 0 to 1: scale them"):
        epf.training.fitted(dataset(LABELS, with_row(255 * X, 0, (0, 255, 9))), network())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        epf.training.fitted(dataset(LABELS, np.interp(with_row(255 * X, 0, (0, 255, 9)), (0, 255), (0, 1))), network())


def test_targets_that_outputs_cannot_reach_are_warned_of():
    y = np.linspace(-3, 5, 20)
    with pytest.warns(
        epf.DataWarning, match=r"y of mine go from -3 to 5, .* such as numpy.interp\(y, \(-3, 5\), \(0, 1\)\)"
    ):
        epf.training.fitted(dataset(y), network(1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        epf.training.fitted(dataset(np.interp(y, (-3, 5), (0, 1))), network(1))


def test_training_warns_before_its_first_step():
    with warnings.catch_warnings():
        warnings.simplefilter("error", epf.DataWarning)
        with pytest.raises(epf.DataWarning, match="scale them"):
            go(LABELS, x=100 * X)
