"""Plans of any settings: what holds of every one."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradmatch_jax.strategies import STRATEGIES
from gradmatch_jax.training.schedule import UNWEIGHTED, budget_of, plan

many = settings(derandomize=True, max_examples=100, deadline=None)
REGIMES = list({entry.regime: None for entry in STRATEGIES.values()})
wished = st.fixed_dictionaries(
    {
        "epochs": st.integers(1, 60),
        "share": st.floats(0.001, 1),
        "regime": st.sampled_from(REGIMES),
        "reselect": st.sampled_from(["once", "interval", "epoch"]),
        "weighting": st.sampled_from(["selection", "batch", "none"]),
        "warm": st.booleans(),
        "kappa": st.floats(0.01, 1),
        "select_every": st.integers(1, 80),
        "tail": st.floats(0, 0.99),
        "proxy_epochs": st.integers(0, 5),
        "proxy_runs": st.integers(1, 3),
    }
)


@pytest.mark.thorough
@many
@given(wished)
def test_every_plan_can_be_run(wished):
    epochs = plan(**wished)
    assert epochs == plan(**wished)
    regime = wished["regime"]
    proxies = [e for e in epochs if e.network == "proxy"]
    own = epochs[len(proxies) :]
    assert own
    assert all(e.network == "model" for e in own), "proxies come first"
    assert all(0 <= e.progress < 1 for e in epochs)
    assert all(a.progress < b.progress for a, b in pairwise(own))
    assert own[0].progress == 0
    assert all(e.batching == UNWEIGHTED and not e.select for e in own if e.full)
    subsets = [i for i, e in enumerate(own) if not e.full]
    if subsets:
        assert subsets == list(range(subsets[0], subsets[-1] + 1)), "subset epochs are in a row"
        assert own[subsets[0]].select, "none is trained on before there is one"
        gaps = [b - a for a, b in pairwise(i for i in subsets if own[i].select)]
        every = {"once": 0, "interval": wished["select_every"], "epoch": 1}[wished["reselect"]]
        assert set(gaps) <= {every}
        assert {own[i].batching.weights for i in subsets} == {wished["weighting"]}
    if not regime.subsets:
        assert all(e.full for e in own)


@many
@given(wished)
def test_proxies_start_afresh_and_are_billed_to_the_selection(wished):
    epochs = plan(**wished)
    proxies = [e for e in epochs if e.network == "proxy"]
    if wished["regime"].subsets:
        runs = wished["proxy_runs"] if wished["proxy_epochs"] else 0
        assert len(proxies) == runs * wished["proxy_epochs"]
        assert sum(e.fresh for e in proxies) == runs
    assert all(e.bill == ("selection" if e.network == "proxy" else "train") for e in epochs)
    assert all(e.full and e.batching == UNWEIGHTED for e in proxies)


@many
@given(wished)
def test_no_plan_costs_more_than_full_training(wished):
    """In epochs of the run's own network, each subset one at its share, up to rounding."""
    own = [e for e in plan(**wished) if e.network == "model"]
    share = wished["share"] if wished["regime"].budgeted else 1.0
    cost = sum(1.0 if e.full else share for e in own)
    warm = wished["warm"] and wished["regime"].warms
    assert len(own) <= (2 if warm else 1) * wished["epochs"] + 2
    assert cost <= (2 * wished["kappa"] if warm else 1.0) * max(1, wished["epochs"]) + 2


@given(st.floats(1e-9, 1), st.integers(1, 10**7))
@many
def test_a_budget_is_of_the_data(fraction, n):
    budget = budget_of(fraction, n)
    assert 1 <= budget <= n
    assert budget == pytest.approx(fraction * n, abs=1)
