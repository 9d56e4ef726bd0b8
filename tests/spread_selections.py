"""What `test_spread` asserts in a process of several devices: the picks of one device."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from gradmatch_jax.gradients import LastLayerGradients
from gradmatch_jax.selection import coreset, spread
from gradmatch_jax.selection.batch_subset import _select_batches, select_batches
from gradmatch_jax.selection.batches import draw_batches
from gradmatch_jax.selection.coreset import select_coreset, select_coreset_batches
from gradmatch_jax.selection.glister import Validation, _by_rounds, glister
from gradmatch_jax.selection.groups import partition, single_group
from gradmatch_jax.selection.matching import Sizes, _match_groups, _own_column
from gradmatch_jax.selection.spread import mesh_of, to_rows
from gradmatch_jax.selection.subset import select_subset
from gradmatch_jax.solvers.options import MatchingOptions
from gradmatch_jax.solvers.problem import Form
from gradmatch_jax.strategies.strategy import Pass
from gradmatch_jax.training.placement import everywhere

N, CLASSES, WIDTH, BUDGET = 301, 5, 6, 40  # no number of devices divides the rows


def problem():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, N)
    logits = rng.normal(size=(N, CLASSES)).astype(np.float32)
    logits[np.arange(N), labels] += 1
    features = np.abs(rng.normal(size=(N, WIDTH))).astype(np.float32)
    share = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    residuals = (share - np.eye(CLASSES)[labels]).astype(np.float32)
    gradients = LastLayerGradients(jnp.asarray(residuals), jnp.asarray(features))
    return gradients, labels, Validation(logits[:50], features[:50], labels[:50])


def each_way(select, rows, ways):
    """The selection of one device's first rows, beside that of each way to place them on all."""
    gradients, labels, validation = problem()
    part = jax.tree.map(lambda x: x[:rows], gradients)
    assert mesh_of(part) is None
    one = select(part, labels[:rows], validation)
    for way in ways:
        placed = jax.tree.map(partial(way, everywhere()), part)
        assert mesh_of(placed).size == jax.device_count()
        yield one, select(placed, labels[:rows], validation)


def replicated(place, x):
    """All of it on every device."""
    return place.replicate(x)


def held(place, x):
    """As a pass leaves it: by rows where that is even, else by columns."""
    return jax.device_put(x, place.evenly(x.shape))


def placed(validation):
    """As a pass leaves it, on however many devices there are."""
    *arrays, labels = validation
    return Validation(*(held(everywhere(), x) for x in arrays), labels)


def like(gradients, x):
    """An array where the gradients are."""
    return jax.device_put(x, gradients.features.sharding)


def same_bits(select, rows=N, ways=(replicated,)):
    """But for the error, a sum over classes that may be rounded in another order."""
    for one, many in each_way(select, rows, ways):
        for name, a, b in zip(one._fields, one, many, strict=True):
            if name == "matching_error":
                np.testing.assert_allclose(a, b, rtol=1e-6)
            else:
                np.testing.assert_array_equal(a, b)


