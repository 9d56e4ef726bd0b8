"""The judging: rates by validation alone, pairs by seed, p-values of SciPy, a rehearsal whole."""

from typing import NamedTuple

import numpy as np
import pytest
from scipy import stats

from experiments.judge import __main__ as judge
from experiments.judge.cases import ARMS, CASES, QUICK, SEEDS, TUNED_ON
from experiments.judge.overview import overview
from experiments.judge.verdict import chosen, verdict
from experiments.records import read
from experiments.runs import config_of
from gradmatch_jax.sweep import identity
from gradmatch_jax.training.config import resolve


def record(lr, seed, validation=0.0, test=0.0, **rest):
    return {
        "config": {"lr": lr}, "seed": seed, "validation_accuracy": validation,
        "test_accuracy": test, **rest,
    }  # fmt: skip


def test_the_rate_is_chosen_by_validation_alone():
    records = [record(0.1, s, validation=90 + s, test=10) for s in (0, 1)]
    records += [record(0.2, s, validation=80 + s, test=99) for s in (0, 1)]
    assert chosen(records, (0, 1)) == 0.1
    records += [record(0.4, 0, validation=99.0)]
    assert chosen(records, (0, 1)) == 0.1, "one seed of two is no choice"
    diverged = {"config": {"lr": 0.4}, "seed": 1, "failed": {"kind": "diverged"}}
    assert chosen([*records, diverged], (0, 1)) == 0.1
    assert chosen([*records, record(0.05, 0, 90), record(0.05, 1, 91)], (0, 1)) == 0.05, "a tie"
    assert chosen([], (0, 1)) is None


def test_a_verdict_is_scipys_on_the_shared_seeds():
    rng = np.random.default_rng(0)
    a, b = 90 + rng.normal(size=7), 89.5 + rng.normal(size=7)
    ours = [record(0.1, s, test=x) for s, x in enumerate(a)]
    theirs = [record(0.2, s, test=x) for s, x in enumerate(b) if s != 3]
    found, kept = verdict(ours, theirs), [s for s in range(7) if s != 3]
    assert found.n == 6
    assert found.difference == pytest.approx((a - b)[kept].mean(), abs=1e-6)
    t = stats.ttest_rel(a[kept], b[kept], alternative="greater").pvalue
    assert found.p_t == pytest.approx(t, rel=1e-4)
    signed = stats.wilcoxon(a[kept], b[kept], alternative="greater").pvalue
    assert found.p_wilcoxon == pytest.approx(signed)
    assert verdict(ours, ours) == (7, 0.0, None, None)
    assert verdict(ours[:1], theirs[:1])[2:] == (None, None)
    assert verdict(ours, []) == (0, None, None, None)


def test_every_arm_can_be_run_on_every_case():
    """Each is another run, whose settings the strategy has."""
    for case in CASES.values():
        args = judge.Run(cases=(case.name,))
        base = judge._base(case, None)
        rate = judge.rates_of(case)[1]
        jobs = [job for arm in ARMS for job in judge._jobs(case, arm, base, (0,), rate)]
        assert len({job.folder for job in jobs}) == len(ARMS)
        for job, arm in zip(jobs, ARMS, strict=True):
            told = identity(job.config)
            assert arm.settings.items() <= told.items(), arm.name
            assert told["lr"] == rate
            assert job.config.label_noise == (0.2 if case.tuned_as else 0.0)
        assert bool(judge.tuning(args, case, ARMS[0], base)) == (case.tuned_as is None)
    assert resolve(judge._base(CASES["trec-10"], None)).lr == judge.rates_of(CASES["trec-10"])[1]


