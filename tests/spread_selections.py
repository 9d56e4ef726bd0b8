"""What `test_spread` asserts in a process of several devices: the picks of one device."""

import re

import jax
import jax.numpy as jnp
import numpy as np

from gradmatch_jax.gradients import LastLayerGradients
from gradmatch_jax.selection.batch_subset import select_batches
from gradmatch_jax.selection.coreset import select_coreset, select_coreset_batches
from gradmatch_jax.selection.glister import Validation, glister
from gradmatch_jax.selection.groups import single_group
from gradmatch_jax.selection.matching import _match_groups
from gradmatch_jax.selection.spread import mesh_of
from gradmatch_jax.selection.subset import select_subset
from gradmatch_jax.solvers.options import MatchingOptions
from gradmatch_jax.solvers.problem import Form
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


def both(select):
    """The selection of one device's arrays, and of those that all devices have."""
    gradients, *rest = problem()
    spread = everywhere().replicate(gradients)
    assert mesh_of(gradients) is None
    assert mesh_of(spread).size == jax.device_count()
    return select(gradients, *rest), select(spread, *rest)


def same_bits(select):
    one, many = both(select)
    for a, b in zip(one, many, strict=True):
        np.testing.assert_array_equal(a, b)


def same_picks(select):
    one, many = both(select)
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


def split():
    """Whole problems and mini-batches: sums over rows and classes are rounded in another order."""
    same_picks(lambda g, y, v: select_subset(g, BUDGET, form="features"))
    same_picks(lambda g, y, v: select_batches(g, BUDGET, 7))
    same_picks(lambda g, y, v: select_coreset_batches(g, BUDGET, 7))
    same_picks(lambda g, y, v: glister(g, v, BUDGET, eta=0.1))


def moved():
    """What a pick of a whole problem sends: an argmax and its atom's factors, never the atoms."""
    gradients = everywhere().replicate(problem()[0])
    devices, options = jax.device_count(), MatchingOptions(form="features")
    m = -(-N // devices) * devices
    groups = single_group(N, BUDGET).padded(m)
    program = _match_groups.lower(
        gradients, groups, None, jax.random.key(0), options, slots=BUDGET, room=BUDGET,
        own_column=False, form=Form.FEATURES, mesh=mesh_of(gradients),
    )  # fmt: skip
    sent = [line for line in program.compile().as_text().splitlines() if "while/body" in line]
    sizes = [s for line in sent for s in collective_sizes(line)]
    assert sizes
    assert max(sizes) <= max(devices, WIDTH + 1), sizes
    assert sum(sizes) <= 4 * devices + CLASSES + WIDTH + 1 + 8, sizes
    print(sum(sizes))


KINDS = "all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute"


def collective_sizes(line):
    """Numbers in each array that a line of a compiled program exchanges."""
    found = re.search(rf"= (.*?) (?:{KINDS})(?:-start)?\(", line)
    shapes = re.findall(r"\w+\[([\d,]*)\]", found.group(1)) if found else []
    return [int(np.prod([int(x) for x in shape.split(",") if x])) for shape in shapes]
