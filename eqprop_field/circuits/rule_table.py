"""The table of learning rules as a page: when each is exact, what it costs, and on which circuits it runs."""

from collections.abc import Iterable, Sequence
from typing import Any

from ..learning.catalogue import RULES, Entry
from ..substrates import Capability, Equilibrium, EulerSteps, Trajectory
from .levels import LEVELS
from .substrate import NgspiceSubstrate

_HEAD = """# Learning rules

Written by `eqprop-field rules --out docs`; the names are those of `align --rules`.
"""
_PICTURE = """
*Error of* tells which error of the output neurons a rule makes smaller: that of their states s, or that of their firing
rates rho(s), without rho's slope or with it. The two are the same where rho(s) = s, as between the bounds of the hard
sigmoid. For a smooth rho a cosine of GeneRec, contrastive Hebbian learning or nonlinear back-propagation with the
gradient of a cost of states is below 1 for this reason too. CHL stands here with feedback gain 1, and so is defined at
the symmetry c = 1 only; elsewhere its samples are left out as `not_defined`.

Random-sign nudging (`Nudging.random_sign`) has no line of its own: with its sign drawn it is `eqprop-one-sided`.
Holomorphic nudging errs with (r / R)^N for N points at radius r, where R is how far from 0 the nudged state stays
analytic in beta. R shrinks as a network comes near the edge of stability; there, give a smaller beta.

## All rules in one picture

```
eqprop-field align --graph 50 --inputs 10 --outputs 10 --activation tanh --symmetry -1:1:11 --seeds 10 --samples 20 \\
    --rules all --out rules
```

![The cosine of every rule's update with the negative gradient against the symmetry of the weights](images/rules.png)

Random networks of 50 neurons with tanh, ten for each symmetry and twenty samples each: means over all of them. Rules
that are exact lie on the line at 1. All kinds of equilibrium propagation lie on one curve, for they read the same
derivative by other means; the hidden neurons' part of it follows the symmetry and changes sign with it.
"""
_PROVIDED = """
## What substrates provide

A rule is refused, when it is made, by a substrate that lacks what it needs beyond a free phase. A circuit may lack more
than the column says: it depends on its level, and chips have no transposed synapses.
"""
_COLUMNS = ("rule", "exact", "costs", "error of", "local", "needs", "runs on a circuit", "source")


def rule_rows() -> list[dict[str, str]]:
    """One row a rule: its name, when it is exact, what it costs and needs, and on which circuits it runs."""
    return [
        {
            "rule": name,
            "exact": entry.exact,
            "costs": entry.settles,
            "error of": entry.error_of,
            "local": "yes" if entry.local else "no",
            "needs": ", ".join(one.value for one in Capability if one in entry.needs) or "nothing",
            "runs on a circuit": _on_circuits(entry),
            "source": entry.source,
        }
        for name, entry in RULES.items()
    ]


def rule_table() -> list[str]:
    """The rows as lines of Markdown."""
    return _table(_COLUMNS, [row.values() for row in rule_rows()])


def rule_page() -> str:
    """The table as the page of the documentation, with that of the substrates."""
    substrates = (Equilibrium(), Trajectory(), EulerSteps(), NgspiceSubstrate())
    provided = [
        [capability.value, *("yes" if capability in substrate.provides else "no" for substrate in substrates)]
        for capability in Capability
    ]
    names = [f"`{type(substrate).__name__}`" for substrate in substrates]
    return "\n".join([_HEAD, *rule_table(), _PROVIDED, *_table(["", *names], provided), _PICTURE])


def _on_circuits(entry: Entry) -> str:
    """Whether the rule runs on a circuit of every level, on which levels it does, or what all of them lack."""
    every: dict[str, Any] = dict(LEVELS)  # every level is a dataclass with a default for each field
    lacks = {name: NgspiceSubstrate(level=level()).lacks(entry.needs) for name, level in every.items()}
    serve = [name for name, lacking in lacks.items() if not lacking]
    if len(serve) == len(lacks):
        return "yes"
    if not serve:
        return f"no: lacks {lacks['behavioural'][0].value}"
    rest = [name for name in lacks if name not in serve]
    return f"yes, but for the {rest[0]} level" if len(rest) == 1 else f"yes, at the {' and '.join(serve)} level"


def _table(head: Sequence[str], rows: Iterable[Iterable[str]]) -> list[str]:
    return [_row(head), _row(["---"] * len(head)), *map(_row, rows)]


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
