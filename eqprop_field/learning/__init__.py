"""What it learns at a fixed point: learning rules."""

from .asymmetric import AEP as AEP
from .base import AbstractLearningRule as AbstractLearningRule
from .base import Estimate as Estimate
from .base import pull_back as pull_back
from .bptt import BPTT as BPTT
from .catalogue import RULES as RULES
from .catalogue import Entry as Entry
from .catalogue import named_rules as named_rules
from .catalogue import register_rule as register_rule
from .catalogue import rule_entry as rule_entry
from .continual import ContinualEqProp as ContinualEqProp
from .contrastive_hebbian import ContrastiveHebbian as ContrastiveHebbian
from .dyadic import DyadicEqProp as DyadicEqProp
from .eqprop import EqProp as EqProp
from .generec import GeneRec as GeneRec
from .implicit import ImplicitGradient as ImplicitGradient
from .nonlinear_backprop import NonlinearBackprop as NonlinearBackprop
from .recurrent_backpropagation import ErrorProcess as ErrorProcess
from .recurrent_backpropagation import ErrorProcesses as ErrorProcesses
from .recurrent_backpropagation import RecurrentBackpropagation as RecurrentBackpropagation
from .recurrent_backpropagation import error_processes as error_processes
from .recurrent_backpropagation import projected_cost as projected_cost
from .recurrent_backpropagation import time_averaged_cost as time_averaged_cost
from .sinusoidal import SinusoidalEqProp as SinusoidalEqProp
