"""A netlist in a page: what is written; and in a browser, that it settles as in native ngspice and follows sliders."""

import base64
import gzip
import json
import re
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eqprop_field as epf
from eqprop_field.circuits import Crossbar, Transistor, export, parse_raw
from eqprop_field.circuits import playground as page_of

_X, _Y = np.array([0.3, -0.8, 0.1]), np.array([0.5, 0.1])
_READY = "typeof running !== 'undefined' && !running && done === at('netlist').value"


def part(page: str, name: str) -> str:
    """What a page carries under a name."""
    (found,) = re.findall(f'<script type="[a-z/]+" id="{name}">(.*?)</script>', page, flags=re.DOTALL)
    return found


@pytest.fixture(scope="module")
def network() -> epf.LayeredField:
    return epf.LayeredField.create(jax.random.key(1), (3, 4, 2), activation=epf.activation("tanh"), gain=0.8)


@pytest.fixture
def packed(monkeypatch):
    """An engine that is none, where the real one is not needed."""
    monkeypatch.setattr(page_of, "find_engine", lambda: page_of.Engine(b"run()</script>", "MIT <licence>"))


@pytest.fixture(scope="module")
def engine() -> None:
    try:
        page_of.find_engine()
    except ValueError as missing:
        pytest.skip(str(missing))


def test_the_page_holds_the_netlist_that_is_written_and_the_engine(network, packed, tmp_path):
    export(
        network, _X, _Y, 0.1, tmp_path / "net.cir", free_time=20.0, nudged_time=20.0, html=tmp_path / "a" / "net.html"
    )
    page = (tmp_path / "a" / "net.html").read_text()
    data = json.loads(part(page, "data"))
    assert data["netlist"] == (tmp_path / "net.cir").read_text()
    assert data["map"] == json.loads((tmp_path / "net.map.json").read_text())
    assert "\nVx2 x2 0 0.1\n" in data["netlist"] and data["lowest"] == -1
    assert data["synapses"] == [[i, j] for i in (0, 1) for j in (2, 3, 4, 5)] + [
        [i, j] for i in (2, 3, 4, 5) for j in (0, 1)
    ]
    assert data["input_synapses"] == [[i, k] for i in (2, 3, 4, 5) for k in range(3)]
    assert gzip.decompress(base64.b64decode(part(page, "engine"))) == b"run()</script>"
    assert "MIT &lt;licence&gt;" in page and f"{page_of.ENGINE} {page_of.VERSION}" in page
    assert not re.search(r"@[a-z-]+@|(src|href)=|https?:", page)  # everything is inside


def test_bounds_of_states_are_in_the_page(packed, tmp_path):
    clipped = epf.LayeredField.create(jax.random.key(1), (3, 4, 2))
    export(clipped, _X, _Y, 0.1, tmp_path / "n.cir", free_time=20.0, nudged_time=20.0, html=tmp_path / "n.html")
    data = json.loads(part((tmp_path / "n.html").read_text(), "data"))
    assert data["limits"] == {"low": [0.0] * 6, "high": [1.0] * 6} and data["lowest"] == 0


def test_a_page_runs_one_sample(network, packed, tmp_path):
    with pytest.raises(ValueError, match="a page runs one sample, and this netlist clamps 2: export one"):
        export(network, np.stack([_X, _X]), np.stack([_Y, _Y]), 0.1, tmp_path / "n.cir", free_time=20.0, html="n.html")
    assert list(tmp_path.iterdir()) == []


def test_without_the_engine_the_command_that_gets_it_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "eqprop-field" / "playground"
    get_it = f"get it with `npm install --prefix {folder} eecircuit-engine@1.8.0`"
    with pytest.raises(ValueError, match=f"is not in {folder}: {get_it}"):
        page_of.find_engine()
    package = folder / "node_modules" / "eecircuit-engine"
    (package / "dist").mkdir(parents=True)
    (package / "LICENSE").write_text("MIT")
    (package / "dist" / "eecircuit-engine.umd.js").write_text("another one")
    with pytest.raises(ValueError, match="is damaged, or not that of eecircuit-engine 1.8.0: get it with"):
        page_of.find_engine()


