"""What `test_placement` asserts in a process of several devices: the same answers as on one."""

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np

from gradmatch_jax.data import Split
from gradmatch_jax.models.model import Model, Variables
from gradmatch_jax.training.feed import Feed
from gradmatch_jax.training.passes import collect, collect_gradient_norms, evaluate, run_epoch
from gradmatch_jax.training.placement import ONE, everywhere
from gradmatch_jax.training.steps import make_steps
from linear_problem import CLASSES, linear_data, record
from toys import Stream

KINDS = (False, True) if importlib.util.find_spec("grain") else (False,)  # streams need it


def normalising() -> Model:
    """A hidden layer with batch norm and dropout: what sees a mini-batch as a whole."""

    def init(key):
        hidden, head = jax.random.split(key)
        params = {
            "hidden": 0.3 * jax.random.normal(hidden, (16, 8)),
            "head": 0.3 * jax.random.normal(head, (8, CLASSES)),
        }
        return Variables(params, {"mean": jnp.zeros(8), "key": jax.random.key(3)})

    def apply(variables, images, train):
        x = images.reshape(images.shape[0], -1) @ variables.params["hidden"]
        mean, stats = variables.stats["mean"], variables.stats
        if train:
            mean = jnp.mean(x, axis=0)
            key, mask = jax.random.split(stats["key"])
            stats = {"mean": 0.9 * stats["mean"] + 0.1 * mean, "key": key}
            x = x * jax.random.bernoulli(mask, 0.8, x.shape).astype(x.dtype)
        features = jax.nn.relu(x - mean[None])
        return features @ variables.params["head"], features, stats

    return Model("normalising", init, apply)


MODEL = normalising()


def steps_at(place):
    settings = {"momentum": 0.9, "weight_decay": 5e-4, "augmented": True}
    return make_steps(MODEL, linear_data(), record=record, place=place, **settings)


def feed_at(place, streamed):
    part = linear_data().train
    inputs = Stream(part.inputs) if streamed else part.inputs
    return Feed(Split(inputs, part.labels), place)


def trained(place, *, batch_size, streamed, scan=False):
    """Arrays of the learner after an epoch with ragged tails, its loss, what it recorded."""
    steps, feed = steps_at(place), feed_at(place, streamed)
    learner = place.replicate(steps.init(jax.random.key(1)))
    rng = np.random.default_rng(0)
    indices, weights = rng.permutation(len(feed))[:21], rng.random(21)
    learner, loss, seen = run_epoch(
        steps, learner, feed, indices, weights, batch_size=batch_size, lr=0.1,
        key=jax.random.key(2), scan=scan,
    )  # fmt: skip
    for leaf in jax.tree.leaves(learner):
        assert leaf.sharding.is_fully_replicated
    return numbers((learner, loss, seen))


def numbers(tree):
    def plain(x):
        key = isinstance(x, jax.Array) and jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(x) if key else x)

    return jax.tree.map(plain, tree)


def same(found, wanted):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6), found, wanted)


def training():
    """Batches that the devices divide, that some of them do, and tails that none does."""
    place = everywhere()
    assert place.devices == jax.device_count() > 1
    for batch_size in (16, 12, 7):
        for streamed, scan in (*((kind, False) for kind in KINDS), (False, True)):
            options = {"batch_size": batch_size, "streamed": streamed, "scan": scan}
            same(trained(place, **options), trained(ONE, **options))


def passes():
    """Over n rows that no number of devices divides, all of them and some."""
    place = everywhere()
    for streamed in KINDS:
        for rows, batch_size in ((None, None), (None, 2), (np.arange(5)[::-1].copy(), 3)):
            answers = []
            for at in (place, ONE):
                steps, feed = steps_at(at), feed_at(at, streamed)
                variables = at.replicate(steps.init(jax.random.key(1)).variables)
                looked = collect(steps, variables, feed, rows=rows, batch_size=batch_size)
                split = collect(
                    steps, variables, feed, rows=rows, batch_size=batch_size, split=True
                )
                same(numbers(split), numbers(looked))
                norms = collect_gradient_norms(steps, variables, feed, rows=rows)
                labels = at.beside(split[0], feed.host_labels[: len(split[0])])
                agree = jnp.sum(labels == jnp.argmax(split[0], axis=1))
                accuracy = evaluate(steps, variables, feed)
                answers.append(numbers((looked, norms, agree, accuracy)))
            same(*answers)


def placing():
    """Rows lie where they are said to, and every element is where it was."""
    place, x = everywhere(), np.arange(48.0).reshape(24, 2)
    count = jax.device_count()
    for array, parts in (
        (x, np.gcd(24, count)),
        (x[:7], np.gcd(7, count)),
        (x[:12], np.gcd(12, count)),
    ):
        split = place.split(array)
        np.testing.assert_array_equal(split, array)
        assert {s.data.shape[0] for s in split.addressable_shards} == {len(array) // parts}
        assert place.own(len(array)).tolist() == list(range(len(array))), "there is one process"
        found = place.of_own(array[::-1].copy(), len(array))
        np.testing.assert_array_equal(found, array[::-1])
        assert found.sharding == split.sharding
    np.testing.assert_array_equal(place.split(x, axis=1), x)
