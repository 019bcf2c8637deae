"""Several devices and several processes end where one device does, up to the order of sums."""

import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest

from eqprop_field.training import device_mesh, join_processes
from eqprop_field.training.sharding import check_batch

TRAIN = """
import dataclasses, json, sys
import numpy as np
from eqprop_field.datasets import Samples
from eqprop_field.training import RECIPES, join_processes, load_dataset, train
several, process, coordinator = json.loads(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
if coordinator:
    join_processes(coordinator, 2, process)
recipe = RECIPES["digits"]
settings = dataclasses.replace(recipe.settings, epochs=1)
digits = load_dataset("digits")
few = Samples(digits.train.x[:400], digits.train.y[:400])  # 20 steps: training makes more of every rounding
for devices in several:
    run = train(recipe.field(), recipe.learning_rule(), dataclasses.replace(digits, train=few), settings,
                devices=devices, progress=False)
    if process == 0:
        print(json.dumps(np.concatenate([np.ravel(v) for v in run.last_field.tensors().values()]).tolist()))
"""


def started(several, *, forced=1, process=0, coordinator=""):
    """A process that has so many devices, and trains on some of them one run after another."""
    flags = os.environ.get("XLA_FLAGS", "")
    environment = {**os.environ, "XLA_FLAGS": f"{flags} --xla_force_host_platform_device_count={forced}"}
    command = [sys.executable, "-c", TRAIN, json.dumps(several), str(process), coordinator]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def parameters(process, runs):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return [np.array(json.loads(line)) for line in out.splitlines()[-runs:]]


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="the processes find each other by gloo")
def test_devices_and_processes_end_where_one_device_does():
    one, *several = parameters(started([None, 2, 4], forced=4), 3)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{free.getsockname()[1]}"
    pair = [started([2], process=k, coordinator=coordinator) for k in range(2)]
    several += parameters(pair[0], 1)
    assert pair[1].wait(timeout=60) == 0
    for other in several:
        apart = np.max(np.abs(other - one)) / np.max(np.abs(one))
        print(f"{apart:.1e}")
        assert 0 < apart < 1e-6


def test_more_devices_than_there_are():
    with pytest.raises(ValueError, match="devices=1000, but JAX sees"):
        device_mesh(1000)


def test_a_batch_is_shared_evenly_or_not_at_all():
    check_batch(3, 6)
    with pytest.raises(ValueError, match="a batch of 6 cannot be shared out evenly among 4 devices"):
        check_batch(4, 6)


@pytest.mark.parametrize(
    ("coordinator", "processes", "process", "message"),
    [("somewhere", 2, 0, "HOST:PORT"), (":1234", 2, 0, "HOST:PORT"), ("a:1", 2, 2, "numbered from 0 to 1")],
)
def test_processes_that_cannot_join(coordinator, processes, process, message):
    with pytest.raises(ValueError, match=message):
        join_processes(coordinator, processes, process)
