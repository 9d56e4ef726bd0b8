"""Table 3 (MNIST) as Markdown: ours beside the paper's.

    python -m experiments.tables                    # a line a strategy and fraction, with times
    python -m experiments.tables --form methods     # a line a method, as in the README
    python -m experiments.tables --results FILE.jsonl --out TABLE.md

Reads what `experiments.mnist_table3` has written so far; a row with fewer than three seeds is
marked, runs of different settings have rows of their own that name them, and a column without a
figure is left out. Seconds are training and selection (the latter also by itself), without
evaluation and compilation. A speed-up is against our own full training in the same file (the
paper's: its hours against its FULL), the ceiling the examples that full training visits over those
this run visited.
"""

import json
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import tyro

from gradmatch_jax.errors import UserError
from gradmatch_jax.training.config import NOT_IDENTITY, WARM, TrainConfig, to_json

SEEDS = 3


class Paper(NamedTuple):
    """A figure of the paper's."""

    accuracy: float  # percent
    hours: float


# GRAD-MATCH, Table 3, MNIST (LeNet, 200 epochs, one V100). Strategies by our names.
FULL = Paper(99.35, 0.82)
PAPER = {
    ("random", 0.01): Paper(94.55, 0.0084),
    ("random", 0.05): Paper(97.7, 0.04),
    ("glister", 0.01): Paper(93.11, 0.045),
    ("glister", 0.05): Paper(99.02, 0.082),
    ("glister-warm", 0.01): Paper(97.63, 0.04),
    ("glister-warm", 0.05): Paper(99.1, 0.078),
    ("craig", 0.01): Paper(96.18, 0.3758),
    ("craig", 0.05): Paper(97.81, 0.434),
    ("craig-warm", 0.01): Paper(98.48, 0.2239),
    ("craig-warm", 0.05): Paper(99.12, 0.2582),
    ("craig-pb", 0.01): Paper(97.72, 0.08352),
    ("craig-pb", 0.05): Paper(98.79, 0.1175),
    ("craig-pb-warm", 0.01): Paper(98.47, 0.055),
    ("craig-pb-warm", 0.05): Paper(99.01, 0.0902),
    ("gradmatch", 0.01): Paper(98.954, 0.05),
    ("gradmatch", 0.05): Paper(99.214, 0.097),
    ("gradmatch-warm", 0.01): Paper(98.86, 0.046),
    ("gradmatch-warm", 0.05): Paper(99.28, 0.089),
    ("gradmatch-pb", 0.01): Paper(98.7, 0.04),
    ("gradmatch-pb", 0.05): Paper(99.25, 0.07),
    ("gradmatch-pb-warm", 0.01): Paper(99.0, 0.038),
    ("gradmatch-pb-warm", 0.05): Paper(99.3, 0.065),
}

HEADER = (
    "strategy", "k/n", "seeds", "validation %", "accuracy %", "paper %", "difference", "seconds",
    "selecting", "speed-up", "ceiling", "paper's speed-up",
)  # fmt: skip


@dataclass(frozen=True)
class Tables:
    """What to render."""

    results: Path = Path("results/mnist_table3.jsonl")
    out: Path | None = None
    """Markdown file; None prints."""
    form: Literal["runs", "methods"] = "runs"


def main(args: Tables) -> None:
    """Render the table."""
    if not args.results.exists():
        raise UserError(f"no {args.results}: run `python -m experiments.mnist_table3` first")
    text = {"runs": markdown, "methods": methods}[args.form](read(args.results))
    if args.out is None:
        print(text, end="")
    else:
        args.out.write_text(text)


def read(path: Path) -> list[dict[str, Any]]:
    """The finished runs; a line that a running sweep has not written to its end is left out."""
    whole = path.read_text().rpartition("\n")[0]
    return [json.loads(line) for line in whole.splitlines() if line.strip()]


def markdown(runs: list[dict[str, Any]]) -> str:
    """The table, one row a strategy and fraction, and the notes under it."""
    groups = grouped(runs)
    full = [seconds(run) for run in runs if run["strategy"] == "full"]
    full_seconds = statistics.mean(full) if full else None
    order = sorted(groups, key=lambda key: (key.fraction < 1, key.fraction))  # full first
    table = [HEADER, *(row(*key, groups[key], full_seconds) for key in order)]
    columns = [c for c in zip(*table, strict=True) if set(c[1:]) != {"–"}]
    header, *rows = zip(*columns, strict=True)
    unfinished = any(len(group) < SEEDS for group in groups.values())
    return pipes(header, rows) + "\n" + notes(runs, full_seconds, unfinished)


def methods(runs: list[dict[str, Any]]) -> str:
    """A line a method: accuracy at each fraction, cold and warm, the paper's in brackets.

    Raises:
        UserError: runs of several settings, which the line has no room for.
    """
    keyed = grouped(runs)
    mixed = [f"{key.name} ({key.settings})" for key in keyed if key.settings]
    if mixed:
        raise UserError(f"--form methods is for one setting a method, not {'; '.join(mixed)}")
    groups = {(key.fraction, key.name): group for key, group in keyed.items()}
    names = dict.fromkeys(name.removesuffix(WARM) for _, name in groups)
    fractions = sorted({fraction for fraction, _ in groups if fraction < 1})
    header = ["method"]
    for fraction in fractions:
        header += [f"{fraction:.0%}", f"{fraction:.0%}, warm"]
    header += [f"{fraction:.0%}: train + select, s" for fraction in fractions]
    whole = {name for fraction, name in groups if fraction == 1}
    rows = []
    for name in (name for name in names if name not in whole):
        keys = [(f, form) for f in fractions for form in (name, name + WARM)]
        accuracies = [brief(groups.get(key, []), PAPER.get((key[1], key[0]))) for key in keys]
        rows.append((name, *accuracies, *(phases(groups.get((f, name), [])) for f in fractions)))
    text = pipes(tuple(header), rows)
    for name in sorted(whole):
        paper = FULL if name == "full" else None
        group = groups[1.0, name]
        text += f"\n{name}: {brief(group, paper)}, {phases(group)} s\n"
    return text


