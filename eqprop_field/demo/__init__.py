"""The main job on real data: a network learns digits, its phases run in two simulators, and a report shows both."""

from .demonstration import Demo as Demo
from .demonstration import demo as demo
