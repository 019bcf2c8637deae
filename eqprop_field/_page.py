"""A report as one HTML file: pictures inside, readable on a phone, by day and by night, without a network."""

import base64
import dataclasses
import html
import itertools
from collections.abc import Sequence

STYLE = """
:root { color-scheme: light dark; --ink:#1d2025; --soft:#5b6169; --paper:#fbfbfa; --card:#ffffff; --line:#e3e5e8;
  --good:#1e7a34; --goodground:#e7f4ea; --bad:#b3261e; --badground:#fbeae9; --accent:#33608f; }
@media (prefers-color-scheme: dark) { :root { --ink:#e7e9ec; --soft:#a2a8b0; --paper:#15171a; --card:#1d2024;
  --line:#32363c; --good:#7fd494; --goodground:#16301d; --bad:#ff9d94; --badground:#3a1a18; --accent:#8fb8e2; } }
* { box-sizing: border-box; }
body { margin:0; background:var(--paper); color:var(--ink); font:17px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,
  "Helvetica Neue",Arial,sans-serif; -webkit-text-size-adjust:100%; }
main { max-width:44rem; margin:0 auto; padding:1.6rem 1.1rem 4rem; }
h1 { font-size:1.65rem; line-height:1.2; margin:.4rem 0 .5rem; letter-spacing:-.01em; }
h2 { font-size:1.22rem; line-height:1.3; margin:2.6rem 0 .5rem; }
p { margin:.5rem 0 .9rem; } .lead { color:var(--soft); }
.verdict { border-radius:.7rem; padding:.85rem 1rem; margin:1.2rem 0; font-weight:600; }
.verdict.good { color:var(--good); background:var(--goodground); }
.verdict.bad { color:var(--bad); background:var(--badground); }
figure { margin:.9rem 0 1.2rem; background:#fff; border:1px solid var(--line); border-radius:.7rem; padding:.5rem; }
img { display:block; width:100%; max-width:40rem; height:auto; margin:0 auto; }
.scroll { overflow-x:auto; } table { border-collapse:collapse; width:100%; font-size:.95rem; }
td,th { text-align:left; padding:.5rem .7rem .5rem 0; border-bottom:1px solid var(--line); vertical-align:top; }
td.number { text-align:right; font-variant-numeric:tabular-nums; padding-right:0; overflow-wrap:anywhere; }
code { font:.9em ui-monospace,SFMono-Regular,Menlo,Consolas,monospace; overflow-wrap:anywhere; }
a { color:var(--accent); } ul { padding-left:1.2rem; } li { margin:.3rem 0; }
footer { margin-top:3rem; color:var(--soft); font-size:.88rem; border-top:1px solid var(--line); padding-top:1rem; }
"""


@dataclasses.dataclass(frozen=True)
class Section:
    """One picture, or table, with its words.

    Attributes:
        title: what the section is about, as a claim or a name.
        words: paragraphs that say what the picture shows and what was measured.
        picture: a PNG file's bytes, or None.
        alt: the picture in a sentence, for those who cannot see it.
        table: rows of cells below it, the head first; none by default.
    """

    title: str
    words: Sequence[str]
    picture: bytes | None = None
    alt: str = ""
    table: Sequence[Sequence[str]] = ()


def page(
    *,
    title: str,
    lead: str,
    verdict: str,
    held: bool,
    table: Sequence[tuple[str, str]],
    sections: Sequence[Section],
    files: Sequence[tuple[str, str]],
    footer: str,
) -> str:
    """The report as HTML.

    Args:
        title: the report's name.
        lead: one paragraph: what was done.
        verdict: one sentence: whether everything held.
        held: whether it did.
        table: names and values, the numbers in short.
        sections: pictures with their words.
        files: names of the files beside the report, and what they hold.
        footer: how the report was made.
    """
    safe = html.escape
    rows = "".join(f'<tr><td>{safe(name)}</td><td class="number">{safe(value)}</td></tr>' for name, value in table)
    beside = "".join(
        f'<li><a href="{safe(name)}"><code>{safe(name)}</code></a> {safe(what)}</li>' for name, what in files
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{safe(title)}</title><style>{STYLE}</style></head><body><main>
<h1>{safe(title)}</h1>
<p class="lead">{safe(lead)}</p>
<p class="verdict {"good" if held else "bad"}" role="status">{"✓" if held else "✗"} {safe(verdict)}</p>
<div class="scroll"><table>{rows}</table></div>
{"".join(map(_section, sections))}
<h2>Files beside this report</h2><ul>{beside}</ul>
<footer>{safe(footer)}</footer>
</main></body></html>
"""


def _section(section: Section) -> str:
    words = "".join(f"<p>{html.escape(paragraph)}</p>" for paragraph in section.words)
    picture = ""
    if section.picture is not None:
        data = base64.b64encode(section.picture).decode("ascii")
        picture = f'<figure><img alt="{html.escape(section.alt)}" src="data:image/png;base64,{data}"></figure>'
    tags = itertools.chain(["th"], itertools.repeat("td"))
    rows = (
        f"<tr>{''.join(f'<{tag}>{html.escape(cell)}</{tag}>' for cell in row)}</tr>"
        for tag, row in zip(tags, section.table, strict=False)
    )
    table = f'<div class="scroll"><table>{"".join(rows)}</table></div>' if section.table else ""
    return f"<section><h2>{html.escape(section.title)}</h2>{picture}{table}{words}</section>"