def test_a_record_is_found_by_its_settings_whatever_it_was_called():
    """`balanced` was by epochs before it could be otherwise, and then by default."""
    args, case = judge.Judged(cases=("trec-10",)), CASES["trec-10"]
    names = {r["run"]: r for r in read(args.file(case))}
    whole = {row.arm: row.runs for row in judge.rows(args, case)}
    epochs = [f"tsv-balanced-0.1-seed{seed}" for seed in SEEDS]
    assert {r["run"].partition("-lr-")[0] for r in whole["balanced, by epochs"]} == set(epochs)
    assert all(r["run"].endswith("-balance-batches") for r in whole["balanced"])
    old = next(r for r in names.values() if r["strategy"] == "balanced")
    assert "balance" not in old["config"]
    assert config_of(old)["balance"] == "epochs"
    assert config_of(old | {"strategy": "random"}).keys() == old["config"].keys() & config_of(old)


class Row(NamedTuple):
    """A row of a case's table."""

    arm: str
    ended: list[dict]
    references: dict[str, list[dict]]


def test_the_overview_counts_who_is_ahead_and_behind():
    """Against scipy's p of both tails, case by case."""
    rng = np.random.default_rng(1)
    fresh, tables, wins = "adaptive-random", {}, np.zeros(2, int)
    for case in range(20):
        base = 90 + rng.normal(size=5)
        other = base + rng.choice([-1, 0, 1]) + 0.5 * rng.normal(size=5)
        theirs, ours = ([run(s, x) for s, x in enumerate(column)] for column in (base, other))
        references = {fresh: theirs}
        tables[f"c{case}"] = [Row(fresh, theirs, references), Row("a", ours, references)]
        for i, tail in enumerate(("greater", "less")):
            wins[i] += stats.ttest_rel(other, base, alternative=tail).pvalue < 0.01
    columns, (line,) = overview(tables)
    cells = {column.heading: column.cell(line) for column in columns}
    assert min(wins) > 0
    assert (cells["ahead"], cells["behind"]) == tuple(map(str, wins))
    assert sum("**" in cells[case] for case in tables) == wins.sum()
    assert cells["passes"] == "1.0×"
    means = [v.difference for v in line.verdicts.values()]
    p = stats.wilcoxon(means, alternative="greater").pvalue
    assert cells["p over the sets"] == f"{p:.2g}"
    tables["c0"] = [row._replace(ended=row.ended[:4]) for row in tables["c0"]]
    columns, (line,) = overview(tables)
    assert "(n = 4)" in columns[1].cell(line)
    assert len(line.whole) == 19, "what is not whole is shown, not counted"
    one = dict(list(tables.items())[:1])
    assert overview(one)[1] == [], "one case is its own table"


def run(seed, accuracy):
    """A record as far as the overview reads it."""
    cost = {"strategy": "random", "examples": 10, "model": "mlp", "dataset": "digits"}
    return record(0.1, seed, test=accuracy) | cost


@pytest.mark.thorough
def test_a_rehearsal_tunes_judges_and_is_done(tmp_path, capsys):
    where = ["--results", str(tmp_path), "--quick"]
    run = ["run", *where, "--runs", str(tmp_path / "runs")]
    assert judge.main(run) == 0
    args = judge.Judged(quick=True, results=tmp_path)
    records = read(args.file(QUICK))
    arms = args.methods
    assert len(records) == len(arms) * (4 * len(TUNED_ON) + len(SEEDS) - len(TUNED_ON))
    capsys.readouterr()
    assert judge.main(["table", *where]) == 0
    text = capsys.readouterr().out
    for row in judge.rows(args, QUICK):
        assert len(row.ended) == len(SEEDS)
        assert f"| {row.arm} | {row.rate:g} | 5 of 5 |" in text
    assert judge.main(run) == 0
    assert capsys.readouterr().out == "", "nothing is left to run"


def test_what_cannot_be(capsys, tmp_path):
    assert judge.main(["run", "--cases", "mnist-1"]) == 2
    assert "--data-dir is missing" in capsys.readouterr().err
    assert judge.main(["table", "--arms", "temperd"]) == 2
    assert "Did you mean 'tempered'" in capsys.readouterr().err
    assert judge.main(["table", "--cases", "mnist-1", "--results", str(tmp_path)]) == 0
    assert "Not measured." in capsys.readouterr().out
