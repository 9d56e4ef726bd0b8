"""How a benchmark measures: compilation apart, medians, and what the machine allows."""

import statistics
import time
from collections.abc import Callable
from typing import Any, TypeVar

import jax

from gradmatch_jax.measure.clock import lap

T = TypeVar("T")


def timed(work: Callable[[], T], repeats: int) -> tuple[T, dict[str, Any]]:
    """Call `work` once, which compiles it, then `repeats` times against the clock.

    Returns:
        The first call's answer, and the median of the others' seconds on the wall clock ("seconds")
        and of the processor ("cpu_seconds"), all of the former ("all_seconds") and what compiling
        took in the first ("compile_seconds").

    Example:
        >>> answer, figures = timed(lambda: 6 * 7, repeats=3)
        >>> answer, len(figures["all_seconds"]), figures["compile_seconds"]
        (42, 3, 0.0)
    """
    with lap() as read:
        answer = jax.block_until_ready(work())
    spent = read()
    seconds, cpu_seconds = [], []
    for _ in range(repeats):
        start, cpu_start = time.perf_counter(), time.process_time()
        jax.block_until_ready(work())
        seconds.append(time.perf_counter() - start)
        cpu_seconds.append(time.process_time() - cpu_start)
    return answer, {
        "seconds": statistics.median(seconds),
        "cpu_seconds": statistics.median(cpu_seconds),
        "all_seconds": seconds,
        "compile_seconds": spent.compile,
    }
