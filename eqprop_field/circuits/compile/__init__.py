"""From a vector field and its samples to a circuit."""

from .structure import compile_circuit as compile_circuit
from .structure import compile_each as compile_each
from .structure import loop_gain as loop_gain
from .structure import nudge_of as nudge_of
