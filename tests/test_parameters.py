"""Numbers without meaning are refused where a class is made, by their name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eqprop_field as epf
from eqprop_field import circuits, kernel_networks, sequence

POSITIVE = {
    "width": [epf.Huber, kernel_networks.RobustUnbounded, kernel_networks.Huber, kernel_networks.BooleanMargin],
    "margin": [epf.Margin],
    "floor": [kernel_networks.SparseActivity, kernel_networks.SparseWeights],
    "steepness": [kernel_networks.SoftBound],
    "rate": [kernel_networks.Adam, kernel_networks.OnlineBackwardTuning],
    "ridge": [sequence.APRL],
    "noise_interval": [circuits.Conditions],
    "free_time": [circuits.NgspiceSubstrate],
    "longest_time": [circuits.NgspiceSubstrate],
}
NOT_NEGATIVE = {
    "strength": [
        kernel_networks.SparseActivity, kernel_networks.SoftBound, kernel_networks.Orthogonality,
        kernel_networks.SparseWeights,
    ],
    "rate": [sequence.RTRL, sequence.APRL, sequence.EProp, sequence.SnAp1, sequence.UORO, sequence.KFRTRL],
    "ridge": [sequence.BatchAPRL],
}  # fmt: skip


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
@pytest.mark.parametrize(
    ("name", "make"), [(name, make) for table in (POSITIVE, NOT_NEGATIVE) for name in table for make in table[name]]
)
def test_numbers_without_meaning_are_refused(name, make, value):
    with pytest.raises(ValueError, match=f"{name}={value}: give a finite number"):
        make(**{name: value})


def test_zero_is_no_positive_number_and_what_jax_traces_passes():
    for name, makers in POSITIVE.items():
        for make in makers:
            with pytest.raises(ValueError, match=f"{name}=0.0: give a finite number above 0"):
                make(**{name: 0.0})
    assert jax.jit(lambda width: epf.Huber(width)(2 * width[None, None], jnp.zeros((1, 1)))[0])(1.0) == 1.5


@pytest.mark.parametrize("time", ["free_time", "nudged_time"])
@pytest.mark.parametrize("value", [0.0, -1.0, np.nan])
def test_a_phase_has_a_time(time, value):
    with pytest.raises(ValueError, match=f"{time}={value:g}: give a phase a time above 0"):
        epf.Trajectory(**{time: value})
