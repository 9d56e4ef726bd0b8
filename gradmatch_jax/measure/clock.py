"""Honest time: work by phase, with compilation apart, across restarts."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import jax


class Times(NamedTuple):
    """Seconds spent so far. Training and selection do not include compiling."""

    train: float = 0.0
    selection: float = 0.0
    compile: float = 0.0


@contextmanager
def compile_seconds() -> Iterator[Callable[[], float]]:
    """Count the seconds JAX spends tracing, lowering and compiling inside the block."""
    total = 0.0

    def listen(event: str, duration_secs: float, **_) -> None:
        nonlocal total
        if event.startswith("/jax/core/compile/"):
            total += duration_secs

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield lambda: total
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


class Lap(NamedTuple):
    """What one measured block took, in seconds."""

    work: float
    compile: float


@contextmanager
def lap() -> Iterator[Callable[[], Lap]]:
    """Time a block; the caller must block on its results before asking.

    >>> with lap() as read:
    ...     pass
    >>> read().work < 1.0
    True
    """
    with compile_seconds() as compiled:
        start = time.perf_counter()

        def read() -> Lap:
            wall, compiling = time.perf_counter() - start, compiled()
            return Lap(max(wall - compiling, 0.0), min(compiling, wall))

        yield read
