"""Numbers in, numbers out: what the learning rules are worth, and why."""

from .alignment import Alignment as Alignment
from .alignment import alignment as alignment
from .gdu import SuccessiveUpdates as SuccessiveUpdates
from .gdu import successive_updates as successive_updates
from .symmetry import jacobian_asymmetry as jacobian_asymmetry
from .symmetry import weight_symmetry as weight_symmetry