class Page:
    """A page in the browser, and native ngspice beside it."""

    def __init__(self, browser, ngspice, folder, field, beta=0.1, **options):
        self.browser, self.ngspice, self.folder = browser, ngspice, folder
        export(
            field,
            _X,
            _Y,
            beta,
            folder / "net.cir",
            free_time=40.0,
            nudged_time=40.0,
            html=folder / "net.html",
            **options,
        )
        self.map = json.loads((folder / "net.map.json").read_text())
        browser.open((folder / "net.html").as_uri())
        browser.until(_READY)

    @property
    def netlist(self) -> str:
        return self.browser.evaluate("at('netlist').value")

    @property
    def error(self) -> str:
        return self.browser.evaluate("at('error').hidden ? '' : at('error').textContent")

    def table(self, name: str) -> np.ndarray:
        """The numbers of a table, (rows, columns); what is shown is these to six places."""
        cells = "r => [...r.cells].filter(c => c.dataset.value).map(c => [c.textContent, +c.dataset.value])"
        rows = [row for row in self.browser.evaluate(f"[...at('{name}').rows].map({cells})") if row]
        assert all(abs(float(text.replace("−", "-")) - value) < 1e-6 for row in rows for text, value in row)
        return np.array([[value for _, value in row] for row in rows])

    def set(self, slider: str, value: float) -> None:
        self.browser.evaluate(f"at('{slider}').value = {value}; at('{slider}').dispatchEvent(new Event('input'))")
        self.browser.until(_READY)

    def type(self, netlist: str) -> None:
        self.browser.evaluate(
            f"at('netlist').value = {json.dumps(netlist)}; at('netlist').dispatchEvent(new Event('input'))"
        )
        self.browser.until(_READY)

    def native(self, netlist: str | None = None) -> np.ndarray:
        """States (neurons, phases) at the ends of the shown phases, of the page's netlist, in native ngspice."""
        (self.folder / "page.cir").write_text(netlist or self.netlist)
        command = [self.ngspice, "-n", "-b", "page.cir", "-r", "page.raw"]
        subprocess.run(command, cwd=self.folder, check=True, capture_output=True)
        found = parse_raw((self.folder / "page.raw").read_bytes())
        shown = [phase["end_s"] for k, phase in enumerate(self.map["phases"]) if k == 0 or phase["beta"]]
        unit = self.map["scales"]["volt_per_unit"]
        return np.array(
            [np.interp(shown, found["time"], found[f"v({node['state']})"] / unit) for node in self.map["nodes"]]
        )


@pytest.fixture(scope="module")
def page(browser, engine, network, ngspice, tmp_path_factory):
    return Page(browser, ngspice, tmp_path_factory.mktemp("page"), network)


@pytest.fixture
def fresh(page):
    """The page with the netlist as it was exported."""
    page.browser.evaluate("at('reset').click()")
    page.browser.until(_READY)
    assert page.error == ""
    return page


def test_states_and_update_are_those_of_native_ngspice_and_of_the_ode(fresh, network):
    assert fresh.netlist == (fresh.folder / "net.cir").read_text()
    states, native = fresh.table("states"), fresh.native()
    np.testing.assert_allclose(states[:, :2], native, rtol=0, atol=1e-6)
    np.testing.assert_allclose(states[:, 2], (native[:, 1] - native[:, 0]) / 0.1, rtol=0, atol=1e-5)

    shown = {row["name"]: row["value"] for row in fresh.browser.evaluate("found.synapses")}
    rule = epf.EqProp(epf.Nudging.one_sided(0.1), epf.Equilibrium(tol=1e-10))
    update = rule.estimate(network, _X[None], _Y[None]).update
    recurrent, (inputs, _) = np.asarray(update.recurrent_matrix()), update.input_matrix()
    expected = {f"s{i} ← s{j}": recurrent[i, j] for i, j in np.ndindex(6, 6) if (i < 2) != (j < 2)}
    expected |= {f"s{i} ← x{k}": float(inputs[i, k]) for i in range(2, 6) for k in range(3)}
    assert shown.keys() == expected.keys()
    np.testing.assert_allclose([shown[name] for name in expected], list(expected.values()), rtol=0, atol=1e-4)
    assert sorted(fresh.table("update")[:, 0]) == pytest.approx(sorted(shown.values()))


