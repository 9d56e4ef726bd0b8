"""What is run: a study is grids of runs whose records are one file, whole or as a rehearsal."""

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from experiments.on_ray import Ray
from experiments.records import read
from experiments.runs import Recorded, counted, read_runs, run_all
from gradmatch_jax.errors import UserError
from gradmatch_jax.strategies.registry import STRATEGIES
from gradmatch_jax.sweep import Grid, Job, plan
from gradmatch_jax.training.config import TrainConfig

Run = dict[str, Any]
Piece = Callable[[], None]  # of a measurement: what is not broken off
# A pass over the data costs about a third of an epoch of training (see `costs`).
_PASS = 1 / 3


@dataclass(frozen=True)
class Asked:
    """What the command line narrows a study to, and where things are."""

    seeds: tuple[int, ...] = ()
    """None named: the study's."""
    strategies: tuple[str, ...] = ()
    """None named: the study's."""
    fractions: tuple[float, ...] = ()
    """None named: the study's."""
    epochs: int | None = None
    """None: the paper's."""
    order: Literal["subsets", "full"] = "subsets"
    """Which runs come first: those on subsets, which are cheap, or those on everything."""
    data_dir: Path | None = None
    """Folder of the data set's original files."""
    quick: bool = False
    """The embedded digits, a small network, few strategies and epochs: a rehearsal of a minute,
    whose runs are under RUNS/quick and whose records are under runs/quick, or RESULTS/quick where
    --results is named."""
    runs: Path = Path("runs")
    """The runs go to RUNS/STUDY."""
    results: Path = Path("results")
    """The records go to RESULTS/STUDY.jsonl."""
    minutes: float = math.inf
    """Stop by then: what is on the way is saved, and the same command goes on with it."""
    on: Literal["here", "ray"] = "here"
    """Where the runs are done: in this process, or spread over a Ray cluster (the extra ray)."""
    ray: Ray = field(default_factory=Ray)

    @property
    def records(self) -> Path:
        """The folder of the records; a rehearsal's are never beside those that count."""
        if not self.quick:
            return self.results
        return Path("runs/quick") if self.results == Path("results") else self.results / "quick"


class Part(NamedTuple):
    """Strategies by fractions by settings."""

    strategies: tuple[str, ...]
    fractions: tuple[float, ...] = (1.0,)
    variants: tuple[Mapping[str, Any], ...] = ({},)


class State(NamedTuple):
    """How much of a study there is."""

    done: int  # runs with a record
    runs: int
    seeds: int  # seeds of which every run is there
    of: int
    hours_left: float

    def __str__(self) -> str:
        if self.runs == 0:
            return "nothing of it was asked for"
        if self.done == self.runs:
            return "done"
        if self.done == 0:
            return "not run"
        return f"partly: {self.done} of {self.runs} runs, {self.seeds} of {self.of} seeds whole"


@dataclass(frozen=True, eq=False)  # each is itself alone, so that its plan can be remembered
class Study:
    """Grids of runs over one data set and network, and what they take.

    Example:
        >>> parts = (Part(("random", "full"), (0.1,)),)
        >>> study = Study("s", "mnist", "lenet", parts, 12.6, "a core")
        >>> [job.name for job in study.jobs(Asked(seeds=(3,)))]
        ['random-0.1-seed3', 'full-1-seed3']
    """

    name: str
    dataset: str
    model: str
    parts: tuple[Part, ...]
    epoch_seconds: float
    """Of an epoch on all the data, by which the hours are reckoned."""
    hardware: str
    """What takes that long."""
    seeds: tuple[int, ...] = (0, 1, 2)
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings of every run that are not the data set's own."""
    table: str | None = None
    """The table of the paper that has its figures."""
    needs: str | None = None
    """A record without this figure, of a revision that did not have it, does not count."""

    @property
    def fractions(self) -> tuple[float, ...]:
        """Every fraction it has, full training's aside."""
        return tuple(sorted({f for part in self.parts for f in part.fractions if f < 1}))

    def file(self, asked: Asked) -> Path:
        """Where its records are."""
        return asked.records / f"{self.name}.jsonl"

    def narrowed(self, asked: Asked) -> "Study":
        """The study as asked for: in its quick form, its strategies and fractions fewer."""
        study = rehearsal(self) if asked.quick else self
        parts = tuple(_narrowed(part, asked) for part in study.parts)
        return dataclasses.replace(
            study,
            parts=tuple(part for part in parts if part.strategies and part.fractions),
            seeds=asked.seeds or study.seeds,
        )

    def jobs(self, asked: Asked) -> list[Job]:
        """Its runs, each once; the last part, full training, comes last or first."""
        elsewhere = Asked()  # where records go, and how the runs are done, plan nothing
        kept = {name: getattr(elsewhere, name) for name in ("results", "minutes", "on", "ray")}
        return list(_planned(self, dataclasses.replace(asked, **kept)))

    def missing(self, asked: Asked) -> list[Job]:
        """The runs that no record is of that counts."""
        records = Recorded(counted(read_runs(self.file(asked)), self.needs))
        return [job for job in self.jobs(asked) if not records.of(job)]

    def state(self, asked: Asked) -> State:
        """What of it there is, and the hours that the rest takes."""
        jobs, missing = self.jobs(asked), self.missing(asked)
        left, seeds = {job.config.seed for job in missing}, {job.config.seed for job in jobs}
        hours = sum(map(cost, missing)) * self.epoch_seconds / 3600
        return State(len(jobs) - len(missing), len(jobs), len(seeds - left), len(seeds), hours)

    def run(self, asked: Asked) -> None:
        """Do the runs that are missing."""
        embedded = self.narrowed(asked).dataset == "digits"
        if asked.data_dir is None and not embedded:
            raise UserError(
                f"--data-dir is missing: name {self.dataset}'s folder, or rehearse with --quick"
            )
        run_all(
            self.missing(asked),
            self.file(asked),
            until=time.time() + 60 * asked.minutes,
            spread=asked.ray if asked.on == "ray" else None,
            needs=self.needs,
        )


