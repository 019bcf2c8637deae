"""Builds the documentation: the pages of this folder, and the reference from the docstrings. Usage: build.py FOLDER

The public names lie flat in their packages, so the reference has one page a package, however its folders are cut.
"""

import importlib
import pathlib
import re
import shutil
import sys

import pdoc
import pdoc.render_helpers

_HERE = pathlib.Path(__file__).parent
_ROOT = _HERE.parent
_PACKAGES = ("eqprop_field", "eqprop_field.sequence", "eqprop_field.kernel_networks", "eqprop_field.circuits")
_SHELL = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{title}</title>
<style>
body {{ max-width: 46rem; margin: 2rem auto; padding: 0 1rem; font: 1rem/1.55 system-ui, sans-serif; color: #1c1e21; }}
pre, code {{ background: #f4f5f7; border-radius: 4px; font-size: .9em; }} pre {{ padding: .8rem; overflow-x: auto; }}
table {{ border-collapse: collapse; }} td, th {{ border: 1px solid #d5d8dc; padding: .3rem .6rem; text-align: left; }}
nav a {{ margin-right: 1rem; }}
</style>
<script>MathJax = {{ tex: {{ inlineMath: [["$", "$"], ["\\\\(", "\\\\)"]] }} }};</script>
<script defer src="https://cdn.jsdelivr.net/npm/mathjax@3/es5/tex-mml-chtml.js"></script>
</head>
<body><nav>{links}</nav>
{body}
</body></html>
"""


def gather(package: str) -> None:
    """Tells pdoc that what a package re-exports is what it documents.

    Raises:
        SystemExit: if a public class or function has no docstring.
    """
    module = importlib.import_module(package)
    folder = pathlib.Path(module.__path__[0])
    rooms = {path.stem for path in folder.iterdir()}
    names = [name for name in dir(module) if not name.startswith("_")]
    # A function may bear the name of the room that it lives in; a room by itself is not public.
    module.__all__ = sorted(n for n in names if n not in rooms or callable(getattr(module, n)))
    if bare := [n for n in module.__all__ if callable(getattr(module, n)) and not getattr(module, n).__doc__]:
        raise SystemExit(f"{package}: public names without a docstring: {', '.join(bare)}")


def to_html(text: str) -> str:
    """Markdown to HTML, with the formulas kept as they are (markdown would eat backslashes and stars)."""

    def escape(formula: re.Match[str]) -> str:
        return re.sub(r"([\\`*_{}\[\]()>#+\-.!])", r"\\\1", formula[0])

    return pdoc.render_helpers.to_html(re.sub(r"\$\$.+?\$\$|\$[^$\n]+\$", escape, text, flags=re.DOTALL))


def write_page(source: pathlib.Path, target: pathlib.Path, links: str) -> None:
    """Renders one Markdown page; links to other pages keep pointing to their rendered form."""
    text = source.read_text(encoding="utf-8")
    title = text.partition("\n")[0].removeprefix("# ")
    linked = re.sub(r"\]\((?:docs/)?(\w+)\.md(#[\w-]+)?\)", lambda m: f"]({m[1].lower()}.html{m[2] or ''})", text)
    body = to_html(linked.replace("](docs/images/", "](images/"))
    target.write_text(_SHELL.format(title=title, links=links, body=body), encoding="utf-8")


def build(folder: pathlib.Path) -> None:
    """Writes the reference and the pages into `folder`."""
    sys.path.insert(0, str(_ROOT))
    for package in _PACKAGES:
        gather(package)
    pdoc.render.configure(docformat="google", math=True, search=True)
    pdoc.render.env.filters["to_html"] = to_html
    pdoc.pdoc(*_PACKAGES, output_directory=folder)
    sources = [_ROOT / "README.md", *sorted(_HERE.glob("*.md")), _ROOT / "CONTRIBUTING.md", _ROOT / "CHANGELOG.md"]
    pages = {source.stem.lower(): source for source in sources}
    pages["index"] = pages.pop("readme")
    stems = [*sorted(pages, key=lambda stem: stem != "index"), *_PACKAGES]
    names = {stem: stem.replace("index", "eqprop-field") for stem in stems}
    links = "".join(f'<a href="{stem.replace(".", "/")}.html">{name}</a>' for stem, name in names.items())
    for stem, source in pages.items():
        write_page(source, folder / f"{stem}.html", links)
    for shown in ("images", "examples"):
        shutil.copytree(_HERE / shown, folder / shown, dirs_exist_ok=True)
    print(f"documentation: {folder / 'index.html'}")


if __name__ == "__main__":
    build(pathlib.Path(sys.argv[1]))
