"""The experiments: their sweep, and each measurement at a size of seconds."""

import dataclasses
import json
from pathlib import Path
from xml.etree import ElementTree

import jax.numpy as jnp
import numpy as np
import pytest

from experiments import readme_figure
from experiments.bench import (
    cifar10_selection,
    gpu_check,
    matching_error,
    mnist,
    omp,
    solver,
)
from experiments.command import quickened
from experiments.paper.lines import by_fraction
from experiments.records import append, read
from experiments.runs import run_all
from gradmatch_jax.errors import UserError
from gradmatch_jax.gradients import LastLayerGradients, densify
from gradmatch_jax.report.summary import seconds_of
from gradmatch_jax.sweep import Grid, plan
from gradmatch_jax.training.claim import claim
from gradmatch_jax.training.config import TrainConfig
from paper_records import run

ROOT = Path(__file__).parents[1]


@pytest.mark.thorough
def test_omp_benchmark_is_as_good_as_the_oracle(tmp_path):
    results = tmp_path / "r.jsonl"
    omp.main(omp.OMPBenchmark(quick=True, results=results))
    records = {r["solver"]: r for r in map(json.loads, results.read_text().splitlines())}
    assert records["omp, signed"]["objective_ratio"] == pytest.approx(1, rel=1e-4)
    assert records["omp, w >= 0"]["size"] == 10
    for r in records.values():
        assert r["k"] == 10
        assert r["seconds"] > 0
        assert r["wall_seconds"] > 0
        assert {"config", "versions", "device", "cores", "revision"} <= r.keys()
        assert "scikit-learn" in r["versions"]


def test_benchmark_reads_a_class_of_an_npz(tmp_path):
    rng = np.random.default_rng(0)
    logits, features = rng.standard_normal((30, 3)), rng.standard_normal((30, 4))
    labels = np.arange(30) % 3
    np.savez(tmp_path / "g.npz", logits=logits, features=features, labels=labels)
    atoms = omp.real(omp.OMPBenchmark(npz=tmp_path / "g.npz", label=1))
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    own = softmax[1::3, 1] - 1
    assert atoms.shape == (10, 5)
    np.testing.assert_allclose(atoms[:, 0], own, rtol=1e-5)
    np.testing.assert_allclose(atoms[:, 1:], own[:, None] * features[1::3], rtol=1e-5)


def test_per_class_error_against_dense_sums():
    rng = np.random.default_rng(1)
    residuals, features = rng.standard_normal((20, 3)), rng.standard_normal((20, 2))
    gradients = LastLayerGradients(*(jnp.asarray(x, jnp.float32) for x in (residuals, features)))
    labels = np.arange(20) % 3
    task = matching_error.Task(labels, 3, 7)
    chosen = matching_error.stratified(task, 0)
    dense, error, scale = np.asarray(densify(gradients)), 0.0, 0.0
    rows, weights = np.asarray(chosen.indices), np.asarray(chosen.weights)
    assert len(set(rows.tolist())) == 7
    for c in range(3):
        mine = labels[rows] == c
        assert weights[mine].sum() == pytest.approx(np.sum(labels == c))
        target = dense[labels == c].sum(axis=0)
        error += np.sum((weights[mine] @ dense[rows[mine]] - target) ** 2)
        scale += np.sum(target**2)
    got = matching_error.per_class_error(gradients, chosen, jnp.asarray(labels), 3)
    assert float(got) == pytest.approx(np.sqrt(error / scale), rel=1e-4)


@pytest.mark.thorough
def test_matching_error_on_digits(tmp_path, capsys):
    args = matching_error.MatchingError(
        quick=True, variants=("gradmatch-per-class", "random"), fills=("random", "calibrated"),
        results=tmp_path / "r.jsonl",
    )  # fmt: skip
    matching_error.main(args)
    ours, calibrated, random = map(json.loads, args.results.read_text().splitlines())
    assert ours["size"] == calibrated["size"] == random["size"] == 30
    assert calibrated["variant"] == "gradmatch-per-class, calibrated"
    assert ours["per_class"] < 0.7 * random["per_class"]
    assert "gradmatch-per-class" in capsys.readouterr().out


@pytest.mark.thorough
def test_gpu_check_goes_on_after_a_failure_and_resumes(tmp_path):
    (tmp_path / "empty").mkdir()
    args = gpu_check.GPUCheck(
        quick=True, only=("pass-float32", "run"), data_dir=tmp_path / "empty",
        results=tmp_path / "r.jsonl",
    )  # fmt: skip
    assert gpu_check.main(args) == 1
    names = ["pass-float32", "run-full", "run-gradmatch-pb-warm", "run-adaptive-random"]
    records = list(map(json.loads, args.results.read_text().splitlines()))
    assert [r["step"] for r in records] == names
    assert all("lacks cifar-10" in r["error"] for r in records)
    args = dataclasses.replace(args, data_dir=None)
    for _ in range(2):
        assert gpu_check.main(args) == 0
    records = gpu_check.done(args.results)
    assert [r["step"] for r in records] == names
    assert records[0]["images"] == 400
    assert records[0]["config"]["data"] == "synthetic"
    assert [r["subset_size"] for r in records[1:]] == [400, 40, 40]