@functools.cache  # hundreds of configurations, and a page asks for those of each of its tables
def _planned(whole: Study, asked: Asked) -> tuple[Job, ...]:
    study = whole.narrowed(asked)
    settings = dict(study.settings)
    if asked.epochs is not None:
        settings["epochs"] = asked.epochs
    # The weights of Algorithm 1, and not those about a fair sample's that are our default.
    base = TrainConfig(
        dataset=study.dataset, model=study.model, data_dir=asked.data_dir, fill="random",
        **settings,
    )  # fmt: skip
    parts = study.parts[::-1] if asked.order == "full" else study.parts
    root = asked.runs / ("quick" if asked.quick else "") / whole.name
    grids = [
        Grid(base, part.strategies, (fraction,), study.seeds, part.variants)
        for part in parts
        for fraction in part.fractions
    ]
    return tuple({job.folder: job for grid in grids for job in plan(grid, root)}.values())


def cost(job: Job) -> float:
    """What a run takes, in epochs on all the data: its plan's examples and its passes."""
    c = job.config
    regime, share = c.entry.regime, c.fraction
    epochs = c.epochs * (0.6 if regime.tail else share)
    proxy = c.proxy_epochs or 0
    made = 0.0
    if regime.subsets and c.entry.reads:
        spent = c.epochs * (c.kappa if c.warm else 1.0)
        made = spent / c.select_every if c.entry.reselect == "interval" else 1
    return epochs + proxy + made * c.pool * _PASS


# A rehearsal keeps of a part's strategies these, or the first two where it has none of them.
_REHEARSED = (
    "full", "random", "adaptive-random", "full-earlystop-fitted", "gradmatch", "gradmatch-pb",
    "gradmatch-pb-warm",
)  # fmt: skip


def rehearsal(study: Study) -> Study:
    """The study on the embedded digits: two epochs or so of a few strategies, one seed."""
    places = dict(zip(study.fractions, (0.1, 0.2), strict=False))
    parts = []
    for part in study.parts:
        names = tuple(n for n in part.strategies if n in _REHEARSED) or part.strategies[:2]
        fractions = [places.get(f, f) for f in part.fractions if f in places or f == 1]
        if fractions:
            parts.append(Part(names, tuple(fractions), part.variants))
    settings = dict(study.settings)
    if "proxy" in settings:
        settings |= {"proxy": "logistic", "proxy_epochs": 2}
    return dataclasses.replace(
        study, dataset="digits", model="mlp", parts=tuple(parts), seeds=(0,), epoch_seconds=0.3,
        settings=settings | {"epochs": 4, "eval_every": 1},
    )  # fmt: skip


def _narrowed(part: Part, asked: Asked) -> Part:
    """Without what was not named; strategies without a fraction keep theirs."""
    names = tuple(s for s in part.strategies if not asked.strategies or s in asked.strategies)
    whole = all(not STRATEGIES[s.removesuffix("-warm")].regime.budgeted for s in part.strategies)
    if asked.fractions and not whole:
        return part._replace(strategies=names, fractions=asked.fractions)
    return part._replace(strategies=names)


@dataclass(frozen=True)
class Measurement:
    """What is measured by a command of its own, not by runs of a grid."""

    name: str
    dataset: str
    pieces: Callable[[Asked, Path], Iterable[Piece]]
    """What is missing in the file, a piece after another; each appends its records."""
    count: Callable[[Sequence[Run], Asked], tuple[int, int]]
    """Records that are there, of how many that were asked for."""
    hours: float
    """All of it, on `hardware`."""
    hardware: str

    def file(self, asked: Asked) -> Path:
        """Where its records are."""
        return asked.records / f"{self.name}.jsonl"

    def state(self, asked: Asked) -> State:
        """What of it there is."""
        done, of = self.count(read(self.file(asked)), asked)
        return State(done, of, int(done == of), 1, self.hours * (1 - done / of))

    def run(self, asked: Asked) -> None:
        """Measure what is missing, until the time is up.

        Raises:
            UserError: it was asked for on a cluster, or with other epochs.
        """
        if asked.epochs is not None:
            raise UserError(f"{self.name} has no runs: leave --epochs out")
        if asked.on == "ray":
            raise UserError(f"{self.name} is measured in this process: leave --on ray out")
        until = time.time() + 60 * asked.minutes
        for piece in self.pieces(asked, self.file(asked)):
            if time.time() >= until:
                print(f"{self.name}: the time is up; the same command goes on", flush=True)
                return
            piece()


def of_strategies(runs: Iterable[Run], names: Sequence[str]) -> Iterator[Run]:
    """The runs of strategies by their names in tables, NAME-warm."""
    for run in runs:
        if run["strategy"] + ("-warm" if run["warm"] else "") in names:
            yield run
