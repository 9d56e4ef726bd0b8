"""Table 5: energy."""

from collections.abc import Callable

from experiments.paper import published, studies
from experiments.paper.exhibit import Evidence, Exhibit
from experiments.paper.exhibits.cells import budgets, every, titled
from experiments.paper.lines import energy_cell, energy_sources, joules
from experiments.paper.rows import label, of_one_device
from experiments.paper.study import Run
from gradmatch_jax.report.summary import ended
from gradmatch_jax.report.tables import NOTHING

NAMES = ("full", *studies.PAPER, *studies.FAIR, "infobatch")

TABLE = "table5_energy_kwh"


def kwh(runs: list[Run]) -> Callable[[str, float], str | None]:
    """What stands in the table's cell: the mean, why there is none, or None for no run.

    A dash where there are runs and all of them were paused.
    """

    def cell(name: str, fraction: float) -> str | None:
        own = 1.0 if name in ("full", "infobatch") else fraction
        mine = ended(r for r in runs if (label(r), r["fraction"]) == (name, own))
        return energy_cell(of_one_device(mine)) or (NOTHING if mine else None)

    return cell


def _table5(evidence: Evidence) -> str:
    parts, dark = [], []
    for study in (studies.CIFAR10, studies.CIFAR100, studies.MNIST):
        dark += [run for run in ended(evidence.runs(study)) if joules(run) is None]
        known = study is not studies.MNIST and not evidence.asked.quick
        paper = published.figures(TABLE, study.dataset) if known else {}
        fractions = every(evidence.study(study).fractions)
        paper |= {("full", f): paper["full", 1.0] for f in fractions if paper}
        text = budgets(NAMES, fractions, kwh(evidence.runs(study)), paper, "{:.4f}")
        parts.append((f"{study.dataset}, {study.model}", text))
    return titled(*parts) + (
        "\nkWh of training and selection by RAPL's and NVML's counters (pyJoules), mean over the "
        "runs in parentheses, of one device and not paused. The paper has none of MNIST.\n"
        + (f"Energy {energy_sources(dark)}.\n" if dark else "")
    )


SOURCES = (studies.CIFAR10, studies.CIFAR100, studies.MNIST)

TABLE5 = Exhibit(
    "table5",
    "Energy",
    "GRAD-MATCHPB-WARM takes the least energy of the methods that choose: 0.065 kWh against full "
    "training's 0.50 at 5 % of CIFAR-10.",
    SOURCES,
    _table5,
)
