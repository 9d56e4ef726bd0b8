"""What the command line names: there, and of use, or one line that says what to do."""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

from experiments.paper.exhibit import Exhibit, Source
from experiments.paper.study import Asked, Study
from gradmatch_jax.errors import UserError, explained, no_such


def of_studies(exhibit: Exhibit, names: tuple[str, ...]) -> list[Source]:
    """The sources that were named, or all of them.

    Raises:
        UserError: there is none of a name.
    """
    known = {source.name: source for source in exhibit.sources}
    if missing := [name for name in names if name not in known]:
        raise no_such(f"study of {exhibit.name}", missing[0], known)
    return [source for name, source in known.items() if not names or name in names]


def check_strategies(sources: Iterable[Source], asked: Asked) -> None:
    """Refuse a strategy that none of the studies has, as a whole or in its rehearsal.

    Raises:
        UserError: there is none of a name.
    """
    every = dataclasses.replace(asked, strategies=())
    studies = [source.narrowed(every) for source in sources if isinstance(source, Study)]
    known = {name for study in studies for part in study.parts for name in part.strategies}
    for name in asked.strategies if studies else ():
        if name not in known:
            of = "its rehearsal" if asked.quick else "it"
            raise no_such(f"strategy of {of}", name, sorted(known))


def with_data(sources: Sequence[Source], asked: Asked) -> list[tuple[Source, Path | None]]:
    """Each source with the folder of its data; one whose data is not there is said and left out.

    --data-dir has a folder for each data set, or is the folder of the one there is.

    Args:
        sources: what is to be run.
        asked: --data-dir, and whether data is needed.

    Raises:
        UserError: there is no such folder, or nothing in it by the names of the data sets.
    """
    folder = asked.data_dir
    if folder is not None and not folder.is_dir():
        raise UserError(f"--data-dir {folder}: there is no such folder")
    if folder is None or asked.quick:
        return [(source, folder) for source in sources]
    names = sorted({source.dataset for source in sources})
    there = [name for name in names if (folder / name).is_dir()]
    if not there and len(names) == 1:
        return [(source, folder) for source in sources]
    if not there:
        raise UserError(
            f"--data-dir {folder} has none of the folders {', '.join(names)}: name the folder that "
            "has them, or by --studies those of one data set"
        )
    for source in sources:
        if source.dataset not in there:
            print(f"{source.name}: there is no {folder / source.dataset}, left out", flush=True)
    return [(source, folder / source.dataset) for source in sources if source.dataset in there]


def check_records(asked: Asked) -> None:
    """Refuse a folder of records that was named and is not there; a rehearsal makes its own.

    Raises:
        UserError: there is no such folder.
    """
    if not asked.quick and asked.results != Asked().results and not asked.results.is_dir():
        raise UserError(f"--results {asked.results}: there is no such folder")


def make_folder_of(out: Path) -> None:
    """Make the folder that --out is to be in, before the work that goes there.

    Raises:
        UserError: it cannot be made, or --out is a folder itself.
    """
    if out.is_dir():
        raise UserError(f"--out {out} is a folder: name a file in it")
    with explained(f"--out {out}"):
        out.parent.mkdir(parents=True, exist_ok=True)
