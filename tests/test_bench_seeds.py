"""Seeds at once are each trained as alone, and the measurement has its records."""

import jax
import numpy as np
import pytest

from experiments.bench import seeds
from experiments.records import read
from gradmatch_jax.errors import UserError
from toys import LONG


@pytest.mark.thorough
@pytest.mark.parametrize("model", ["mlp", pytest.param("lenet", marks=LONG)])
def test_seeds_at_once_are_trained_as_alone(model):
    args = seeds.Seeds(images=64 * 2, batch_size=2)
    steps, feed = seeds.network(args, model)
    learners = [steps.init(jax.random.key(seed)) for seed in range(3)]
    together = seeds.at_once(args, steps, feed, learners)()
    (alone,) = jax.tree.leaves(seeds.at_once(args, steps, feed, learners[:1])().variables.params)[
        :1
    ]
    mapped = jax.tree.leaves(together.variables.params)[0]
    assert mapped.shape == (3, *alone.shape[1:])
    np.testing.assert_allclose(mapped[0], alone[0], atol=1e-5)
    assert not np.allclose(mapped[0], mapped[1]), "another seed, another network"
    first = jax.tree.leaves(learners[0].variables.params)[0]
    assert not np.allclose(mapped[0], first), "it was trained"


def test_too_few_images_for_a_call_are_refused(tmp_path):
    args = seeds.Seeds(images=1279, results=tmp_path / "r.jsonl")
    with pytest.raises(UserError, match=r"--images 1279: .* takes 1280 images"):
        seeds.main(args)
    assert not args.results.exists()


@pytest.mark.thorough
def test_it_is_rehearsed(tmp_path, capsys):
    args = seeds.Seeds(quick=True, results=tmp_path / "r.jsonl")
    seeds.main(args)
    one, two = read(args.results)
    assert (one["seeds"], one["gain"]) == (1, 1.0)
    assert two["gain"] == pytest.approx(2 * one["seconds"] / two["seconds"])
    assert "Seeds at once" in capsys.readouterr().out
