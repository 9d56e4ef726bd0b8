"""A table or figure of the paper: what it is made of, what the paper says, how it is drawn."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from matplotlib.figure import Figure

from experiments.paper.published import Published, accuracy_and_time
from experiments.paper.study import Asked, Measurement, Run, State, Study
from experiments.records import read
from experiments.runs import read_runs
from gradmatch_jax.report.drawing import Shape

Source = Study | Measurement


class Evidence(NamedTuple):
    """The records that an exhibit is drawn from."""

    asked: Asked

    def study(self, study: Study) -> Study:
        """The study as asked for: its rehearsal, where that is wanted."""
        return study.narrowed(self.asked)

    def runs(self, source: Source) -> list[Run]:
        """The records of a study, of the seeds that were asked for where they have one."""
        file = source.file(self.asked)
        found = read_runs(file) if isinstance(source, Study) else read(file)
        wanted = self.asked.seeds
        return [run for run in found if not wanted or run.get("seed", wanted[0]) in wanted]


@dataclass(frozen=True)
class Exhibit:
    """One NAME of the command line."""

    name: str
    title: str
    says: str
    """What the paper says with it, in a sentence."""
    sources: tuple[Source, ...]
    table: Callable[[Evidence], str]
    """Its figures in Markdown, whole also where nothing has been measured."""
    figure: Callable[[Evidence, Shape], Figure] | None = None
    caption: str = ""
    short: Callable[[Evidence], str] | None = None
    """The table with a line a method (--form methods)."""

    @property
    def hardware(self) -> tuple[str, ...]:
        """What its hours are of, each once."""
        return tuple(dict.fromkeys(source.hardware for source in self.sources))

    def states(self, asked: Asked) -> list[State]:
        """How much there is of each source."""
        return [source.state(asked) for source in self.sources]


def stand(states: Sequence[State]) -> State:
    """Several sources' as one: seeds are whole where they are in all that were asked for."""
    seeds = [s.seeds for s in states if s.runs]
    return State(
        sum(s.done for s in states), sum(s.runs for s in states),
        min(seeds, default=0), max(s.of for s in states),
        sum(s.hours_left for s in states),
    )  # fmt: skip


def paper_of(study: Study) -> dict[tuple[str, float], Published]:
    """What the paper's table has for a study: by strategy and fraction."""
    return accuracy_and_time(study.table, study.dataset) if study.table else {}


def expected(study: Study) -> list[tuple[str, float]]:
    """The rows that a study's table has in any case."""
    rows = [(name, f) for part in study.parts for name in part.strategies for f in part.fractions]
    return list(dict.fromkeys(rows))
