"""Figure 4e: kappa."""

import dataclasses

from experiments.paper import studies
from experiments.paper.draw import Series, against
from experiments.paper.exhibit import Evidence, Exhibit
from experiments.paper.exhibits.ablation import NO_NUMBERS
from experiments.paper.exhibits.cells import titled
from experiments.paper.lines import accuracy_of, by_fraction
from experiments.paper.rows import label
from experiments.paper.study import Part, Run, Study, of_strategies
from gradmatch_jax.report.summary import ended
from gradmatch_jax.report.tables import percent

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
        parts.append((base.dataset, by_fraction(runs, {}, rows, NO_NUMBERS) + missing))
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
