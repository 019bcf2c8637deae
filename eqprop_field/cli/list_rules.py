"""`eqprop-field rules`: all learning rules in one table."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path

from .command import AbstractCommand, Outcome

_COLUMNS = ("rule", "exact", "costs", "error of", "local", "runs on a circuit", "source")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rules(AbstractCommand):
    """Lists the learning rules that `align --rules` and `train --rule` know: when each is exact, and what it costs.

    The table is Markdown; docs/rules.md is what this command writes.

    Example: eqprop-field rules
    """

    out: Path | None = None
    """A folder to write rules.md to."""

    def run(self) -> Outcome:
        from ..learning.catalogue import RULES

        rows = [
            {
                "rule": name,
                "exact": entry.exact,
                "costs": entry.settles,
                "error of": entry.error_of,
                "local": "yes" if entry.local else "no",
                "runs on a circuit": entry.circuit,
                "source": entry.source,
            }
            for name, entry in RULES.items()
        ]
        lines = [_row(_COLUMNS), _row(["---"] * len(_COLUMNS)), *(_row(row.values()) for row in rows)]
        if self.out is not None:
            from ..storage import write_text
            from .files import folder_for

            write_text(folder_for(self.out) / "rules.md", page(lines))
        return Outcome({"rules": rows}, lines)


def page(lines: list[str]) -> str:
    """The table as the page of the documentation."""
    head = "# Learning rules\n\nWritten by `eqprop-field rules --out docs`; the names are those of `align --rules`.\n"
    return "\n".join([head, *lines]) + "\n"


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
