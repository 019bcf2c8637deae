"""Netlists that learn by themselves: weights on capacitors, and a current that changes them."""

from .learning import CircuitLearning as CircuitLearning
from .learning import learn_in_circuit as learn_in_circuit
from .netlist import plastic_netlist as plastic_netlist
from .plan import PlasticCircuit as PlasticCircuit
from .plan import Plasticity as Plasticity
from .plan import compile_plastic as compile_plastic
from .record import LEARNING as LEARNING
from .record import TrainingRecord as TrainingRecord
from .record import run_plastic as run_plastic
from .record import run_plastics as run_plastics
from .reference_ode import reference_ode as reference_ode
from .schedules import TASK_SCHEDULES as TASK_SCHEDULES
from .schedules import TaskSchedule as TaskSchedule
