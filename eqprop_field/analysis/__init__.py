"""Numbers in, numbers out: what the learning rules are worth, and why."""

from .alignment import Alignment as Alignment
from .alignment import alignment as alignment
from .symmetry import jacobian_asymmetry as jacobian_asymmetry
from .symmetry import weight_symmetry as weight_symmetry
