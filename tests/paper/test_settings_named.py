"""Which settings a row names: those that tell it from the table's other rows."""

from pathlib import Path

import pytest

from experiments.paper.exhibit import Evidence
from experiments.paper.exhibits import find
from experiments.paper.lines import by_fraction
from experiments.paper.methods import methods
from experiments.paper.study import Asked
from gradmatch_jax.errors import UserError
from paper_records import cells, run

RESULTS = Path(__file__).parents[2] / "results"


def _with(record, **settings):
    return record | {"config": record["config"] | settings}


def test_a_row_names_a_setting_that_is_not_the_default_where_other_rows_have_it():
    """Though it is the only one of its strategy: else nothing says which of the two it is."""
    runs = [_with(run("craig", 0.01, seed, 98.0), weighting="selection") for seed in range(3)]
    runs += [_with(run("gradmatch", 0.01, 0, 97.0), weighting="batch")]
    runs += [_with(run("random", 0.01, 0, 96.0), weighting="own"), run("glister", 0.01, 0, 95.0)]
    text = by_fraction(runs)
    for name in ("craig, weighting selection", "gradmatch, weighting batch", "random", "glister"):
        assert cells(text, name, "1%")
    assert "| craig | 98.00 ± 0.00 |" in methods(runs), "one setting a method"
    other = _with(run("craig", 0.05, 0, 98.0), weighting="own")
    with pytest.raises(UserError, match=r"not craig \(weighting selection\), craig"):
        methods([*runs, other])


def test_the_table_of_weightings_says_whose_each_row_is():
    text = find("weighting").table(Evidence(Asked(results=RESULTS)))
    for name in ("craig", "craig-warm", "craig-pb", "craig-pb-warm"):
        assert cells(text, f"{name}, weighting selection", "1%")
    assert cells(text, "gradmatch, weighting batch", "1%")
    assert cells(text, "adaptive-random", "1%"), "at its default"


def test_a_row_does_not_name_what_all_have():
    runs = [_with(run(name, 0.01, 0, 98.0), imbalance=0.1) for name in ("craig", "random")]
    assert cells(by_fraction(runs), "craig", "1%")
