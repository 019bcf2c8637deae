"""What moves: vector fields."""

from .base import AbstractVectorField as AbstractVectorField
from .graph import GraphField as GraphField
from .hopfield import HopfieldField as HopfieldField
from .layered import LayeredField as LayeredField
