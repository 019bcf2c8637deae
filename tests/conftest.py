"""What every test stands on: float64, checked shapes, kept compilations, small fields, a browser, this machine."""

import gc
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from typing import Any

# Before JAX is imported, and inherited by the programs that tests start. Most of the suite's time is compilation, so
# what was compiled is kept for the next run, for this machine alone: another one may lack instructions that it uses.
_CACHE = pathlib.Path(__file__).parents[1] / ".pytest_cache" / "jax" / platform.node()
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
# Programs that call back to Python are not kept, and diffrax checks its times by a call: NaN tells as much.
os.environ.setdefault("EQX_ON_ERROR", "nan")
# Quick compilation before quick code: it takes 0.4 of the time, and networks in tests are small. XLA ends a process
# whose flags it does not know, so they are for releases that were seen to know them.
if metadata.version("jaxlib").startswith("0.10."):
    _QUICK = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    _WHOLE = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    os.environ.setdefault("XLA_FLAGS", f"{_QUICK} {_WHOLE}")
os.environ.setdefault("MPLBACKEND", "Agg")
if "PYTEST_XDIST_WORKER" in os.environ:  # workers share the cores
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")

from jaxtyping import install_import_hook

# Before our packages are imported: every jaxtyping annotation is checked at run time, in tests only.
install_import_hook(["eqprop_field"], "beartype.beartype")

import hypothesis
import jax
import pytest

import eqprop_field as epf
from eqprop_field import circuits, extensions

jax.config.update("jax_enable_x64", True)
# Tracing makes many objects that live long: a tenth of its time is spent on looking whether they are garbage.
gc.freeze()
gc.set_threshold(100_000, 20, 20)

hypothesis.settings.register_profile("default", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "default")


@pytest.fixture(autouse=True, scope="module")
def _forget_compilations() -> Iterator[None]:
    """What was compiled leaves memory in time: by 1.5 GB, or 20 000 of the 65 000 mappings that Linux allows."""
    yield
    process = pathlib.Path("/proc/self")
    if process.exists():
        pages = int((process / "statm").read_text().split()[1])
        mappings = (process / "maps").read_bytes().count(b"\n")
        if pages * os.sysconf("SC_PAGE_SIZE") < 1.5e9 and mappings < 20_000:
            return
    jax.clear_caches()


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test registers and imports is forgotten after it."""
    tables: tuple[dict, ...] = (epf.FIELDS, epf.RULES, epf.ACTIVATIONS, circuits.LEVELS, extensions._imported)
    before, modules, folders = [dict(table) for table in tables], set(sys.modules), set(sys.path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for table, content in zip(tables, before, strict=True):
        table.clear()
        table.update(content)
    for name in set(sys.modules) - modules:  # libraries that were loaded meanwhile stay
        file = pathlib.Path(getattr(sys.modules[name], "__file__", None) or "")
        if "." not in name and file.suffix == ".py" and file.stem != "__init__" and str(file.parent) not in folders:
            del sys.modules[name]


@pytest.fixture
def key() -> jax.Array:
    """A JAX random key, the same in every test."""
    return jax.random.key(20180804)


@pytest.fixture
def layered(key: jax.Array) -> epf.LayeredField:
    """Two hidden layers, smooth, untied weights."""
    return epf.LayeredField.create(key, (5, 7, 6, 3), activation=epf.activation("tanh"))


@pytest.fixture
def graph(key: jax.Array) -> epf.GraphField:
    """Twelve neurons in a sparse directed graph, smooth, asymmetric."""
    return epf.GraphField.create(
        key, neurons=12, inputs=4, outputs=3, density=0.6, activation=epf.activation("tanh"), gain=0.7
    )


@pytest.fixture(params=["layered", "graph"])
def field(request: pytest.FixtureRequest) -> epf.AbstractVectorField:
    """Each of the small smooth fields in turn."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def batch(field: epf.AbstractVectorField, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Four random inputs and targets in [0, 1] that fit `field`."""
    x_key, y_key = jax.random.split(jax.random.fold_in(key, 1))
    x = jax.random.uniform(x_key, (4, field.n_inputs), field.dtype)
    return x, jax.random.uniform(y_key, (4, field.n_outputs), field.dtype)


@pytest.fixture(scope="session")
def mnist_dir() -> pathlib.Path:
    """The folder with the four IDX files of MNIST: `$EQPROP_FIELD_DATA/mnist`."""
    root = os.environ.get("EQPROP_FIELD_DATA")
    if not root:
        pytest.skip("EQPROP_FIELD_DATA is not set: set it to a folder that holds mnist/ to run the tests on MNIST")
    folder = pathlib.Path(root) / "mnist"
    if not any(folder.glob("train-images-idx3-ubyte*")):
        pytest.skip(f"{folder} holds no train-images-idx3-ubyte[.gz]")
    return folder


@pytest.fixture(scope="session")
def ngspice() -> str:
    """The path of the ngspice program; continuous integration must have it."""
    found = shutil.which("ngspice")
    if found is None:
        reason = "ngspice is not installed: scripts/install_ngspice.sh installs it"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


# The protocol is spoken on the descriptors 3 and 4, which may be taken here.
_ON_3_AND_4 = """import fcntl, os, sys
into, out = (fcntl.fcntl(int(pipe), fcntl.F_DUPFD, 10) for pipe in sys.argv[1:3])
os.dup2(into, 3)
os.dup2(out, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Browser:
    """A headless chromium that is steered through a pipe, by the protocol of its own developer tools."""

    def __init__(self, program: str, profile: pathlib.Path) -> None:
        (ours, theirs), (inwards, self._out) = os.pipe(), os.pipe()
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-pipe"]
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                _ON_3_AND_4,
                str(inwards),
                str(theirs),
                program,
                *options,
                f"--user-data-dir={profile}",
            ],
            pass_fds=(inwards, theirs),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(inwards)
        os.close(theirs)
        self._in, self._sent = os.fdopen(ours, "rb"), 0
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def _ask(self, method: str, session: str | None = None, **parameters: object) -> dict:
        self._sent += 1
        message = {"id": self._sent, "method": method, "params": parameters} | (
            {"sessionId": session} if session else {}
        )
        os.write(self._out, json.dumps(message).encode() + b"\0")
        answer: dict = {}
        while answer.get("id") != self._sent:
            text = bytearray()
            while not text.endswith(b"\0"):
                text += self._in.read(1) or pytest.fail("chromium has ended")
            answer = json.loads(text[:-1])
        assert "error" not in answer, answer
        return answer["result"]

    def open(self, address: str, width: int = 1280) -> None:
        """Goes to a page, and waits until it is loaded."""
        screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self._ask("Emulation.setDeviceMetricsOverride", self._session, **screen)
        self._ask("Page.navigate", self._session, url=address)
        self.until(f"location.href.startsWith({json.dumps(address)}) && document.readyState === 'complete'")

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, awaited where it is a promise."""
        options = {"expression": expression, "awaitPromise": True, "returnByValue": True}
        answer = self._ask("Runtime.evaluate", self._session, **options)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, condition: str, seconds: float = 60.0) -> None:
        """Waits until a JavaScript expression holds."""
        end = time.monotonic() + seconds
        while not self.evaluate(condition):
            assert time.monotonic() < end, f"after {seconds} s still not so: {condition}"
            time.sleep(0.02)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()
        os.close(self._out)
        self._in.close()


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Chromium, where it is installed."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("chromium is not installed: `apt-get install chromium` on Debian")
    steered = Browser(program, tmp_path_factory.mktemp("chromium"))
    yield steered
    steered.close()
