"""What it learns from signals in time."""

from .aprl import APRL as APRL
from .aprl import BatchAPRL as BatchAPRL
from .driven import AbstractIntegrator as AbstractIntegrator
from .driven import Continuous as Continuous
from .driven import EulerClock as EulerClock
from .driven import ExplodedError as ExplodedError
from .driven import Recording as Recording
from .driven import fully_recurrent as fully_recurrent
from .driven import simulate as simulate
from .online import AbstractOnlineRule as AbstractOnlineRule
from .online import OnlineRun as OnlineRun
from .online import learn_online as learn_online
from .online import total_change as total_change
from .readout import Readout as Readout
from .rtrl import RTRL as RTRL
from .signals import Signal as Signal
from .signals import Task as Task
from .through_time import SequenceEstimate as SequenceEstimate
from .through_time import ThroughTime as ThroughTime
from .weight_dynamics import WeightDynamics as WeightDynamics
from .weight_dynamics import roessler_task as roessler_task
from .weight_dynamics import weight_dynamics as weight_dynamics
