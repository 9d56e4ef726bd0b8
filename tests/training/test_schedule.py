"""The plan of a run as a table of cases, its cost, the cosine and the budget."""

import math

import pytest

from gradmatch_jax.errors import UserError
from gradmatch_jax.strategies.regime import (
    EARLY_STOP,
    EARLY_STOP_FITTED,
    FULL,
    PRUNING,
    SCORED,
)
from gradmatch_jax.training.schedule import Batching, budget_of, cosine, plan

# F full epoch, S subset epoch with a selection before it, s subset epoch that goes on with it.
TABLE = [
    ("cold, interval", {"epochs": 6, "share": 0.1, "select_every": 2}, "SsSsSs"),
    ("interval does not divide T", {"epochs": 7, "share": 0.1, "select_every": 3}, "SssSssS"),
    ("R = 1", {"epochs": 3, "share": 0.1, "select_every": 1}, "SSS"),
    ("R = T", {"epochs": 3, "share": 0.1, "select_every": 3}, "Sss"),
    ("R > T", {"epochs": 3, "share": 0.1, "select_every": 20}, "Sss"),
    ("once", {"epochs": 4, "share": 0.1, "select_every": 1, "reselect": "once"}, "Ssss"),
    ("every epoch", {"epochs": 4, "share": 0.1, "select_every": 9, "reselect": "epoch"}, "SSSS"),
    ("one epoch", {"epochs": 1, "share": 0.1}, "S"),
    ("full", {"epochs": 3, "share": 1.0, "regime": FULL}, "FFF"),
    ("full, whatever else", {"epochs": 2, "share": 0.1, "regime": FULL, "warm": True}, "FF"),
    (
        "warm: T_s = 4, T_f = 2",
        {"epochs": 8, "share": 0.5, "warm": True, "select_every": 2},
        "FFSsSs",
    ),
    ("warm, once", {"epochs": 8, "share": 0.5, "warm": True, "reselect": "once"}, "FFSsss"),
    ("warm, epoch", {"epochs": 8, "share": 0.5, "warm": True, "reselect": "epoch"}, "FFSSSS"),
    ("at least one full epoch", {"epochs": 10, "share": 0.01, "warm": True}, "FSssss"),
    ("at least one of each", {"epochs": 1, "share": 0.01, "warm": True, "kappa": 0.1}, "FS"),
    ("kappa = 1", {"epochs": 4, "share": 0.5, "warm": True, "kappa": 1.0}, "FFSsss"),
    ("kappa = 1/4", {"epochs": 8, "share": 0.5, "warm": True, "kappa": 0.25}, "FSs"),
    ("T_s rounds 4.6", {"epochs": 23, "share": 0.2, "warm": True, "kappa": 0.2}, "FSssss"),
    ("T_f rounds 1.6", {"epochs": 8, "share": 0.4, "warm": True}, "FFSsss"),
    ("T_f rounds 1.2", {"epochs": 8, "share": 0.3, "warm": True}, "FSsss"),
    ("R > T_s", {"epochs": 8, "share": 0.5, "warm": True, "select_every": 50}, "FFSsss"),
]


@pytest.mark.parametrize(("case", "settings", "expected"), TABLE, ids=[row[0] for row in TABLE])
def test_plan(case, settings, expected):
    epochs = plan(**settings)
    assert "".join("F" if e.full else "S" if e.select else "s" for e in epochs) == expected
    assert not any(e.full and e.select for e in epochs)
    progress = [e.progress for e in epochs]
    assert progress == pytest.approx([i / len(epochs) for i in range(len(epochs))])


@pytest.mark.parametrize("epochs", [20, 100, 200, 300, 350])
@pytest.mark.parametrize("fraction", [0.01, 0.05, 0.1, 0.3, 0.9])
def test_warm_at_half_kappa_costs_what_cold_does(epochs, fraction):
    """In epochs of full training: T k/n, up to the rounding of T_f (T_s is whole here)."""
    warm = plan(epochs, fraction, warm=True, kappa=0.5)
    cost = sum(1.0 if e.full else fraction for e in warm)
    rounding = 0.5 if epochs / 2 * fraction >= 0.5 else 1.0
    assert abs(cost - epochs * fraction) <= rounding + 1e-9
    assert sum(not e.full for e in warm) == epochs // 2


def letters(epochs):
    return "".join(
        ("p", "P")[e.fresh] if e.network == "proxy" else "F" if e.full else "sS"[e.select]
        for e in epochs
    )


