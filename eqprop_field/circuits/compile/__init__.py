"""From a vector field and its samples to a circuit."""

from .any_field import ExpressionCircuit as ExpressionCircuit
from .any_field import compile_field as compile_field
from .elements import elements as elements
from .structure import check_operating_point as check_operating_point
from .structure import compile_circuit as compile_circuit
from .structure import compile_each as compile_each
from .structure import loop_gain as loop_gain
from .structure import nudge_of as nudge_of
from .structure import obstacle as obstacle
from .structure import transposes as transposes
