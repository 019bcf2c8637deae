"""The documentation site: it is built, holds everything public, leads to what is there, and needs no network."""

import html.parser
import importlib
import importlib.util
import inspect
import pathlib
import re
import subprocess
import sys
from urllib.parse import unquote, urlsplit

import jax.numpy as jnp
import pytest
from jax.flatten_util import ravel_pytree

import eqprop_field as epf

_ROOT = pathlib.Path(__file__).parents[1]
_NEEDED = ("mkdocs", "material", "mkdocstrings", "latex2mathml", "ziamath")
_PACKAGES = ("eqprop_field", "eqprop_field.sequence", "eqprop_field.kernel_networks", "eqprop_field.circuits")


class Page(html.parser.HTMLParser):
    """What a page says outside of code, what it leads to, what it loads, and the places in it that have names."""

    def __init__(self, path: pathlib.Path) -> None:
        super().__init__()
        self.words, self.links, self.loads, self.ids, self._silent = [], [], [], {""}, 0
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self._silent += tag in ("code", "script", "style")
        self.ids.add(given.get("id"))
        if tag == "a":
            self.links.append(given.get("href") or "")
        elif tag != "link" or given.get("rel") in ("stylesheet", "icon"):
            self.loads += [given[name] for name in ("src", "href") if given.get(name)]

    def handle_endtag(self, tag):
        self._silent -= tag in ("code", "script", "style")

    def handle_data(self, data):
        if not self._silent:
            self.words.append(data)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> pathlib.Path:
    if missing := [name for name in _NEEDED if importlib.util.find_spec(name) is None]:
        pytest.skip(f"{', '.join(missing)} of the extra `docs` is not installed")
    folder = tmp_path_factory.mktemp("documentation") / "site"
    command = [sys.executable, "docs/build.py", str(folder)]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site) -> dict[pathlib.Path, Page]:
    found = {path: Page(path) for path in sorted(site.rglob("*.html")) if path.name != "404.html"}
    assert len(found) > 40
    return found


def test_everything_public_is_in_the_reference(pages):
    ids = set().union(*(page.ids for path, page in pages.items() if "api" in path.parts))
    for package in _PACKAGES:
        module = importlib.import_module(package)
        inside = {path.stem for path in pathlib.Path(module.__path__[0]).iterdir()}
        names = [name for name in dir(module) if not name.startswith("_")]
        public = [name for name in names if name not in inside or callable(getattr(module, name))]
        public = [name for name in public if not inspect.ismodule(getattr(module, name))]
        assert [name for name in public if f"{package}.{name}" not in ids] == []


def test_notebooks_and_guides_are_there(pages, site):
    sources = [*_ROOT.glob("docs/*.md"), *_ROOT.glob("notebooks/*.ipynb")]
    assert len(sources) > 25
    assert [source for source in sources if site / source.relative_to(_ROOT).with_suffix(".html") not in pages] == []


def test_every_link_leads_somewhere_and_everything_that_is_loaded_is_inside(pages, site):
    dead, foreign = [], []
    for path, page in pages.items():
        foreign += [(path.name, address) for address in page.loads if urlsplit(address).scheme not in ("", "data")]
        for address in page.links + page.loads:
            scheme, host, target, _, anchor = urlsplit(address)
            if scheme or host:
                continue
            there = (path.parent / unquote(target)).resolve() if target else path
            if not there.is_file() or (there in pages and unquote(anchor) not in pages[there].ids | {"__tabbed"}):
                dead.append((str(path.relative_to(site)), address))
    assert dead == [] and foreign == []


def test_formulas_are_set(pages, site):
    assert [
        (path.name, word) for path, page in pages.items() for word in page.words if "$" in word or r"\(" in word
    ] == []
    learning = (site / "api" / "eqprop_field" / "learning.html").read_text(encoding="utf-8")
    assert re.search(r"<math[^>]*><mrow><mi>&#x00394;</mi><mi>&#x003B8;</mi><mo>&#x0221D;</mo>", learning)  # EqProp's


def test_nothing_is_wider_than_a_phone_and_nothing_is_fetched(pages, browser):
    wide, fetched = [], []
    for path in pages:
        browser.open(path.as_uri(), 390)
        wide += [path.name] * browser.evaluate("document.documentElement.scrollWidth > 390")
        loaded = browser.evaluate("performance.getEntriesByType('resource').map(entry => entry.name)")
        fetched += [address for address in loaded if not address.startswith(("file:", "data:", "blob:"))]
    assert wide == [] and fetched == []


def test_the_search_finds_from_a_folder(site, browser):
    browser.open((site / "index.html").as_uri())
    field = "document.querySelector('.md-search__input')"
    browser.until(f"{field}.offsetParent !== null")
    browser.evaluate(f"{field}.focus(), {field}.value = 'holomorphic', {field}.dispatchEvent(new Event('input'))")
    found = "[...document.querySelectorAll('.md-search-result__link')].map(link => link.getAttribute('href'))"
    browser.until(f"{found}.length > 0")
    addresses = browser.evaluate(found)
    assert any("HolomorphicEqProp" in address or "rules" in address for address in addresses), addresses


def test_the_page_of_alignment_computes_the_cosine_of_the_library(browser):
    browser.open((_ROOT / "docs" / "alignment.html").as_uri())
    field = "(({W, Win, b, x, y}) => ({W, Win, b, x, y}))(network(3, 0.4, 0.6))"
    given = {name: jnp.asarray(rows) for name, rows in browser.evaluate(field).items()}

    def mu(theta, x, s):
        return (theta["W"] * (1 - jnp.eye(12))) @ jnp.tanh(s) + theta["Win"] @ x + theta["b"] - s

    x, y = given.pop("x")[None], given.pop("y")[None]
    network = epf.field(mu, given, state=12, inputs=3, outputs=4)
    rules = epf.EqProp(epf.Nudging.symmetric(0.1), epf.Equilibrium(tol=1e-10)), epf.ImplicitGradient()
    ours, truth = (ravel_pytree(rule.estimate(network, x, y).gradient.theta)[0] for rule in rules)
    expected = float(ours @ truth / jnp.linalg.norm(ours) / jnp.linalg.norm(truth))
    assert browser.evaluate("cosine(network(3, 0.4, 0.6), 0.1).cosine") == pytest.approx(expected, abs=1e-5)
    assert expected < 0.99
