"""What it learns at a fixed point: learning rules."""

from .base import AbstractLearningRule as AbstractLearningRule
from .base import Estimate as Estimate
from .base import pull_back as pull_back
from .eqprop import EqProp as EqProp
from .implicit import ImplicitGradient as ImplicitGradient
