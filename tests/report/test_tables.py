"""The table: its numbers against numpy, its forms against each other, what is said of it."""

import numpy as np
import pytest

from gradmatch_jax.errors import UserError
from gradmatch_jax.report.columns import COMPARISON
from gradmatch_jax.report.summary import fastest_of, footnote, lead, notes, summarise
from gradmatch_jax.report.tables import Column, filled, html, markdown, mean_and_std, rich_table
from made_runs import cells, make_run, make_runs


def test_summary_agrees_with_numpy():
    runs = make_runs()
    table = summarise(runs)
    assert [(r.label, r.fraction) for r in table] == [
        ("full", 1.0),
        *((name, f) for f in (0.05, 0.1) for name in ("random", "gradmatch", "gradmatch-warm")),
    ]
    for row in table:
        its = [
            r
            for r in runs
            if (r["strategy"] + "-warm" * r["warm"], r["fraction"]) == (row.label, row.fraction)
        ]
        accuracy = np.array([r["test_accuracy"] for r in its])
        seconds = np.array([r["train_seconds"] + r["selection_seconds"] for r in its])
        assert row.n == 2
        np.testing.assert_allclose(row.accuracy, accuracy.mean())
        np.testing.assert_allclose(row.accuracy_std, accuracy.std(ddof=1))
        np.testing.assert_allclose(row.seconds, seconds.mean())
        np.testing.assert_allclose(row.seconds_std, seconds.std(ddof=1))
        np.testing.assert_allclose(row.drop, 95.5 - accuracy.mean())
        np.testing.assert_allclose(row.speedup, 10.8 / seconds.mean())
        np.testing.assert_allclose(row.ceiling, 1 / row.fraction)
        if row.label == "full":
            assert row.matching_error is None
        else:
            np.testing.assert_allclose(row.matching_error, np.mean([0.1, 1.1]))


def test_compile_time_is_apart():
    slow = [run | {"compile_seconds": 1e6} for run in make_runs()]
    for a, b in zip(summarise(make_runs()), summarise(slow), strict=True):
        assert a._replace(compile_seconds=0.0) == b._replace(compile_seconds=0.0)
        assert b.compile_seconds == 1e6


def test_one_seed_has_no_deviation():
    runs = [make_run("full", 1.0), make_run(matching_error=[0.2, None])]
    full, row = summarise(runs)
    assert row.accuracy_std is None
    assert row.matching_error is None  # nan, as JSON has it
    assert cells(row)[3] == "90.00"
    assert cells(full)[4] == "–"


def test_the_yardstick_is_required():
    with pytest.raises(UserError, match="full"):
        summarise([make_run()])


def test_a_gain_that_rounds_to_nothing_is_not_minus_zero():
    rows = summarise([make_run("full", 1.0, accuracy=90.0), make_run(accuracy=90.001)])
    assert cells(rows[1])[4] == "0.00"


def test_markdown_is_a_table():
    lines = markdown(COMPARISON, summarise(make_runs())).splitlines()
    assert {line.count("|") for line in lines} == {len(COMPARISON) + 1}
    assert len(lines) == 2 + 7
    assert lines[2].startswith("| full | 100 % | 2 | 95.50 ± 0.71 | – | 10.8 ± 0.0 | 1× |")


def test_footnote_names_every_device():
    runs = make_runs()
    assert "Some CPU (2 cores)" in footnote(runs)
    assert "mixed" not in footnote(runs)
    runs[0]["device"] = "Another"
    assert "mixed" in footnote(runs)


