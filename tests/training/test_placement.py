"""Training and passes over several devices answer as on one."""

import jax
import numpy as np
import pytest

from devices import checked
from gradmatch_jax.errors import UserError
from gradmatch_jax.training.placement import ONE, Placement, everywhere
from toys import LONG

CHECKS = ("placing", "training", "passes")


@pytest.mark.thorough
@LONG
@pytest.mark.parametrize("devices", [8, 2])
@pytest.mark.parametrize("check", CHECKS)
def test_several_devices_answer_as_one(check, devices):
    said = checked("placed", CHECKS, devices)[check]
    assert said is None, said


def test_one_device_is_left_alone():
    """Nothing is copied, wrapped or placed: the arrays are the very same."""
    if jax.device_count() > 1:
        pytest.skip("there are several devices here")
    assert everywhere() is ONE
    assert everywhere(1) is ONE
    with pytest.raises(UserError, match="--devices 2: there are 1 here"):
        everywhere(2)
    assert Placement() == ONE
    assert ONE.outputs == {}
    x, tree = np.arange(3), {"a": jax.numpy.ones(2), "b": 1}
    assert ONE.split(x) is x
    assert ONE.replicate(tree) is tree
