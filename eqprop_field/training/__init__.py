"""Training on labelled data."""

from .checkpoint import CHECKPOINT as CHECKPOINT
from .checkpoint import CheckpointError as CheckpointError
from .comparison import Comparison as Comparison
from .comparison import compare as compare
from .data import fitted as fitted
from .loop import NotFiniteError as NotFiniteError
from .loop import train as train
from .metrics import ErrorKind as ErrorKind
from .metrics import ErrorMeasure as ErrorMeasure
from .metrics import error_rate as error_rate
from .recipes import RECIPES as RECIPES
from .recipes import Recipe as Recipe
from .recipes import find_recipe as find_recipe
from .recipes import load_dataset as load_dataset
from .recipes import recipe_for as recipe_for
from .records import RECORDS as RECORDS
from .records import write_records as write_records
from .records import write_tensorboard as write_tensorboard
from .run import TrainingRun as TrainingRun
from .settings import Settings as Settings
from .sharding import device_mesh as device_mesh
from .sharding import join_processes as join_processes
from .symmetry_repair import SymmetryRepair as SymmetryRepair
from .symmetry_repair import jacobian_asymmetry_penalty as jacobian_asymmetry_penalty