def test_tables_of_one_set_of_columns_agree():
    rows = [{"a": "x<y", "b": 1.5}, {"a": "z", "b": None}]
    columns = (
        Column("name-of", lambda row: row["a"]),
        Column("b, s", lambda row: row["b"], "{:.2f}", narrow="b"),
        Column("none", lambda row: None),
    )
    assert markdown(columns[:2], rows).splitlines()[2:] == ["| x<y | 1.50 |", "| z | – |"]
    page = html(columns[:2], rows, apart=lambda row: row["a"])
    assert "x&lt;y" in page
    assert page.count('<tr class="apart">') == 1
    assert [str(c.header) for c in rich_table(columns, rows).columns] == ["b"]
    assert len(rich_table([columns[0]], rows).columns) == 1
    assert filled(columns, rows) == list(columns[:2])
    assert mean_and_std([1.0, 2.0, 4.0], 3) == f"{7 / 3:.3f} ± {np.std([1, 2, 4], ddof=1):.3f}"


def test_early_stops_are_noted():
    runs = [make_run("full", 1.0), make_run(stopped=[None, "nothing left to gain"])]
    runs += [make_run("craig", stopped=["eps", None])]
    assert notes(summarise(runs)) == [
        "gradmatch on 10 %: matching stopped early (nothing left to gain)."
    ]


def test_the_warnings_of_runs_are_noted():
    said = "the training loss, 187, is far above the 2.3 of guessing: lower --lr"
    runs = [make_run("full", 1.0, warning=None), make_run(warning=said), make_run(seed=1)]
    (note,) = notes(summarise(runs))
    assert note.startswith("gradmatch on 10 %: seed 0")
    assert said in note


def leading(*accuracies):
    """The lead on three methods of two seeds each: (name, mean, half the spread, seconds)."""
    runs = [make_run("full", 1.0, accuracy=95.0, train_seconds=19.75)]
    for name, mean, half, seconds in accuracies:
        for seed, sign in ((0, -1), (1, 1)):
            runs.append(
                make_run(name, 0.1, seed, accuracy=mean + sign * half, train_seconds=seconds)
            )
    return lead(summarise(runs))[1]


def test_the_lead_crowns_no_difference_inside_the_spread():
    text = leading(("a", 90.0, 1.0, 4.75), ("b", 90.5, 1.0, 9.75), ("c", 80.0, 1.0, 1.0))
    assert text == (
        "On 10 % of the data, **b** (**90.50 ± 1.41 %**) and **a** are level within the spread; "
        "the fastest of them is **a**, 4.0 times as fast as full."
    )
    # Its own spread is small: that of the difference counts.
    text = leading(("a", 90.0, 1.0, 4.75), ("b", 91.2, 0.1, 4.75))
    assert text == (
        "On 10 % of the data, **b** (**91.20 ± 0.14 %**) and **a** are level within the spread; "
        "none is faster beyond the spread, 4.0 times as fast as full."
    )
    text = leading(("a", 90.0, 0.2, 4.75), ("b", 90.1, 0.2, 4.75), ("c", 90.2, 0.2, 9.75))
    assert "the fastest of them are **a** and **b**, 4.0 times as fast" in text
    assert leading(("a", 90.0, 1.0, 4.75)) == (
        "On 10 % of the data, **a** reaches **90.00 ± 1.41 %**, 4.0 times as fast as full."
    )
    text = leading(("a", 90.0, 1.0, 4.75), ("b", 80.0, 1.0, 9.75))
    assert text.startswith("On 10 % of the data, **a** is ahead: **90.00 ± 1.41 %**, 4.0 times")
    runs = [make_run("full", 1.0), make_run("a", accuracy=91.0), make_run("b")]
    assert "**a** has the highest figure, **91.00 %**, of one seed" in lead(summarise(runs))[1]


def test_times_within_the_spread_are_not_told_apart():
    runs = [make_run("full", 1.0, s) for s in (0, 1)]
    runs += [make_run("a", 0.1, s, train_seconds=5.0 + s) for s in (0, 1)]
    runs += [make_run("b", 0.1, s, train_seconds=5.5 + s) for s in (0, 1)]
    runs += [make_run("c", 0.1, s, train_seconds=9.5 + s) for s in (0, 1)]
    assert [row.label for row in fastest_of(summarise(runs)[1:])] == ["a", "b"]
