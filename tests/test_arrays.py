"""What becomes an array of a user's data, and what is refused: no numbers, or such as float32 does not hold."""

import warnings

import jax
import numpy as np
import pytest

import eqprop_field as epf
from eqprop_field._arrays import real_numbers
from eqprop_field.circuits import driven_netlist
from eqprop_field.sequence import Readout, fit, signal_model
from eqprop_field.signals import Signal, Task
from eqprop_field.vector_fields import draw_network

GRAPH = {"neurons": 3, "inputs": 1, "outputs": 1}
ESN = signal_model("esn", inputs=2, outputs=1, units=3)
LARGE = np.full((3, 2), 1e300)


def field(**options):
    return epf.LayeredField.create(jax.random.key(0), (2, 1), **options)


@pytest.mark.parametrize(
    "make, said",
    [
        (lambda: field(gain=1e39), "gain is 1e.39, and float32 holds"),
        (lambda: field(tau=[1e-300]), "tau is 1e-300, and float32 holds"),
        (lambda: draw_network(jax.random.key(0), (2, 2, 1), tau=(1.0, 1e300)), "tau is 1e.300"),
        (lambda: draw_network(jax.random.key(0), graph=GRAPH, tau=(1e-300,)), "tau is 1e-300"),
        (lambda: epf.Equilibrium(tol=1e-300), "a number is 1e-300"),
        (lambda: epf.Equilibrium().settle(field(), LARGE), r"x holds numbers above 3.4e\+38 in 3 of 3 rows; scale"),
        (lambda: Signal.sampled(LARGE), r"numbers above 3.4e\+38 at 3 of its 3 samples; scale them"),
        (lambda: epf.Samples.of(LARGE, np.zeros(3, int), 2), r"numbers above 3.4e\+38 in row 0, one of 3: scale them"),
        (lambda: fit(ESN, LARGE, np.arange(3.0)), r"the inputs hold numbers above 3.4e\+38"),
    ],
)
def test_a_number_out_of_range_is_named_and_nothing_else_is_said(make, said):
    with jax.enable_x64(False), warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match=said):
            make()


def test_what_is_not_finite_is_told_apart():
    missing = np.array([[np.nan], [np.inf], [0.0]])
    with pytest.raises(ValueError, match="holds NaN or infinity at 1 of its 3 samples"):
        Signal.sampled(missing, missing=True)
    with pytest.raises(ValueError, match="holds NaN or infinity at 2 of its 3 samples"):
        Signal.sampled(missing)


MASKED = np.ma.masked_greater(np.arange(6.0)[:, None], 3)


@pytest.mark.parametrize(
    "make",
    [
        Signal.sampled,
        lambda y: Task.of(np.ones((6, 1)), y),
        lambda y: Readout.fit(np.ones((6, 2)), y),
        lambda x: driven_netlist(draw_network(jax.random.key(0), graph=GRAPH), np.arange(6.0), x),
        lambda y: fit(ESN, np.ones((6, 2)), y),
    ],
    ids=["signal", "task", "readout", "driven", "fit"],
)
def test_a_mask_and_an_imaginary_part_are_not_lost(make):
    for wrong, said in ((MASKED, "masked"), (np.asarray(MASKED) + 1j, "complex")):
        with pytest.raises(ValueError, match=said):
            make(wrong)


def test_no_samples_are_no_signal():
    with pytest.raises(ValueError, match=r"a signal of shape \(0, 2\): give"):
        Signal.sampled(np.zeros((0, 2)))


def test_lists_of_equal_rows_are_numbers():
    np.testing.assert_array_equal(real_numbers("x", [[1, 0.5], [True, 2]]), [[1, 0.5], [1, 2]])


@pytest.mark.parametrize("value", [[[1, 2], [3]], [["no"]], [[None]], {"a": 1}, "abc", None])
def test_what_is_no_array_is_named(value):
    with pytest.raises(ValueError, match="x is no array: give real|x holds .* values: give real"):
        real_numbers("x", value)
