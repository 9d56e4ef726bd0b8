"""How a stream is read ahead: settings that do not change what a run comes to. No JAX here."""

from dataclasses import dataclass, fields
from typing import Annotated

from gradmatch_jax.inputs.values import Range

THREADS = Range(0, 4096)
AHEAD = Range(1, 65_536)
WORKERS = Range(0, 1024)


@dataclass(frozen=True)
class ReadSettings:
    """Of data sets that are streamed (imagenet, and streams of one's own), by grain."""

    read_threads: Annotated[int, THREADS] = 0
    """Threads that read and decode a streamed set, in all --read-workers together; 0: one a core.
    Does not change the result."""
    read_ahead: Annotated[int, AHEAD] = 2
    """Batches that are read ahead; this bounds the memory. Does not change the result."""
    read_workers: Annotated[int, WORKERS] = 0
    """Processes that read, anew in every epoch and pass; 0: threads of the run's own, which suffice
    unless Python itself holds them up. Does not change the result."""


USUAL = ReadSettings()
READING = frozenset(field.name for field in fields(ReadSettings))
