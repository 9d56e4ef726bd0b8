"""Selections over several devices are those of one."""

import jax.numpy as jnp
import numpy as np
import pytest

from devices import checked
from gradmatch_jax.gradients import LastLayerGradients
from gradmatch_jax.selection.spread import mesh_of, up_to
from toys import LONG

RARE = ("per_class", "uneven", "split")
# "memory" is last: it changes what is too little to spread.
CHECKS = ("moved", "memory")


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("check", "checks"),
    [
        *(pytest.param(check, RARE, marks=LONG, id=check) for check in RARE),
        *(pytest.param(check, CHECKS, id=check) for check in CHECKS),
    ],
)
def test_several_devices_pick_as_one(check, checks):
    said = checked("spread_selections", checks, 8)[check]
    assert said is None, said


def test_one_device_has_no_mesh():
    """So the programs of before are compiled, and nothing is looked at in any array."""
    assert mesh_of(LastLayerGradients(jnp.ones((3, 2)), jnp.ones((3, 1)))) is None
    assert mesh_of(np.ones((3, 2))) is None
    assert up_to(7, None) == 7
