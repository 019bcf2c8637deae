"""Netlists that learn by themselves: weights on capacitors, and a current that changes them."""

from .course import LEARNING as LEARNING
from .course import Course as Course
from .course import learn_in_circuit as learn_in_circuit
from .course import learn_side_by_side as learn_side_by_side
from .lessons import LESSONS as LESSONS
from .lessons import Lesson as Lesson
from .netlist import plastic_netlist as plastic_netlist
from .plan import PlasticCircuit as PlasticCircuit
from .plan import Plasticity as Plasticity
from .plan import compile_plastic as compile_plastic
from .twin import twin as twin
