"""The short form of a table of accuracies: a line a method, as in the README."""

import statistics
from collections import Counter
from collections.abc import Callable

from experiments.paper.lines import NONE, SEEDS, Paper, accuracy_of
from experiments.paper.published import Published
from experiments.paper.rows import Run, grouped, of_one_device, timing_device
from gradmatch_jax.errors import UserError
from gradmatch_jax.report.summary import ended
from gradmatch_jax.report.tables import Column, markdown, mean_and_std
from gradmatch_jax.strategies.registry import WARM


def methods(runs: list[Run], paper: Paper = NONE) -> str:
    """A line a method: accuracy at each fraction, cold and warm, the paper's in brackets.

    Of what was run on two devices that stands whose seconds count for the file.

    Raises:
        UserError: runs of several settings, which the line has no room for.
    """
    if not runs:
        return "No runs in the records: nothing measured.\n"
    keyed = grouped(runs)
    several = Counter(name for name, _ in {(key.name, key.settings) for key in keyed})
    mixed = [
        f"{key.name} ({key.settings})" if key.settings else key.name
        for key in keyed
        if several[key.name] > 1
    ]
    if mixed:
        raise UserError(
            f"--form methods is for one setting a method, not {', '.join(dict.fromkeys(mixed))}"
        )
    usual = timing_device(runs)
    groups = {(k.name, k.fraction): v for k, v in keyed.items() if k.device in ("", usual)}
    fractions = sorted({fraction for _, fraction in groups if fraction < 1})
    whole = sorted(name for name, fraction in groups if fraction == 1)
    names = dict.fromkeys(name.removesuffix(WARM) for name, _ in groups)

    def accuracy(fraction: float, ending: str = "") -> Callable[[str], str | None]:
        def cell(name: str) -> str | None:
            key = name + ending, fraction
            return brief(groups.get(key, []), paper.get(key))

        return cell

    def time(fraction: float) -> Callable[[str], str | None]:
        return lambda name: phases(groups.get((name, fraction), []))

    columns = [Column[str]("method", lambda name: name)]
    for f in fractions:
        columns += [
            Column(f"{f:.0%}", accuracy(f)),
            Column(f"{f:.0%}, warm", accuracy(f, WARM)),
        ]
    columns += [Column(f"{f:.0%}: train + select, s", time(f)) for f in fractions]
    text = markdown(columns, [name for name in names if name not in whole])
    for name in whole:
        spent = time(1.0)(name)
        text += f"\n{name}: {accuracy(1.0)(name)}{f', {spent} s' if spent else ''}\n"
    return text


def brief(runs: list[Run], paper: Published | None) -> str | None:
    """Mean ± std, marked below three seeds, and the paper's figure."""
    if not runs:
        return None
    whole = ended(runs)
    if not whole:
        return runs[0]["failed"]["kind"]
    accuracy = mean_and_std([accuracy_of(run) for run in whole], 2)
    few = f" ({len(whole)} of {SEEDS} seeds)" if len(whole) < SEEDS else ""
    return accuracy + few + (f" [{paper.accuracy:.2f}]" if paper else "")


def phases(runs: list[Run]) -> str | None:
    """Median seconds of training and of selection."""
    whole = of_one_device(ended(runs))
    if not whole:
        return None
    spent = (
        statistics.median(run[f"{k}_seconds"] for run in whole) for k in ("train", "selection")
    )
    return " + ".join(f"{seconds:.0f}" for seconds in spent)
