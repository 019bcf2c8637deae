"""Builds the documentation site: guides, notebooks, and the reference of everything public. Usage: build.py [FOLDER]

docs/mkdocs.yml says what it looks like, and names this file as the one whose `on_page_content` runs on every page.
Nothing of the site comes from elsewhere when it is read: formulas are MathML, which browsers set by themselves.
"""

import html
import importlib.resources
import json
import logging
import pathlib
import re
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterator

import latex2mathml.converter
import mkdocs.commands.build
import mkdocs.config

_HERE = pathlib.Path(__file__).parent
_ROOT = _HERE.parent
_PACKAGES = ("eqprop_field", "eqprop_field.sequence", "eqprop_field.kernel_networks", "eqprop_field.circuits")
_SHOWN = (
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", "CITATION.cff"),
    *("docs/*.md", "docs/*.html", "docs/images/*", "docs/examples/*", "circuits/**/*.md", "circuits/**/*.cir"),
    *("eqprop_field/circuits/library/*.sub", "eqprop_field/circuits/library/*.mod"),
)


def public(package: str) -> dict[str, list[str]]:
    """The public names of a package by its rooms, in which they are defined.

    Raises:
        SystemExit: if a public class or function has no docstring.
    """
    module = importlib.import_module(package)
    inside = {path.stem for path in pathlib.Path(module.__path__[0]).iterdir()}
    rooms, bare = defaultdict(list), []
    for name in (name for name in dir(module) if not name.startswith("_")):
        thing = getattr(module, name)
        if callable(thing):
            room = thing.__module__.removeprefix(f"{package}.").partition(".")[0]
            rooms[room if room in inside else "further"].append(name)
            bare += [name] * (not thing.__doc__)
        elif name not in inside:  # a room by itself is not public; a table is
            rooms["tables"].append(name)
    if bare:
        raise SystemExit(f"{package}: public names without a docstring: {', '.join(bare)}")
    return rooms


def reference(package: str) -> Iterator[tuple[str, str]]:
    """The pages of a package, by their paths: one a room, and one of all rooms that define few names."""
    rooms = public(package)
    pages: dict[str, list[str]] = defaultdict(list)
    for room, names in sorted(rooms.items()):
        pages[room if len(names) > 4 else "others"] += names
    for page, names in pages.items():
        items = "\n\n".join(f"::: {package}.{name}" for name in sorted(names))
        yield f"api/{package}/{page}.md", f"# {package}: {page.replace('_', ' ')}\n\n{items}\n"


def notebook(path: pathlib.Path) -> str:
    """A notebook, as it is committed, in Markdown."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    texts = [(cell["cell_type"], "".join(cell["source"])) for cell in cells]
    return "\n\n".join(text if kind == "markdown" else f"```python\n{text}\n```" for kind, text in texts) + "\n"


def gather(folder: pathlib.Path) -> None:
    """Puts the sources of the site together, as they lie in the repository."""
    shutil.rmtree(folder, ignore_errors=True)
    texts = {path.relative_to(_ROOT).with_suffix(".md"): notebook(path) for path in _ROOT.glob("notebooks/*.ipynb")}
    texts |= {pathlib.Path(path): text for package in _PACKAGES for path, text in reference(package)}
    for path in (path for pattern in _SHOWN for path in _ROOT.glob(pattern) if path.is_file()):
        if path.suffix == ".md":
            texts[path.relative_to(_ROOT)] = path.read_text(encoding="utf-8")
        else:
            (folder / path.relative_to(_ROOT)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder / path.relative_to(_ROOT))
    for path, text in texts.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(linked(text, folder / path), encoding="utf-8")
    for own in (_HERE / "site.css", _HERE / "worker.js"):
        shutil.copy(own, folder)
    font = importlib.resources.files("ziamath").joinpath("fonts", "STIXTwoMath-Regular.ttf")
    (folder / "math.ttf").write_bytes(font.read_bytes())


def linked(text: str, page: pathlib.Path) -> str:
    """Links to notebooks lead to their pages, and links to folders, which a site does not show, become words."""

    def link(found: re.Match[str]) -> str:
        words, target = found.groups()
        if (page.parent / target).is_dir():
            return words
        return f"[{words}]({target.removesuffix('.ipynb') + '.md' if target.endswith('.ipynb') else target})"

    return re.sub(r"\[([^\]\n]*)\]\((?!https?:|#)([^)\s#]+)\)", link, text)


def contents(sources: pathlib.Path, page: str | list) -> str | list:
    """What stands in the navigation for a page; for a folder, all its pages, by folders."""
    if not isinstance(page, str) or not page.endswith("/"):
        return page
    inside = sorted((sources / page).iterdir())
    paths = [f"{path.relative_to(sources)}{'/' * path.is_dir()}" for path in inside]
    return [{path.split("/")[-2]: contents(sources, path)} if path.endswith("/") else path for path in paths]


def on_page_content(content: str, **_: object) -> str:
    """Sets every formula of a page; called by mkdocs."""

    def formula(found: re.Match[str]) -> str:
        tex, display = html.unescape(found[2]), "block" if found[1] == "div" else "inline"
        mathml = latex2mathml.converter.convert(tex, display=display)
        return mathml.replace("<mo>&#x02016;", '<mo stretchy="false">&#x02016;')  # both bars of a norm alike

    return re.sub(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', formula, content, flags=re.DOTALL)


def build(folder: pathlib.Path) -> None:
    """Writes the site into `folder`."""
    sys.path.insert(0, str(_ROOT))
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    sources = folder.parent / f"{folder.name}-source"
    gather(sources)
    config = mkdocs.config.load_config(
        str(_HERE / "mkdocs.yml"), docs_dir=str(sources.absolute()), site_dir=str(folder.absolute())
    )
    config.nav = [{title: contents(sources, page)} for section in config.nav for title, page in section.items()]
    mkdocs.commands.build.build(config)
    for page in folder.rglob("*.html"):  # the theme would fetch this from elsewhere
        text, up = page.read_text(encoding="utf-8"), "../" * (len(page.relative_to(folder).parts) - 1)
        page.write_text(text.replace("https://unpkg.com/iframe-worker/shim", f"{up}worker.js"), encoding="utf-8")
    print(f"documentation: {folder / 'index.html'}")


if __name__ == "__main__":
    build(pathlib.Path(sys.argv[1]))
