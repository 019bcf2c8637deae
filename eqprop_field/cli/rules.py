"""`eqprop-field rules`: all learning rules in one table."""

import dataclasses
from pathlib import Path

from .command import AbstractCommand, Outcome, folder_for


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rules(AbstractCommand):
    """Lists the learning rules that `align --rules` and `train --rule` know: when each is exact, and what it costs.

    The table is Markdown; docs/rules.md is what this command writes.

    Example: eqprop-field rules
    """

    out: Path | None = None
    """A folder to write rules.md to."""

    def run(self) -> Outcome:
        from ..circuits.rule_table import rule_page, rule_rows, rule_table

        if self.out is not None:
            from .._files import write_text

            write_text(folder_for(self.out) / "rules.md", rule_page())
        return Outcome({"rules": rule_rows()}, rule_table())