def test_early_stop_has_two_readings():
    """T k/n full epochs: the first of the long schedule, or all of a short one."""
    long = plan(10, 0.3, regime=EARLY_STOP)
    fitted = plan(10, 0.3, regime=EARLY_STOP_FITTED)
    assert letters(long) == letters(fitted) == "FFF"
    assert [e.progress for e in long] == pytest.approx([0, 0.1, 0.2])
    assert [e.progress for e in fitted] == pytest.approx([0, 1 / 3, 2 / 3])
    assert letters(plan(10, 0.001, regime=EARLY_STOP)) == "F", "at least one"


def test_pruning_ends_with_an_eighth_of_full_epochs():
    epochs = plan(16, 1.0, regime=PRUNING, reselect="epoch")
    assert letters(epochs) == "S" * 14 + "FF"
    assert [e.progress for e in epochs] == pytest.approx([i / 16 for i in range(16)])


def test_proxies_come_first_and_a_selection_follows_each():
    epochs = plan(4, 0.1, regime=SCORED, reselect="once", proxy_epochs=2, proxy_runs=3)
    assert letters(epochs) == "PpPpPp" + "Ssss"
    assert [i for i, e in enumerate(epochs) if e.select] == [2, 4, 6]
    assert [e.progress for e in epochs] == pytest.approx([0, 0.5] * 3 + [0, 0.25, 0.5, 0.75])
    warm = plan(8, 0.5, regime=SCORED, reselect="once", warm=True, proxy_epochs=1)
    assert letters(warm) == "P" + "FFSsss"


def test_an_epoch_carries_what_it_trains_whom_it_bills_and_how_it_is_batched():
    """Full epochs are unweighted and ragged, whatever the strategy's subsets are."""
    pruning = plan(8, 1.0, regime=PRUNING, reselect="epoch", weighting="none", tail=0.25)
    assert letters(pruning) == "S" * 6 + "FF"
    assert {e.batching for e in pruning[:6]} == {Batching("none", whole=True)}
    assert {e.batching for e in pruning[6:]} == {Batching("none", whole=False)}
    assert {(e.network, e.bill) for e in pruning} == {("model", "train")}
    craig = plan(8, 0.5, warm=True, weighting="batch")
    assert [e.batching.weights for e in craig] == ["none"] * 2 + ["batch"] * 4
    scored = plan(4, 0.5, regime=SCORED, reselect="once", proxy_epochs=2)
    assert [(e.network, e.bill) for e in scored[:2]] == [("proxy", "selection")] * 2
    assert {(e.network, e.bill) for e in scored[2:]} == {("model", "train")}
    assert letters(plan(8, 1.0, regime=PRUNING, reselect="epoch", tail=0.0)) == "S" * 8


def test_paper_row():
    """MNIST, 200 epochs at 10 %: 10 full epochs and 100 on subsets, reselected every 20."""
    epochs = plan(200, 0.1, warm=True, kappa=0.5, select_every=20)
    assert sum(e.full for e in epochs) == 10
    assert [i for i, e in enumerate(epochs) if e.select] == [10, 30, 50, 70, 90]


def test_cosine():
    assert cosine(0.01, 0.0) == pytest.approx(0.01)
    assert cosine(0.01, 0.5) == pytest.approx(0.005)
    assert cosine(0.01, 1 / 3) == pytest.approx(0.0075)
    assert cosine(0.01, 1.0) == pytest.approx(0.0, abs=1e-12)
    # torch.optim.lr_scheduler.CosineAnnealingLR(T_max=10, eta_min=0) after 3 epochs
    assert cosine(1.0, 3 / 10) == pytest.approx((1 + math.cos(math.pi * 3 / 10)) / 2)
    for outside in (-0.01, 1.01, math.nan):
        with pytest.raises(UserError, match="progress"):
            cosine(0.01, outside)


@pytest.mark.parametrize(
    ("fraction", "n", "expected"),
    [(0.1, 1000, 100), (1.0, 7, 7), (0.05, 54_999, 2750), (0.0001, 10, 1), (0.333, 10, 3)],
)
def test_budget_of(fraction, n, expected):
    assert budget_of(fraction, n) == expected


@pytest.mark.parametrize("fraction", [0, -0.1, 1.0001, 10, math.nan, math.inf])
def test_budget_of_refuses(fraction):
    with pytest.raises(UserError, match="fraction"):
        budget_of(fraction, 10)