def brief(runs: list[dict[str, Any]], paper: Paper | None) -> str:
    """Mean ± std, marked below three seeds, and the paper's figure."""
    if not runs:
        return "–"
    accuracy = mean_and_std([run["test_accuracy"] for run in runs], 2)
    few = f" ({len(runs)} of {SEEDS} seeds)" if len(runs) < SEEDS else ""
    return accuracy + few + (f" [{paper.accuracy:.2f}]" if paper else "")


def phases(runs: list[dict[str, Any]]) -> str:
    """Median seconds of training and of selection."""
    if not runs:
        return "–"
    spent = (statistics.median(run[f"{k}_seconds"] for run in runs) for k in ("train", "selection"))
    return " + ".join(f"{seconds:.0f}" for seconds in spent)


class Key(NamedTuple):
    """What the runs of a row share."""

    fraction: float
    name: str
    settings: str  # those that other runs of the same name and fraction have otherwise


def grouped(runs: list[dict[str, Any]]) -> dict[Key, list[dict[str, Any]]]:
    """The runs of each row, in the file's order."""
    named: dict[tuple[float, str], list[dict[str, Any]]] = {}
    for run in runs:
        name = run["strategy"] + (WARM if run["warm"] else "")
        named.setdefault((run["fraction"], name), []).append(run)
    groups: dict[Key, list[dict[str, Any]]] = {}
    for (fraction, name), members in named.items():
        configs = [settings_of(run) for run in members]
        varied = [k for k in configs[0] if any(c[k] != configs[0][k] for c in configs)]
        for run, config in zip(members, configs, strict=True):
            settings = ", ".join(f"{k} {config[k]}" for k in varied)
            groups.setdefault(Key(fraction, name, settings), []).append(run)
    return groups


def settings_of(run: dict[str, Any]) -> dict[str, Any]:
    """The run's configuration but its seed; the default for what its revision did not have."""
    config = to_json(TrainConfig()) | run["config"]
    return {k: v for k, v in config.items() if k not in (*NOT_IDENTITY, "seed")}


def pipes(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table, its figures to the right."""
    lines = [header, ("---", *["---:"] * (len(header) - 1)), *rows]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in lines)


def row(
    fraction: float,
    name: str,
    settings: str,
    runs: list[dict[str, Any]],
    full_seconds: float | None,
) -> tuple[str, ...]:
    """The cells of a strategy at a fraction."""
    paper = FULL if name == "full" else PAPER.get((name, fraction))
    accuracy = [run["test_accuracy"] for run in runs]
    spent = statistics.mean(map(seconds, runs))
    validated = all("validation_accuracy" in run for run in runs)
    return (
        f"{name}, {settings}" if settings else name,
        f"{fraction:.0%}",
        f"{len(runs)}" + ("" if len(runs) >= SEEDS else " (!)"),
        mean_and_std([run["validation_accuracy"] for run in runs], 2) if validated else "–",
        mean_and_std(accuracy, 2),
        f"{paper.accuracy:.2f}" if paper else "–",
        f"{statistics.mean(accuracy) - paper.accuracy:+.2f}" if paper else "–",
        mean_and_std(list(map(seconds, runs)), 1),
        mean_and_std([run["selection_seconds"] for run in runs], 1),
        f"{full_seconds / spent:.1f}" if full_seconds else "–",
        f"{statistics.mean(map(ceiling, runs)):.1f}",
        f"{FULL.hours / paper.hours:.1f}" if paper else "–",
    )


def seconds(run: dict[str, Any]) -> float:
    """Training and selection."""
    return run["train_seconds"] + run["selection_seconds"]


def ceiling(run: dict[str, Any]) -> float:
    """The speed-up that selections for nothing would give: examples of full training over ours."""
    if "examples" in run:  # the proxy's among them
        return run["config"]["epochs"] * run["train_size"] / run["examples"]
    n, full, subset = run["train_size"], run["full_epochs"], run["epochs"] - run["full_epochs"]
    return run["config"]["epochs"] * n / (full * n + subset * run["subset_size"])


def mean_and_std(values: list[float], digits: int) -> str:
    """Mean ± sample standard deviation, which one value does not have."""
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{spread}"


def notes(runs: list[dict[str, Any]], full_seconds: float | None, unfinished: bool) -> str:
    """Where the figures come from, and what is missing yet."""
    devices = ", ".join(sorted({run["device"] for run in runs})) or "–"
    revisions = ", ".join(sorted({run["revision"] for run in runs})) or "–"
    networks = ", ".join(sorted({run["model"] for run in runs})) or "–"
    lines = [
        f"Mean ± std over seeds; seconds are training and selection. Network: {networks}; "
        f"device: {devices}; revision: {revisions}.",
        "Paper: GRAD-MATCH, Table 3 (LeNet); its speed-up is FULL's 0.82 h over the row's hours.",
    ]
    if full_seconds is None:
        lines.append("No full training in the file yet: no speed-ups of ours.")
    if unfinished:
        lines.append(f"(!) fewer than {SEEDS} seeds so far.")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    try:
        main(tyro.cli(Tables))
    except UserError as error:
        sys.exit(str(error))