def same_picks(select, rows=N, ways=(replicated,)):
    for one, many in each_way(select, rows, ways):
        np.testing.assert_array_equal(one.indices, many.indices)
        np.testing.assert_allclose(one.weights, many.weights, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(one.matching_error, many.matching_error, rtol=1e-4)


def per_class():
    """To the bit: a class's problem is posed by its own rows alone, wherever they come from."""
    same_bits(
        lambda g, y, v: select_subset(g, BUDGET, labels=y, approximation="per_gradient", lam=0.01)
    )
    same_bits(lambda g, y, v: select_subset(g, BUDGET, labels=y, fill="calibrated"))
    same_bits(lambda g, y, v: select_coreset(g, BUDGET, labels=y))


def uneven():
    """Placed as a pass leaves them: 8 devices divide 296 rows, 4 of 8 divide 300, none 301."""
    for rows in (N, N - 1, N - 5):
        same_bits(
            lambda g, y, v: select_subset(
                g, BUDGET, labels=y, approximation="per_gradient", lam=0.01
            ),
            rows,
            (held,),
        )
    same_bits(lambda g, y, v: select_subset(g, BUDGET, labels=y), N - 1, (held,))
    same_bits(lambda g, y, v: select_coreset(g, BUDGET, labels=y), N - 1, (held,))
    same_picks(lambda g, y, v: select_batches(g, BUDGET, 7), N, (held,))
    same_picks(lambda g, y, v: glister(g, v, BUDGET, eta=0.1), N - 1, (held,))


def split():
    """Whole problems and mini-batches: sums over rows and classes are rounded in another order."""
    same_picks(lambda g, y, v: select_subset(g, BUDGET, form="features"))
    same_picks(lambda g, y, v: select_batches(g, BUDGET, 7))
    same_picks(lambda g, y, v: select_coreset_batches(g, BUDGET, 7))
    same_picks(lambda g, y, v: glister(g, v, BUDGET, eta=0.1))
    same_picks(lambda g, y, v: glister(g, placed(v), BUDGET, eta=0.1))
    same_picks(lambda g, y, v: glister(g, placed(v), BUDGET, eta=0.1, greedy="stochastic", key=1))
    dense = np.random.default_rng(1).normal(size=(N, 9)).astype(np.float32)
    same_picks(lambda g, y, v: select_batches(like(g, dense), BUDGET, 7))


def moved():
    """What a pick of a whole problem sends: an argmax and its atom's factors, never the atoms."""
    gradients = everywhere().replicate(problem()[0])
    devices, options = jax.device_count(), MatchingOptions(form="features")
    m = -(-N // devices) * devices
    groups = single_group(N, BUDGET).padded(1, m)
    program = _match_groups.lower(
        gradients, groups, None, options, jax.random.key(0),
        Sizes(BUDGET, BUDGET, Form.FEATURES, mesh_of(gradients)),
    )  # fmt: skip
    sent = [line for line in program.compile().as_text().splitlines() if "while/body" in line]
    sizes = [s for line in sent for s in collective_sizes(line)]
    assert sizes
    assert max(sizes) <= max(devices, WIDTH + 1), sizes
    assert sum(sizes) <= 4 * devices + CLASSES + WIDTH + 1 + 8, sizes


def memory():
    """No device has all rows of a pass: each has its own, and what it is brought to work on.

    Nor has any the gradients that a split pass makes.
    """
    n, classes, width = 8000, 64, 47
    rng, place = np.random.default_rng(0), everywhere()
    labels = np.arange(n) % classes
    arrays = [rng.normal(size=(n, w)).astype(np.float32) for w in (classes, width)]
    split = LastLayerGradients(*(held(place, x) for x in arrays))
    assert {s.data.shape[0] for s in split.features.addressable_shards} == {n // place.devices}
    seen = Pass(*split, place.replicate(jnp.asarray(labels, jnp.int32)))
    for x in seen.gradients:
        assert x.sharding.shard_shape(x.shape) == (n // place.devices, x.shape[1])
    mesh, key, options = mesh_of(split), jax.random.key(0), MatchingOptions()
    groups, spread.LITTLE = partition(labels, 640), 0
    own = split._replace(residuals=_own_column(split, groups.group_of))
    assert own.residuals.sharding.shard_shape((n, 1)) == (n // place.devices, 1)
    programs = {
        form: _match_groups.lower(
            own, groups.padded(classes, 128), None, options, key, Sizes(10, 640, form, mesh)
        )
        for form in (Form.FEATURES, Form.GRAM)
    }  # fmt: skip
    programs["own column"] = _own_column.lower(split, groups.group_of)
    drawn, slots = draw_batches(split, key, 640, 100)
    some = drawn, jnp.zeros(n), options, slots, mesh
    programs["mini-batches"] = _select_batches.lower(*some)
    programs["coreset of mini-batches"] = coreset._select_batches.lower(drawn, slots, mesh)
    validation, few = to_rows(Validation(*seen), mesh), jax.tree.map(lambda x: x[:800], split)
    programs["GLISTER"] = _by_rounds.lower(
        few, validation, jnp.full(n, 1 / n), 0.1, (800, 80, 8), slots=8, room=80, mesh=mesh
    )
    for name, program in programs.items():
        compiled = program.compile()
        text = compiled.as_text()
        for w in (classes, width, width + 1):
            assert not re.search(rf"f32\[{n},{w}\]", text), (name, w)
        # Its rows, as many that are brought, and the problems' own.
        most = 4 * n * (classes + width) / 2
        assert compiled.memory_analysis().temp_size_in_bytes < most, name


KINDS = "all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute"


def collective_sizes(line):
    """Numbers in each array that a line of a compiled program exchanges."""
    found = re.search(rf"= (.*?) (?:{KINDS})(?:-start)?\(", line)
    shapes = re.findall(r"\w+\[([\d,]*)\]", found.group(1)) if found else []
    return [int(np.prod([int(x) for x in shape.split(",") if x])) for shape in shapes]
