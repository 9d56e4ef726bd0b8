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


def figures(table: str, dataset: str) -> dict[tuple[str, float], float]:
    """Tables 5, 7, 8 and 9: a figure a strategy and fraction; full's under fraction 1.

    >>> figures("table7_std_over_5_runs", "mnist")["gradmatch-pb", 0.05]
    0.0181
    >>> figures("table9_redundant_points_percent_mnist", "rows")["craig", 0.01]
    90.381481
    """
    part = tables()[table]
    return {
        (our_name(name), 1.0 if name == "FULL" else fraction): value
        for name, values in part[dataset].items()
        for fraction, value in zip(part["budgets"], values, strict=True)
    }


def p_values() -> dict[tuple[str, str], float]:
    """Table 6: of a pair, the one that the paper has lower in the triangle first.

    >>> p_values()["gradmatch-pb-warm", "random"]
    0.0002
    """
    part = tables()["table6_wilcoxon_p"]
    return {
        (our_name(row), our_name(column)): p
        for row, values in part["lower_triangle"].items()
        for column, p in zip(part["columns"], values, strict=False)
    }


# Table 10's names of the forms that this project has as strategies.
FORMS = {
    "PerClassPerGradient": "gradmatch", "PerClass": "gradmatch-per-class",
    "PerBatch": "gradmatch-pb",
}  # fmt: skip


def forms(dataset: str) -> dict[tuple[str, float], Published]:
    """Table 10: GRAD-MATCH's forms.

    >>> forms("cifar10")["gradmatch-per-class", 0.3]
    Published(accuracy=93.69, hours=3.48)
    """
    part = tables()["table10_variants"]
    return {
        (FORMS[name], fraction): Published(*figures)
        for name, row in part[dataset].items()
        for fraction, *figures in zip(part["budgets"], row["accuracy"], row["hours"], strict=True)
    }


def others(dataset: str) -> dict[tuple[str, float], Published]:
    """Table 11: methods scored by another network, at 30 %.

    >>> others("cifar10")["forgetting", 0.3].accuracy
    92.3
    """
    names = {
        "Facility Location (ResNet164)": "facility-location",
        "Forgetting Events (ResNet164)": "forgetting",
        "Entropy (ResNet164)": "entropy",
        "GRAD-MATCHPB-WARM (ResNet18)": "gradmatch-pb-warm",
    }
    part = tables()["table11_additional_30_percent"][dataset]
    return {(names[name], 0.3): Published(value, None) for name, value in part.items()}
