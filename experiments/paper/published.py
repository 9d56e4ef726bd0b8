"""The paper's figures, as printed (GRAD-MATCH, ICML 2021): tables.json, by our names."""

import json
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

FILE = Path(__file__).with_name("tables.json")


class Published(NamedTuple):
    """A strategy's figures at a budget."""

    accuracy: float  # percent
    hours: float | None  # on one V100; None where the paper has none


@cache
def tables() -> dict[str, Any]:
    """Every table of the paper."""
    return json.loads(FILE.read_text(encoding="utf-8"))


def our_name(name: str) -> str:
    """A strategy of the paper's by the name it has here.

    >>> [our_name(name) for name in ("FULL", "CRAIGPB-WARM", "GRAD-MATCH")]
    ['full', 'craig-pb-warm', 'gradmatch']
    """
    return name.lower().replace("grad-match", "gradmatch").replace("pb", "-pb")


def accuracy_and_time(table: str, dataset: str) -> dict[tuple[str, float], Published]:
    """Tables 2, 3 and 4: figures by strategy and fraction; full's under fraction 1.

    >>> accuracy_and_time("table3", "mnist")["gradmatch-pb-warm", 0.05]
    Published(accuracy=99.3, hours=0.065)
    """
    part = tables()[table][dataset]
    found = {}
    for name, row in part["rows"].items():
        for fraction, *figures in zip(part["budgets"], row["accuracy"], row["hours"], strict=True):
            key = our_name(name), 1.0 if name == "FULL" else fraction
            found[key] = Published(*figures)
    return found
