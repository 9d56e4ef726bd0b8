"""What the scatter plots are made of: speed-up and relative error, against full training."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from experiments.paper.lines import Line, Paper, accuracy_of, joules, lines_of, own_speed_up
from experiments.paper.rows import of_same_seeds, paused
from experiments.paper.study import Run
from gradmatch_jax.report.summary import ended, seconds_of
from gradmatch_jax.report.tables import percent

FLOOR = 0.01  # percent: what is at or above full training's accuracy is drawn here


class Point(NamedTuple):
    """A strategy at a budget."""

    name: str
    fraction: float
    settings: str
    gain: float  # speed-up, or full training's energy over its own
    error: float  # 100 (A_full - A) / A_full, percent; negative: above full training
    runs: int  # that gain and error are means of, the fewer; 0: the paper's

    def budget(self) -> str:
        """k/n as it is written."""
        return percent(self.fraction)

    @property
    def drawn(self) -> float:
        """The error on a logarithmic axis."""
        return max(self.error, FLOOR)


def relative_error(accuracy: float, full: float) -> float:
    """What a strategy loses, as a share of full training's accuracy, in percent.

    >>> round(relative_error(92.26, 95.09), 2)
    2.98
    """
    return 100 * (full - accuracy) / full


Gain = tuple[float | None, Sequence[Run]]  # None: no figure; and the runs that it is a mean of


def by_joules(line: Line) -> Gain:
    """Full training's joules over the row's, on one device."""
    return line.gain(joules), line.compared[1]


def by_own_clock(line: Line) -> Gain:
    """Seconds that full training takes at the pace of the row's own steps, over the row's seconds.

    Not of those that were paused: their clock went on while nothing was done.
    """
    runs = [run for run in line.whole if seconds_of(run) and not paused(run)]
    return own_speed_up(runs), runs


def measured(runs: Iterable[Run], by: Callable[[Line], Gain] = by_own_clock) -> list[Point]:
    """Ours: means over the runs that ended, against full training among them.

    Args:
        runs: records.
        by: what is saved, in which measure.

    Returns:
        A point a strategy, fraction and setting; none where `by` has no figure (by joules: full
        training was not run on the same device), or there is no full training.
    """
    points, runs = [], list(runs)
    everywhere = [run for run in ended(runs) if run["strategy"] == "full"]
    for line in lines_of(runs):
        gain, of = by(line)
        if gain is not None and everywhere and line.key.name != "full":
            # Seconds are of one device, an accuracy is of any: of the same seeds, all of them.
            both = of_same_seeds(everywhere, line.whole)
            full, own = map(_accuracy, both)
            fraction, name, *rest = line.key
            said = ", ".join(filter(None, rest))
            fewest_of = min(len(of), len(both[1]))
            points.append(Point(name, fraction, said, gain, relative_error(own, full), fewest_of))
    return points


def _accuracy(runs: Sequence[Run]) -> float:
    """The mean over seeds; a seed that two devices have made is one."""
    seeds: dict[int, list[float]] = {}
    for run in runs:
        seeds.setdefault(run["seed"], []).append(accuracy_of(run))
    return statistics.fmean(map(statistics.fmean, seeds.values()))


def published(paper: Paper) -> list[Point]:
    """The paper's, from its accuracies and hours."""
    full = paper.get(("full", 1.0))
    if full is None or full.hours is None:
        return []
    return [
        Point(name, fraction, "", full.hours / p.hours,
              relative_error(p.accuracy, full.accuracy), 0)
        for (name, fraction), p in paper.items() if name != "full" and p.hours
    ]  # fmt: skip


def pareto(points: Sequence[Point]) -> list[Point]:
    """Those that no other beats in one of gain and error and equals in the other, by gain.

    Example:
        >>> figures = [("a", 2, 1), ("b", 4, 2), ("c", 3, 2)]
        >>> a, b, c = (Point(name, 0.1, "", gain, error, 3) for name, gain, error in figures)
        >>> [point.name for point in pareto([a, b, c])]
        ['a', 'b']
    """
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (-p.gain, p.error)):
        if not front or point.error < front[-1].error:
            front.append(point)
    return front[::-1]


def fewest(points: Sequence[Point]) -> int:
    """The fewest runs that one of these is a mean of; 0 where there is none."""
    return min((point.runs for point in points), default=0)