@pytest.mark.thorough
def test_cached_selection_fills_its_budget(tmp_path):
    rng = np.random.default_rng(0)
    parts = {"logits": rng.standard_normal((90, 3)), "features": rng.random((90, 4))}
    parts = {name: x.astype(np.float32) for name, x in parts.items()}
    cifar10_selection.write(tmp_path / "g.npz", labels=np.arange(90) % 3, **parts)
    record = cifar10_selection.select(tmp_path / "g.npz", "gradmatch-per-class", 0.1, 16, 0)
    assert record["size"] == 9
    assert record["own_error"] < 0.5
    assert cifar10_selection.peaks()["peak_gb"] > 0.01


@pytest.mark.thorough
def test_a_sweep_does_each_run_once_and_knows_its_settings(tmp_path, capsys):
    base, results = TrainConfig(model="logistic", epochs=2, eval_every=1), tmp_path / "r.jsonl"
    jobs = plan(Grid(base, ("random", "full"), (0.1, 0.2)), tmp_path / "runs")
    run_all(jobs, results)
    names = ["digits-random-0.1-seed0", "digits-random-0.2-seed0", "digits-full-1-seed0"]
    records = read(results)
    assert [r["run"] for r in records] == names
    for r in records:
        assert len(r["curve"]) == 2
        assert r["validation_accuracy"] > 0
        assert r["wall_seconds"] > 0
        assert {"config", "versions", "device", "cores", "revision"} <= r.keys()
    assert "digits-full" in capsys.readouterr().out
    run_all(jobs, results)
    assert capsys.readouterr().out == "", "nothing is left to run"
    other = plan(Grid(dataclasses.replace(base, lr=0.05), ("random",)), tmp_path / "other")
    with pytest.raises(UserError, match=r"lr 0\.01, not 0\.05: give other --runs and --results"):
        run_all(other, results)
    results.write_text("")  # finished, and killed before it was recorded
    run_all(jobs, results)
    assert [r["test_accuracy"] for r in read(results)] == [r["test_accuracy"] for r in records]
    text = by_fraction(read(results))
    assert "| random | 10% | 1 (!) |" in text


def test_a_worker_leaves_what_another_has(tmp_path):
    jobs = plan(Grid(TrainConfig(model="logistic", epochs=1), ("random", "full")), tmp_path)
    with claim(jobs[0].folder):
        run_all(jobs, tmp_path / "r.jsonl")
    assert [r["run"] for r in read(tmp_path / "r.jsonl")] == ["digits-full-1-seed0"]


@pytest.mark.thorough
def test_solver_bench_rehearses(tmp_path, capsys):
    """Every form at every budget says which one solved it, and how long that took."""
    args = solver.SolverBench(
        quick=True, variants=("per_gradient",), forms=("auto", "gram"), results=tmp_path / "r.jsonl"
    )
    solver.main(args)
    rows = read(args.results)
    assert [row["form"] for row in rows[1::2]] == ["gram", "gram"]
    assert all(row["matched"] > 0 and row["cpu_seconds"] > 0 for row in rows)
    assert "One selection of all classes" in capsys.readouterr().out


@pytest.mark.thorough
def test_solver_bench_beside_an_older_revision(tmp_path):
    """Of this checkout's own last revision: the same selections."""
    args = solver.SolverBench(
        quick=True, variants=("per_gradient",), baseline="HEAD", results=tmp_path / "r.jsonl"
    )
    solver.main(args)
    for row in read(args.results):
        assert row["older"]["matched"] == row["matched"] > 0
        assert row["older"]["error"] == pytest.approx(row["error"], rel=0.05)
    with pytest.raises(UserError, match="no folder, and no revision"):
        solver.older_checkout("no-such-revision", tmp_path)


def test_quick_keeps_what_the_user_set(tmp_path):
    args = omp.OMPBenchmark(quick=True, d=7, results=tmp_path / "mine.jsonl")
    small = quickened(args, **omp.QUICK)
    assert (small.n, small.d, small.results) == (60, 7, args.results)
    args = omp.OMPBenchmark()
    assert quickened(args, **omp.QUICK).results == Path("runs/quick/omp_benchmark.jsonl")


@pytest.mark.thorough
def test_cifar10_selection_rehearsed(tmp_path, capsys):
    args = cifar10_selection.CifarSelection(
        quick=True, cache=tmp_path / "cache", results=tmp_path / "r.jsonl"
    )
    assert cifar10_selection.main(args) == 0
    made, *selections = read(args.results)
    assert made["step"] == "pass"
    assert made["images"] == 300
    assert made["loss_last_10"] < made["loss_first_10"]
    assert [r["variant"] for r in selections] == ["gradmatch", "facility-location"]
    assert all(r["size"] == 30 and r["peak_gb"] > 0.01 for r in selections)
    assert "facility-location" in capsys.readouterr().out
    with pytest.raises(UserError, match="--data-dir"):
        cifar10_selection.main(cifar10_selection.CifarSelection())


