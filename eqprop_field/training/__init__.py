"""Training on labelled data."""

from .by_epoch import train_by_epoch as train_by_epoch
from .checkpoint import CheckpointError as CheckpointError
from .loop import CHECKPOINT as CHECKPOINT
from .loop import TrainingRun as TrainingRun
from .loop import train as train
from .metrics import error_rate as error_rate
from .recipes import RECIPES as RECIPES
from .recipes import Recipe as Recipe
from .recipes import load_dataset as load_dataset
from .settings import Settings as Settings
from .symmetry_repair import SymmetryRepair as SymmetryRepair
from .symmetry_repair import jacobian_asymmetry_penalty as jacobian_asymmetry_penalty
