"""The columns of a comparison's table, each defined once."""

from gradmatch_jax.report.summary import Row
from gradmatch_jax.report.tables import Column, percent, spread_out


def _unless_full(value):
    """`value` of every row but full's, the yardstick."""
    return lambda row: None if row.label == "full" else value(row)


def accuracy(row: Row) -> str:
    """Mean ± deviation; what became of the runs where none ended."""
    if row.accuracy is None:
        return "diverged" if row.diverged else "failed"
    return spread_out(row.accuracy, row.accuracy_std, 2)


def _seeds(row: Row) -> str:
    return f"{row.n} of {row.n + len(row.failures)}" if row.failures else str(row.n)


def _seconds(row: Row) -> str | None:
    """Mean ± deviation, to three digits of the mean."""
    if row.seconds is None:
        return None
    digits = 0 if row.seconds >= 99.95 else 1 if row.seconds >= 9.995 else 2
    return spread_out(row.seconds, row.seconds_std, digits)


def _points(drop: float) -> str:
    return f"{round(drop, 2) + 0.0:.2f}"  # a gain of 0.001 is no -0.00


def _speedup(row: Row) -> str | None:
    if row.speedup is None:
        return None
    return "1×" if row.label == "full" else f"{row.speedup:.1f}×"


COMPARISON: tuple[Column[Row], ...] = (
    Column("strategy", lambda row: row.label, narrow="strategy"),
    Column("data", lambda row: row.fraction, percent, narrow="data"),
    Column("seeds", _seeds),
    Column("test accuracy, %", accuracy, narrow="accuracy, %"),
    Column("drop, points", _unless_full(lambda row: row.drop), _points),
    Column("train + select, s", _seconds, narrow="seconds"),
    Column("speed-up", _speedup, narrow="speed-up"),
    Column("ceiling", _unless_full(lambda row: row.ceiling), "{:.3g}×", narrow="ceiling"),
    Column("matching error", lambda row: row.matching_error, "{:.3g}"),
    Column("compile, s", lambda row: row.compile_seconds, "{:.1f}"),
)
