"""What moves: vector fields."""

from .base import AbstractVectorField as AbstractVectorField
from .convolutional import ConvField as ConvField
from .convolutional import square_image as square_image
from .graph import GraphField as GraphField
from .hopfield import HopfieldField as HopfieldField
from .layered import LayeredField as LayeredField