@pytest.mark.thorough
def test_a_process_alone_is_not_charged_with_its_parents_memory():
    mine = np.ones(300_000_000, np.uint8)  # in GB, 0.3
    before = cifar10_selection.peak_resident()
    assert before > mine.nbytes
    child = cifar10_selection.alone(dict)["peak_gb"]
    assert 0.01 < child < before / 1e9 - 0.2


def test_records_are_read_to_the_last_whole_line(tmp_path):
    append(tmp_path / "new" / "r.jsonl", {"a": float("nan")})
    with (tmp_path / "new" / "r.jsonl").open("a") as file:
        file.write('{"a": 1')
    assert read(tmp_path / "new" / "r.jsonl") == [{"a": None}]
    assert read(tmp_path / "absent.jsonl") == []


@pytest.mark.thorough
def test_mnist_studies_are_rehearsed(tmp_path):
    small = {"quick": True, "runs": tmp_path / "runs", "results": tmp_path / "results"}
    mnist.main(mnist.Mnist(study="speedup", strategies=("gradmatch-pb-warm",), **small))
    records = read(tmp_path / "results" / "mnist_speedup.jsonl")
    assert [r["config"]["pool"] for r in records if r["test_accuracy"] > 0] == [1.0, 0.2, 0.5]
    with pytest.raises(UserError, match=r"none of the study's: \[1\.0, 0\.1, 0\.2, 0\.5\]"):
        mnist.jobs(mnist.Mnist(pools=(0.3,)))


def test_a_pool_that_would_be_raised_is_not_measured_twice():
    names = [job.name for job in mnist.jobs(mnist.Mnist(study="pool", seeds=(0,)))]
    tenth = [name for name in names if name.startswith("craig-0.1-")]
    assert tenth == [f"craig-0.1-seed0-pool-{pool}" for pool in (0.2, 0.5, 1.0)]
    alone = mnist.jobs(mnist.Mnist(study="speedup", seeds=(0,), fractions=(0.3,), pools=(1.0,)))
    warm = [f"gradmatch{form}-warm-0.3-seed0-pool-1.0" for form in ("-pb", "")]
    assert [job.name for job in alone] == [*warm, "full-1-seed0"]


def test_the_readmes_figure_is_drawn_of_the_records_in_every_form(tmp_path):
    records = ROOT / "results" / "mnist_table3.jsonl"
    readme_figure.main(readme_figure.Settings(records=records, out=tmp_path))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for shape in ("wide", "narrow"):
        for scheme in ("light", "dark"):
            name = f"accuracy-time-{shape}-{scheme}.svg"
            text = (tmp_path / name).read_text(encoding="utf-8")
            ElementTree.fromstring(text)
            assert f"docs/figures/{name}" in readme
            assert len(text) < 100_000
            for word in ("adaptive-", "gradmatch", "craig", "infobatch", "random"):
                assert word in text


def test_the_readmes_points_are_means_and_medians(tmp_path):
    runs = [run("random", 0.1, s, 90.0 + s, seconds=10 * (s + 1) ** 2) for s in range(3)]
    (point,) = readme_figure.points(runs, ("random",))["random"]
    assert (point.accuracy, point.runs) == (91.0, 3)
    assert point.spread == pytest.approx(1.0)
    assert point.seconds == pytest.approx(np.median([seconds_of(r) for r in runs]))
    with pytest.raises(UserError, match="no run of these methods"):
        readme_figure.points(runs, ("craig",))


def test_the_readmes_points_of_two_devices():
    """Each seed counts once, its accuracy wherever it was run; seconds are of one device."""
    old = [run("full", 1.0, s, 99.0, seconds=800.0) for s in range(3)]
    old += [run("random", 0.1, 2, 93.0, seconds=80.0)]
    new = [run("random", 0.1, s, 90.0 + s, seconds=8.0) for s in range(2)]
    new += [run("full", 1.0, 2, 50.0, seconds=100.0), run("craig", 0.1, 0, 98.0, seconds=9.0)]
    runs = [r | {"device": "old"} for r in old] + [r | {"device": "new"} for r in new]
    found = readme_figure.points(runs, ("full", "random", "craig"))
    assert set(found) == {"full", "random"}, "craig was not run on the old one"
    (point,) = found["random"]
    assert (point.accuracy, point.runs) == (pytest.approx(274 / 3), 3)
    assert point.seconds == pytest.approx(seconds_of(old[-1]))
    assert (found["full"][0].accuracy, found["full"][0].runs) == (99.0, 3)
