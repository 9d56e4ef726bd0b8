"""The check of `SubsetLoader` against the driver rehearses."""

import pytest

from experiments.bench.subset_loader import LoaderCheck, compared, main
from experiments.records import read


@pytest.mark.thorough
def test_the_check_rehearses(shared_data, tmp_path, capsys):
    pytest.importorskip("torch")
    results = tmp_path / "r.jsonl"
    main(LoaderCheck(data_dir=shared_data / "mnist", quick=True, seeds=(0,), results=results))
    found = [(r["strategy"], r["side"], 0 <= r["accuracy"] <= 100) for r in read(results)]
    sides = ("driver", "loader")
    assert found == [(s, side, True) for s in ("gradmatch-pb", "random") for side in sides]
    assert "Test accuracy" in capsys.readouterr().out


def test_the_difference_is_in_standard_errors():
    from scipy import stats

    a, b = [90.0, 91.0, 92.5], [91.0, 93.0, 92.0]
    welch = stats.ttest_ind(b, a, equal_var=False).statistic
    assert compared(a, b)["errors"] == pytest.approx(welch)
