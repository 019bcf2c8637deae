"""Arrays in, matplotlib Axes out: the only room that imports matplotlib."""

from .agreement import agreement as agreement
from .alignment import alignment_curve as alignment_curve
from .alignment import alignment_over_training as alignment_over_training
from .budget import error_budget as error_budget
from .digits import digits as digits
from .draw import draw as draw
from .fidelity import fidelity as fidelity
from .fidelity import histograms as histograms
from .gdu import successive_updates as successive_updates
from .in_circuit import in_circuit as in_circuit
from .learning import learning_curve as learning_curve
from .matrices import heat_maps as heat_maps
from .phases import layer_names as layer_names
from .ratios import ratios as ratios
from .reverse_engineering import reverse_engineering as reverse_engineering
from .roessler import weight_dynamics as weight_dynamics
from .stability import good_parameters as good_parameters
from .stability import stability as stability
from .stdp import stdp as stdp
from .style import COLOURS as COLOURS
from .style import CYCLE as CYCLE
from .style import STYLE as STYLE
from .style import panels as panels
from .style import png as png
from .style import save as save
from .style import styled as styled
