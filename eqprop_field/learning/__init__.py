"""What it learns at a fixed point: learning rules."""

from .base import AbstractLearningRule as AbstractLearningRule
from .base import Estimate as Estimate
from .base import pull_back as pull_back
from .bptt import BPTT as BPTT
from .continual import ContinualEqProp as ContinualEqProp
from .contrastive_hebbian import ContrastiveHebbian as ContrastiveHebbian
from .eqprop import EqProp as EqProp
from .generec import GeneRec as GeneRec
from .implicit import ImplicitGradient as ImplicitGradient
from .nonlinear_backprop import NonlinearBackprop as NonlinearBackprop
