"""Networks drawn from a description: the synapses that it names, and the time constants that it gives."""

import jax
import numpy as np
import pytest

import eqprop_field as epf

KEY = jax.random.key(0)


def test_skips_and_lateral_connections_of_a_hopfield_network_are_those_that_are_named():
    field = epf.draw_network(KEY, (4, 3, 2, 2), kind="hopfield", skips=[(0, 2)], lateral=[1], tau=(3.0, 2.0, 1.0))
    layers = {"out": slice(0, 2), "middle": slice(2, 4), "first": slice(4, 7)}
    weights, inputs = np.asarray(field.recurrent_matrix()), np.asarray(field.input_matrix()[0])
    joined = {(a, b): bool(weights[i, j].any()) for a, i in layers.items() for b, j in layers.items()}
    assert {pair for pair, there in joined.items() if there} == {
        ("out", "middle"), ("middle", "out"), ("middle", "first"), ("first", "middle"),
        ("out", "first"), ("first", "out"), ("middle", "middle"),
    }  # fmt: skip
    assert np.array_equal(weights, weights.T) and inputs[layers["first"]].all() and not inputs[:4].any()
    np.testing.assert_array_equal(field.time_constants(), [1, 1, 2, 2, 3, 3, 3])


@pytest.mark.parametrize("convolutions", [(), ((2, 3, 1),)])
def test_time_constants_follow_the_sizes_input_first(convolutions):
    field = epf.draw_network(KEY, (16, 5, 2), convolutions=convolutions, tau=(4.0,) * len(convolutions) + (2.0, 0.5))
    assert [float(leaf.min()) for leaf in field.tau] == [0.5, 2.0] + [4.0] * len(convolutions)
    assert [leaf.shape[1:] for leaf in field.initial_state(1)] == [leaf.shape for leaf in field.tau]


@pytest.mark.parametrize(
    "said, told",
    [
        ({"sizes": (3, 2), "kind": "ising"}, "choose one of layered"),
        ({}, "layers' sizes"),
        ({"sizes": (3, 2), "skips": [(0, 1)]}, "the kind graph or hopfield"),
        ({"sizes": (3, 2), "kind": "conv"}, "a conv network has convolutions"),
        ({"sizes": (3, 2), "kind": "hopfield", "symmetry": 0.5}, "leave the symmetry away"),
        ({"sizes": (3, 2, 2), "tau": (1.0, 2.0, 3.0)}, "2 layers behind the input"),
        ({"sizes": (3, 2), "tau": (0.0,)}, "positive"),
    ],
)
def test_what_describes_no_network_is_refused(said, told):
    with pytest.raises(ValueError, match=told):
        epf.draw_network(KEY, **said)
