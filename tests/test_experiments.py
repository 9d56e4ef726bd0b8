"""The experiment scripts: Table 3 as Markdown, and each measurement at a size of seconds."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest

from experiments import cifar10_selection, gpu_check, matching_error, omp_benchmark, tables
from experiments.sweep import Sweep, sweep
from gradmatch_jax.errors import UserError
from gradmatch_jax.gradients import LastLayerGradients, densify
from gradmatch_jax.training.config import TrainConfig


def run(strategy, fraction, seed, accuracy, *, seconds=10.0, warm=False):
    """A line of the sweep, with the fields that the table reads."""
    full = strategy == "full"
    size = 54000 if full else round(54000 * fraction)
    return {
        "strategy": strategy, "fraction": fraction, "warm": warm, "seed": seed,
        "test_accuracy": accuracy, "train_seconds": seconds - 1, "selection_seconds": 1.0,
        "train_size": 54000, "subset_size": size, "config": {"epochs": 200},
        "epochs": 101 if warm else 200, "full_epochs": 200 if full else int(warm),
        "device": "a processor", "revision": "abc", "model": "lenet",
    }  # fmt: skip


def write(path, runs):
    path.write_text("".join(json.dumps(r) + "\n" for r in runs))
    return path


def cells(text, strategy, fraction):
    header, *lines = ([c.strip() for c in li.strip("|").split("|")] for li in text.splitlines())
    for found in lines:
        if found[:2] == [strategy, fraction]:
            return dict(zip(header, found, strict=True))
    raise AssertionError(f"no row {strategy} {fraction} in\n{text}")


def test_table_sets_ours_beside_the_paper(tmp_path):
    runs = [run("gradmatch", 0.01, seed, 98.0 + seed) for seed in range(3)]
    runs += [run("gradmatch", 0.01, seed, 97.0, seconds=8.0, warm=True) for seed in range(3)]
    runs += [run("full", 1.0, seed, 99.0, seconds=500.0) for seed in range(3)]
    text = tables.markdown(tables.read(write(tmp_path / "r.jsonl", runs)))
    row = cells(text, "gradmatch", "1%")
    assert row["accuracy %"] == "99.00 ± 1.00"
    assert row["paper %"] == "98.95"
    assert row["difference"] == "+0.05"
    assert row["seconds"] == "10.0 ± 0.0"
    assert row["speed-up"] == "50.0"
    assert row["selecting"] == "1.0 ± 0.0"
    assert row["ceiling"] == "100.0"
    assert row["paper's speed-up"] == "16.4"  # 0.82 h / 0.05 h
    warm = cells(text, "gradmatch-warm", "1%")
    assert warm["ceiling"] == "100.0"  # one full epoch and 100 on 1 %
    assert warm["speed-up"] == "62.5"
    assert cells(text, "full", "100%")["speed-up"] == "1.0"
    assert "(!)" not in text
    scored = run("el2n", 0.01, 0, 90.0) | {"examples": 12 * 54000}  # 10 epochs of a proxy
    text = tables.markdown([*runs, scored])
    assert cells(text, "el2n", "1%")["ceiling"] == "16.7"


def test_partial_table_renders_and_says_so(tmp_path):
    path = write(tmp_path / "r.jsonl", [run("adaptive-random", 0.05, 0, 98.5)])
    with path.open("a") as file:
        file.write('{"run": "cut off in the mid')
    text = tables.markdown(tables.read(path))
    assert "Network: lenet; device: a processor; revision: abc." in text
    row = cells(text, "adaptive-random", "5%")
    assert row["seeds"] == "1 (!)"
    assert row["accuracy %"] == "98.50"
    assert not {"paper %", "speed-up"} & set(row), "columns without a figure"
    path.write_text("")
    assert "no speed-ups" in tables.markdown(tables.read(path))
    with pytest.raises(UserError, match="mnist_table3"):
        tables.main(tables.Tables(tmp_path / "absent.jsonl"))


def test_short_table_has_a_line_a_method():
    runs = [run("craig", 0.01, seed, 98.0 + seed) for seed in range(3)]
    runs += [run("craig", 0.01, 0, 97.0, warm=True), run("el2n", 0.05, 0, 60.0)]
    runs += [run("full", 1.0, seed, 99.0, seconds=500.0) for seed in range(3)]
    lines = tables.methods(runs).splitlines()
    assert lines[2] == (
        "| craig | 99.00 ± 1.00 [96.18] | 97.00 (1 of 3 seeds) [98.48] | – | – | 9 + 1 | – |"
    )
    assert lines[3] == "| el2n | – | – | 60.00 (1 of 3 seeds) | – | – | 9 + 1 |"
    assert lines[5] == "full: 99.00 ± 0.00 [99.35], 499 + 1 s"


def test_omp_benchmark_is_as_good_as_the_oracle(tmp_path):
    results = tmp_path / "r.jsonl"
    omp_benchmark.main(
        omp_benchmark.OMPBenchmark(n=60, d=20, budgets=(10,), repeats=1, results=results)
    )
    records = {r["solver"]: r for r in map(json.loads, results.read_text().splitlines())}
    assert records["omp, signed"]["objective_ratio"] == pytest.approx(1, rel=1e-4)
    assert records["omp, w >= 0"]["size"] == 10
    assert all(r["k"] == 10 and r["seconds"] > 0 and r["revision"] for r in records.values())


def test_benchmark_reads_a_class_of_an_npz(tmp_path):
    rng = np.random.default_rng(0)
    logits, features = rng.standard_normal((30, 3)), rng.standard_normal((30, 4))
    labels = np.arange(30) % 3
    np.savez(tmp_path / "g.npz", logits=logits, features=features, labels=labels)
    atoms = omp_benchmark.real(omp_benchmark.OMPBenchmark(npz=tmp_path / "g.npz", label=1))
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


def test_matching_error_on_digits(tmp_path, capsys):
    args = matching_error.MatchingError(
        dataset="digits", moments=(1,), fractions=(0.1,), seeds=(0,), limit=300,
        variants=("gradmatch-per-class", "random"), results=tmp_path / "r.jsonl",
    )  # fmt: skip
    matching_error.main(args)
    ours, random = map(json.loads, args.results.read_text().splitlines())
    assert ours["size"] == random["size"] == 30
    assert ours["per_class"] < 0.7 * random["per_class"]
    assert "gradmatch-per-class" in capsys.readouterr().out


def test_gpu_check_goes_on_after_a_failure_and_resumes(tmp_path):
    args = gpu_check.GPUCheck(
        small=True, only=("pass-float32", "run-full"), data_dir=tmp_path / "absent",
        out=tmp_path / "r.jsonl",
    )  # fmt: skip
    assert gpu_check.main(args) == 1
    records = list(map(json.loads, args.out.read_text().splitlines()))
    assert [r["step"] for r in records] == ["pass-float32", "run-full"]
    assert all("does not exist" in r["error"] for r in records)
    args = dataclasses.replace(args, only=("pass-float32",), data_dir=None)
    for _ in range(2):
        assert gpu_check.main(args) == 0
    (record,) = gpu_check.done(args.out)
    assert record["images"] == 400
    assert record["config"]["data"] == "synthetic"


def test_cached_selection_fills_its_budget(tmp_path):
    rng = np.random.default_rng(0)
    parts = {"logits": rng.standard_normal((90, 3)), "features": rng.random((90, 4))}
    parts = {name: x.astype(np.float32) for name, x in parts.items()}
    cifar10_selection.write(tmp_path / "g.npz", labels=np.arange(90) % 3, **parts)
    record = cifar10_selection.select(tmp_path / "g.npz", "gradmatch-per-class", 0.1, 16, 0)
    assert record["size"] == 9
    assert record["own_error"] < 0.5
    assert cifar10_selection.peak_gb() > 0.01


def test_settings_that_differ_have_rows_of_their_own():
    runs = []
    for lam, accuracy in ((0.5, 90.0), (0.0, 80.0)):
        for seed in range(3):
            line = run("gradmatch", 0.01, seed, accuracy) | {"validation_accuracy": accuracy - 1}
            line["config"] = {"epochs": 200, "lam": lam, "seed": seed}
            runs.append(line)
    runs[0]["config"].pop("lam")  # of a revision without the setting: its default
    text = tables.markdown(runs)
    assert cells(text, "gradmatch, lam 0.5", "1%")["accuracy %"] == "90.00 ± 0.00"
    row = cells(text, "gradmatch, lam 0.0", "1%")
    assert (row["seeds"], row["validation %"]) == ("3", "79.00 ± 0.00")
    assert "speed-up" not in row, "nothing to compare with: the column is left out"
    assert "validation %" not in cells(tables.markdown([run("el2n", 0.1, 0, 1.0)]), "el2n", "10%")
    with pytest.raises(UserError, match=r"one setting a method, not gradmatch \(lam 0.5\)"):
        tables.methods(runs)


def test_a_sweep_does_each_run_once_and_knows_its_settings(tmp_path, capsys):
    grid = Sweep(
        TrainConfig(epochs=2, eval_every=1), ("random", "full"), (0.1, 0.2), (0,),
        tmp_path / "runs", tmp_path / "results.jsonl",
    )  # fmt: skip
    sweep(grid)
    records = [json.loads(line) for line in grid.results.read_text().splitlines()]
    names = ["digits-random-0.1-seed0", "digits-full-1-seed0", "digits-random-0.2-seed0"]
    assert [r["run"] for r in records] == names
    assert all(len(r["curve"]) == 2 and r["validation_accuracy"] > 0 for r in records)
    capsys.readouterr()
    sweep(grid)
    assert capsys.readouterr().out == "", "nothing is left to run"
    other = dataclasses.replace(grid, base=dataclasses.replace(grid.base, lr=0.05))
    with pytest.raises(UserError, match=r"lr 0\.01, not 0\.05: give other --runs and --results"):
        sweep(other)
    assert len(grid.results.read_text().splitlines()) == 3