def test_sliders_change_the_netlist_as_an_export_would_and_the_states_as_native_ngspice(fresh, network, tmp_path):
    before = fresh.table("states")
    for slider, value in {"β": 0.4, "x1": 0.25, "y0": -0.75}.items():
        fresh.set(slider, value)
    x, y = np.array([0.3, 0.25, 0.1]), np.array([-0.75, 0.1])
    written = export(network, x, y, 0.4, tmp_path / "n.cir", free_time=40.0, nudged_time=40.0, fold_inputs=False).text
    apart = [(a.split(), b.split()) for a, b in zip(fresh.netlist.splitlines(), written.splitlines(), strict=True)]
    numbers = [(a, b) for ours, theirs in apart for a, b in zip(ours, theirs, strict=True) if a != b]
    assert all(float(a.strip("PWL()")) == float(b.strip("PWL()")) for a, b in numbers)  # 0 is written as 0.0
    states = fresh.table("states")
    np.testing.assert_allclose(states[:, :2], fresh.native(), rtol=0, atol=1e-6)
    assert np.abs(states - before).max() > 0.1


def test_what_ngspice_says_of_a_wrong_netlist_is_shown_and_nothing_of_the_last_one_passes_for_it(fresh):
    netlist = fresh.netlist
    end = f"{fresh.map['phases'][-1]['end_s']!r} 0"
    for right, wrong, says in (
        (f" {end}", " 2e-05 0", "ngspice did not reach the end of the phases."),
        ("Vbeta beta 0 PWL", "Vbeta beta 0 0\n*", "This netlist has no nudged phase"),
        ("s0 r0 tanh", "s0 r0 tanhh", "unknown subckt"),  # the engine runs the circuit before again
        ("Rl s 0 {leak}", "Rl s 0 {nonsense}", "Undefined parameter [nonsense]"),  # ngspice ends
        (".tran", ".tram", "unimplemented dot command '.tram'"),
    ):
        assert right in netlist
        fresh.type(netlist.replace(right, wrong, 1))
        assert says in fresh.error and "What is shown is the last" in fresh.browser.evaluate("at('status').textContent")
    fresh.type(netlist.replace("Vx0 x0 0 0.3", "Vx0 x0 0 -0.6"))
    assert fresh.error == "" and fresh.browser.evaluate("+at('x0').value") == -0.6  # the slider follows
    np.testing.assert_allclose(fresh.table("states")[:, :2], fresh.native(), rtol=0, atol=1e-6)


def test_phases_that_are_too_short_are_called_so(fresh):
    sentence = "at('status').textContent.includes('the phases are too short')"
    assert not fresh.browser.evaluate(sentence)
    slower = re.sub("capacitance=[0-9.e-]+", "capacitance=2e-8", fresh.netlist)
    fresh.type(slower)
    assert fresh.browser.evaluate(sentence)


@pytest.mark.parametrize("width", (1280, 390))
def test_nothing_is_wider_than_the_screen(fresh, width):
    fresh.browser.open((fresh.folder / "net.html").as_uri(), width)
    fresh.browser.until(_READY)
    assert fresh.browser.evaluate("document.documentElement.scrollWidth") <= width
    assert fresh.browser.evaluate("document.querySelectorAll('#plot polyline').length") == 6


def own_field(theta, x, s):
    return jnp.tanh(theta @ s + x[:3]) - s


@pytest.mark.parametrize(
    ("field", "options"),
    [
        pytest.param(None, {"level": Crossbar(), "nudging": "symmetric"}, id="crossbar"),
        pytest.param(
            epf.field(own_field, 0.4 * np.eye(3)[[1, 2, 0]], state=3, inputs=3, outputs=2), {}, id="any field"
        ),
        pytest.param(None, {"level": Transistor()}, id="transistor", marks=pytest.mark.slow),
    ],
)
def test_every_level_and_any_field_settle_as_in_native_ngspice(
    browser, engine, network, ngspice, tmp_path, field, options
):
    page = Page(browser, ngspice, tmp_path, field or network, **options)
    for slider, value in {"β": 0.2, "x0": -0.5, "y1": 0.6}.items():
        page.set(slider, value)
    assert page.error == ""
    native, states = page.native(), page.table("states")
    shown = native.shape[1]
    np.testing.assert_allclose(states[:, :shown], native, rtol=0, atol=1e-6)
    x, y = np.array([-0.5, *_X[1:]]), np.array([_Y[0], 0.6])
    written = export(
        field or network, x, y, 0.2, tmp_path / "n.cir", free_time=40.0, nudged_time=40.0, fold_inputs=False, **options
    )
    np.testing.assert_allclose(native, page.native(written.text), rtol=0, atol=1e-6)
    between = native[:, 1] - native[:, 2] if shown == 3 else native[:, 1] - native[:, 0]
    np.testing.assert_allclose(states[:, shown], between / (0.4 if shown == 3 else 0.2), rtol=0, atol=2e-5)
