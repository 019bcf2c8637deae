"""Small circuits that the tests of this folder share."""

import numpy as np
import pytest

from eqprop_field.circuits import Behavioural, Circuit, Netlist, Synapses, schedule


@pytest.fixture
def pair() -> Circuit:
    """Two tanh neurons that excite each other a little; the first is the output and is nudged."""
    return Circuit(
        activation="tanh",
        bounds=None,
        groups=(1, 1),
        tau=np.array([1.0, 1.5]),
        drive=np.array([0.3, -0.2]),
        synapses=Synapses.from_matrix(np.array([[0.0, 0.4], [-0.3, 0.0]])),
        start=np.zeros(2),
        target=np.array([0.7]),
        schedule=schedule(20.0, 15.0, [0.5]),
    )


@pytest.fixture
def netlist(pair: Circuit) -> Netlist:
    """The same as a netlist."""
    return Behavioural().emit(pair)
