"""Part lists: counts, farad and gate area of netlists, against numbers that one counts by hand."""

import math

import numpy as np
import pytest

from eqprop_field.circuits import Circuit, OpAmp, Scaling, Synapses, Transistor, part_list, schedule

WEIGHTS = np.array([[0.0, 0.6, -0.5], [0.5, 0.0, 0.0], [-0.3, 0.0, 0.0]])
CIRCUIT = Circuit(
    activation="tanh",
    bounds=None,
    groups=(1, 2),
    tau=np.array([1.0, 2.0, 1.0]),
    drive=np.array([0.1, 0.0, 0.2]),
    synapses=Synapses.from_matrix(WEIGHTS),
    start=np.zeros(3),
    target=np.array([0.0]),
    schedule=schedule(20.0, 10.0, [0.5]),
)


@pytest.mark.parametrize(("cell", "pairs", "small"), [("ota", 2, 0), ("gilbert", 6, 0)])
def test_transistors_of_four_synapses_and_a_nudge(cell, pairs, small):
    """A mirror of 2 x 6 um, pairs of 8 x 1 um, a load of 1 x 3 um a synapse; of 1 x 2 um, with two more, the nudge."""
    found = part_list(Transistor(cell=cell).emit(CIRCUIT).text)
    assert found.elements["transistors"] == 4 * (4 + pairs) + 8
    synapse, nudge = 2 * 12 + pairs * 8 + 2 * 3, 2 * 12 + 4 * 8 + 2 * 2
    assert found.gate_area_square_metre == pytest.approx((4 * synapse + nudge) * 1e-12)
    tau, leak = 1e-5, 3.5e6
    assert found.capacitance_farad == pytest.approx(4 * tau / leak) and found.elements["capacitors"] == 3


def test_op_amps_have_the_capacitors_of_their_poles():
    level = OpAmp(scaling=Scaling(1.0, 1e-6, 1e3))
    found = part_list(level.emit(CIRCUIT).text)
    pole = 1 / (2 * math.pi * level.scaling.hertz(level.gain_bandwidth))
    assert "transistors" not in found.elements and found.gate_area_square_metre == 0
    assert found.capacitance_farad == pytest.approx(4e-9 + found.elements["capacitors"] * pole - 3 * pole, rel=1e-6)


def test_parameters_are_handed_on_and_multiplied():
    found = part_list(
        """title
.subckt outer a params: size=2u n=3
.param half = {size/2}
.subckt inner b w=1u
M1 b b 0 0 nch w={w}
+ l='w*2' m=2
.ends
Xi a inner w={half}
Xj a inner
C1 a 0 c={n*1p} ic=0
.ends
X1 s outer size=8u
X2 s OUTER
D1 s 0 dio
.model dio d
.tran 1n 1u
"""
    )
    squares = sum(2 * w * 2 * w for w in (4, 1, 1, 1))
    assert found.gate_area_square_metre == pytest.approx(squares * 1e-12)
    assert found.capacitance_farad == pytest.approx(6e-12)
    assert found.elements == {"transistors": 4, "capacitors": 2, "diodes": 1}
    assert math.isnan(part_list("t\nC1 a 0 {unknown}\n").capacitance_farad)
    with pytest.raises(ValueError, match="calls missing, which it does not define"):
        part_list("t\nX1 a missing\n")
