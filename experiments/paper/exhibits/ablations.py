"""Figure 4: R, R against the budget, per batch or not, warm or cold, kappa.

The paper's are of CIFAR-100 and without numbers; MNIST stands in their place until that is run.
"""

import dataclasses
from collections.abc import Callable, Sequence

from experiments.paper import studies
from experiments.paper.draw import Panel, Series, against, trade_off
from experiments.paper.exhibit import Evidence, Exhibit
from experiments.paper.exhibits.cells import titled
from experiments.paper.exhibits.efficiency import (
    CAPTION,
    OWN_CLOCK,
    numbers,
    said,
    scatter,
    why,
)
from experiments.paper.lines import accuracy_of, by_fraction
from experiments.paper.points import Point, measured
from experiments.paper.rows import label
from experiments.paper.study import Part, Run, Study, of_strategies
from gradmatch_jax.report.summary import ended
from gradmatch_jax.report.tables import percent

_NO_NUMBERS = "The paper has no numbers of this figure."
PLAIN = ("random", *studies.FAIR)
COLD, BATCHES = ("gradmatch", "craig"), ("gradmatch-pb", "craig-pb")
WARMED = ("gradmatch", "gradmatch-pb", "craig", "craig-pb", "glister")


def at(study: Study, fraction: float, names: Sequence[str]) -> Study:
    """A part of a study's runs, with full training."""
    return dataclasses.replace(study, parts=(Part(tuple(names), (fraction,)), studies.WHOLE))


MNIST = at(studies.MNIST, 0.05, (*studies.ABLATED, *PLAIN))
CIFAR100 = at(studies.CIFAR100, 0.05, (*studies.ABLATED, *PLAIN))
MNIST_TENTH = at(studies.MNIST, 0.1, (*studies.ABLATED, *PLAIN))
CIFAR100_TENTH = at(studies.CIFAR100, 0.1, (*studies.ABLATED, *PLAIN))


def interval(point: Point) -> str:
    """R, of a point whose settings name it where it is not the only one."""
    found = [part for part in point.settings.split(", ") if part.startswith("select_every")]
    return found[0].replace("select_every", "R =") if found else "R = 20, or none"


def every_r(evidence: Evidence, base: Study, often: Study) -> list[Run]:
    """The tables' runs, R = 20, and those at other R, at the latter's budgets."""
    fractions = {*evidence.study(often).fractions, 1.0}
    plain = of_strategies(evidence.runs(base), (*studies.ABLATED, *PLAIN, "full", "infobatch"))
    return [*(run for run in plain if run["fraction"] in fractions), *evidence.runs(often)]


def _panels(evidence: Evidence, runs_of: Callable[[Evidence, Study, Study], list[Run]],
            pairs: Sequence[tuple[Study, Study]]) -> list[Panel]:  # fmt: skip
    panels = []
    for base, often in pairs:
        runs = runs_of(evidence, base, often)
        note = "; only R = 20 measured" if runs and not evidence.runs(often) else ""
        points = measured(runs)
        panels.append(Panel(f"{base.dataset}{said(points)}{note}", points, why(runs)))
    return panels


_PAIRS = ((CIFAR100, studies.CIFAR100_OFTEN), (MNIST, studies.MNIST_OFTEN))
FIGURE4A = Exhibit(
    "figure4a",
    "How often to select: R = 5, 10 and 20",
    "GRAD-MATCH's variants are above the others at every R.",
    (CIFAR100, studies.CIFAR100_OFTEN, MNIST, studies.MNIST_OFTEN),
    lambda evidence: numbers(_panels(evidence, every_r, _PAIRS)) + f"\n{_NO_NUMBERS}\n",
    lambda evidence, shape: trade_off(_panels(evidence, every_r, _PAIRS), shape, kind=interval),
    CAPTION + OWN_CLOCK + "5 % of the data; the shape is R.",
)


def r_and_budget(evidence: Evidence, base: Study, often: Study) -> list[Run]:
    """R = 5 on the smaller budget, R = 20 on the next; nothing where one of the two is missing."""
    small = max(evidence.study(often).fractions, default=0.05)
    wider = evidence.runs(base)
    larger = min((r["fraction"] for r in wider if small < r["fraction"] < 1), default=None)
    names = (*studies.ABLATED, *studies.FAIR, "full", "infobatch")
    kept = [r for r in of_strategies(wider, names) if r["fraction"] in (larger, 1.0)]
    kept += [r for r in of_strategies(wider, studies.FAIR) if r["fraction"] == small]
    five = [r for r in evidence.runs(often) if r["config"].get("select_every") == 5]
    return kept + five if larger is not None and five else []


