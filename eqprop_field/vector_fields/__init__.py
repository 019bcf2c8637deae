"""Vector fields: mu(theta, x, s), what moves."""

from .abstract_graph import AbstractGraph as AbstractGraph
from .abstract_layered import AbstractLayered as AbstractLayered
from .base import AbstractVectorField as AbstractVectorField
from .base import flatten_state as flatten_state
from .base import unflatten_state as unflatten_state
from .convolutional import ConvField as ConvField
from .convolutional import square_image as square_image
from .drawing import draw_network as draw_network
from .function import FunctionField as FunctionField
from .function import field as field
from .graph import GraphField as GraphField
from .hopfield import HopfieldField as HopfieldField
from .layered import LayeredField as LayeredField
from .leaky import AbstractLeakyIntegrator as AbstractLeakyIntegrator
from .leaky import AbstractNeuralNetwork as AbstractNeuralNetwork
from .leaky import is_leaky_integrator as is_leaky_integrator
from .registry import FIELDS as FIELDS
from .registry import field_class as field_class
from .registry import register as register
