"""Runs in pieces of a few minutes, and over the nodes of a Ray cluster."""

import time

import pytest

from experiments import on_ray
from experiments.on_ray import Ray
from experiments.records import read
from experiments.runs import run_all
from gradmatch_jax.errors import UserError
from gradmatch_jax.sweep import Grid, plan
from gradmatch_jax.training.config import TrainConfig

SAME = ("run", "test_accuracy", "strategy", "fraction", "seed", "epochs_trained", "examples")


def jobs(folder, epochs=2, seeds=(0, 1)):
    base = TrainConfig(model="logistic", epochs=epochs, eval_every=1)
    return plan(Grid(base, ("random", "gradmatch"), (0.1,), seeds), folder)


def figures(records):
    return sorted(([r.get(name) for name in SAME] for r in records), key=str)


@pytest.mark.thorough
def test_a_piece_ends_in_time_and_the_next_goes_on(tmp_path, capsys):
    longer = jobs(tmp_path / "runs", epochs=20_000, seeds=(0,))  # minutes, however fast the machine
    run_all(longer, tmp_path / "r.jsonl", until=time.time() + 3)
    assert read(tmp_path / "r.jsonl") == []
    assert "stopped" in capsys.readouterr().out
    run_all(jobs(tmp_path / "others"), tmp_path / "r.jsonl", until=time.time() - 1)
    assert read(tmp_path / "r.jsonl") == []
    run_all(jobs(tmp_path / "others"), tmp_path / "r.jsonl")
    assert len(read(tmp_path / "r.jsonl")) == 4


def test_what_ray_cannot_be_given(tmp_path):
    with pytest.raises(UserError, match="--run-cores must be 1 or more, not 0"):
        run_all(jobs(tmp_path), tmp_path / "r.jsonl", spread=Ray(run_cores=0))


def test_without_ray_one_line_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install 'gradmatch-jax\[ray\]'"):
        run_all(jobs(tmp_path), tmp_path / "r.jsonl", spread=Ray())


@pytest.fixture
def cluster():
    """Two nodes of a core each on this machine."""
    pytest.importorskip("ray", reason="Ray is not installed (the extra ray)")
    import ray
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    second = made.add_node(num_cpus=1)
    made.wait_for_nodes()
    yield made, second
    ray.shutdown()
    made.shutdown()


@pytest.mark.thorough
def test_a_cluster_does_what_one_process_does_though_a_node_is_lost(cluster, tmp_path):
    made, second = cluster
    run_all(jobs(tmp_path / "here"), tmp_path / "here.jsonl")
    spread = jobs(tmp_path / "there")

    class Losing(Ray):
        """The second node is lost as soon as a run has ended."""

        def __call__(self, ahead, until):
            for i, ended in enumerate(super().__call__(ahead, until)):
                if i == 0:
                    made.remove_node(second)
                yield ended

    run_all(spread, tmp_path / "there.jsonl", spread=Losing(address=made.address))
    found = read(tmp_path / "there.jsonl")
    assert figures(found) == figures(read(tmp_path / "here.jsonl"))
    assert all(r["revision"] == on_ray.revision() for r in found)
    run_all(spread, tmp_path / "there.jsonl", spread=Ray(address=made.address))
    assert len(read(tmp_path / "there.jsonl")) == len(found), "nothing was left"