_WIDER = ((CIFAR100_TENTH, studies.CIFAR100_OFTEN), (MNIST_TENTH, studies.MNIST_OFTEN))
FIGURE4B = Exhibit(
    "figure4b",
    "R = 5 with 5 % of the data against R = 20 with 10 %",
    "10 % with R = 20 is as accurate as 5 % with R = 5, and faster.",
    (CIFAR100_TENTH, studies.CIFAR100_OFTEN, MNIST_TENTH, studies.MNIST_OFTEN),
    lambda evidence: numbers(_panels(evidence, r_and_budget, _WIDER)) + f"\n{_NO_NUMBERS}\n",
    lambda evidence, shape: trade_off(_panels(evidence, r_and_budget, _WIDER), shape),
    CAPTION + OWN_CLOCK,
)

FIGURE4C = scatter(
    "figure4c",
    "Per batch against per example",
    "The per-batch versions of CRAIG and GRAD-MATCH have the better trade of accuracy and speed.",
    (
        dataclasses.replace(
            studies.CIFAR100,
            parts=(Part((*COLD, *BATCHES, *studies.FAIR), studies.TENTHS), studies.WHOLE),
        ),
        dataclasses.replace(
            studies.MNIST,
            parts=(Part((*COLD, *BATCHES, *studies.FAIR), (0.01, 0.05)), studies.WHOLE),
        ),
    ),
    strategies=(*COLD, *BATCHES, *studies.FAIR, "infobatch", "full"),
    more="The paper's points are Tables 2's and 3's.",
)
_WARM = (*WARMED, *(f"{name}-warm" for name in WARMED), *studies.FAIR)
FIGURE4D = scatter(
    "figure4d",
    "Warm starts against cold ones",
    "A warm start helps, most at small budgets.",
    (
        dataclasses.replace(
            studies.CIFAR100, parts=(Part(_WARM, studies.TENTHS), studies.WHOLE)
        ),
        dataclasses.replace(studies.MNIST, parts=(Part(_WARM, (0.01, 0.05)), studies.WHOLE)),
    ),
    strategies=(*_WARM, "infobatch", "full"),
    more="The paper's points are Tables 2's and 3's.",
)  # fmt: skip


WARM_STARTS = ("gradmatch-warm", "gradmatch-pb-warm", "adaptive-random-warm")
_KAPPAS = ((studies.CIFAR100, studies.CIFAR100_KAPPA), (studies.MNIST, studies.MNIST_KAPPA))


def every_kappa(evidence: Evidence, base: Study, others: Study) -> list[Run]:
    """The warm runs at every kappa, 1/2 being the tables' own, and what stands beside them."""
    shown = (*evidence.study(others).fractions, 1.0)
    plain = of_strategies(evidence.runs(base), (*WARM_STARTS, *studies.FAIR, "infobatch"))
    return [*(run for run in plain if run["fraction"] in shown), *evidence.runs(others)]


def _series(evidence: Evidence, base: Study, others: Study) -> Series:
    runs = ended(every_kappa(evidence, base, others))
    lines: dict[str, dict[float, list[float]]] = {}
    for run in of_strategies(runs, WARM_STARTS):
        kappa = run["config"].get("kappa", 0.5)
        lines.setdefault(label(run), {}).setdefault(kappa, []).append(accuracy_of(run))
    levels: dict[str, list[float]] = {}
    for run in of_strategies(runs, studies.FAIR):
        levels.setdefault(label(run), []).append(accuracy_of(run))
    budgets = ", ".join(map(percent, evidence.study(others).fractions))
    only_half = all(len(values) == 1 for values in lines.values())
    note = "; only 1/2 measured" if lines and only_half else ""
    return Series(f"{base.dataset}, {budgets}{note}", lines, levels if lines else {})


def _kappa_table(evidence: Evidence) -> str:
    parts = []
    for base, others in _KAPPAS:
        rows = [(name, f) for name in WARM_STARTS for f in evidence.study(others).fractions]
        runs = every_kappa(evidence, base, others)
        missing = "" if evidence.runs(others) else "Other kappa than 1/2: not measured.\n"
        parts.append((base.dataset, by_fraction(runs, {}, rows, _NO_NUMBERS) + missing))
    return titled(*parts)


def _warm_starts(base: Study, fraction: float) -> Study:
    return dataclasses.replace(base, parts=(Part((*WARM_STARTS, *studies.FAIR), (fraction,)),))


FIGURE4E = Exhibit(
    "figure4e",
    "Kappa: how much of a warm run is on subsets",
    "kappa = 1/2 is generally the best.",
    (
        _warm_starts(studies.CIFAR100, 0.1), studies.CIFAR100_KAPPA,
        _warm_starts(studies.MNIST, 0.05), studies.MNIST_KAPPA,
    ),
    _kappa_table,
    lambda evidence, shape: against(
        "kappa, share of the epochs on subsets",
        [_series(evidence, *pair) for pair in _KAPPAS], shape,
    ),
    "Mean ± std over the runs; dotted, what has no kappa.",
)  # fmt: skip
