"""Data sets to learn from."""

from .arrays import random_samples as random_samples
from .arrays import read_array as read_array
from .arrays import read_samples as read_samples
from .base import DataError as DataError
from .base import Dataset as Dataset
from .base import DataWarning as DataWarning
from .base import Samples as Samples
from .base import batch_order as batch_order
from .cifar import cifar10 as cifar10
from .digits import digits as digits
from .idx import fashion as fashion
from .idx import mnist as mnist
from .roessler import roessler as roessler
from .series import read_series as read_series
from .signal_tasks import SIGNAL_TASKS as SIGNAL_TASKS
from .signal_tasks import SignalTask as SignalTask
from .signal_tasks import signal_task as signal_task
from .table import read_dataset as read_dataset
from .voltages import Voltages as Voltages
from .voltages import voltages as voltages
from .xor import xor as xor
