"""The paper's figures are those of its text."""

import re

import pytest

from experiments.paper import published, studies


def test_the_papers_figures_are_those_of_its_text(shared_data):
    """Every row of numbers stands in one line of the text, in order."""
    text = next((shared_data.parent / "paper").glob("*.txt"), None)
    if text is None:
        pytest.skip("no text of the paper beside the checkout: its figures are not checked")
    lines = [re.findall(r"\d+\.?\d*", line) for line in text.read_text().splitlines()]
    printed = [list(map(float, line)) for line in lines]
    checked = 0
    for table, values in published.tables().items():
        for row in rows_of({} if table == "settings" else values):
            numbers = [value for value in row if value is not None]
            if len(set(numbers)) == 1:  # full training's, which the text may have once
                numbers = numbers[:1]
            starts = ((line, i) for line in printed for i in range(len(line)))
            assert any(line[i : i + len(numbers)] == numbers for line, i in starts), (table, row)
            checked += 1
    assert checked > 190


def rows_of(value):
    """The lists of numbers in a table, but for its budgets."""
    if isinstance(value, dict):
        for name, part in value.items():
            if name != "budgets":
                yield from rows_of(part)
    elif isinstance(value, list) and all(isinstance(x, (int, float, type(None))) for x in value):
        yield value


def test_every_strategy_of_table_3_has_its_figures():
    paper = published.accuracy_and_time("table3", "mnist")
    assert paper["full", 1.0] == (99.35, 0.82)
    assert paper["craig-pb-warm", 0.05] == (99.01, 0.0902)
    assert paper["glister", 0.1].hours is None
    assert {name for name, _ in paper} == {*studies.PAPER, "full"}
