"""Every field of a configuration handed every kind of value: sound, or refused in one line."""

import dataclasses
import json
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from gradmatch_jax.errors import UserError
from gradmatch_jax.solvers.options import MatchingOptions, with_changes
from gradmatch_jax.training.config import TrainConfig, resolve

VALUES = [
    float("nan"), float("inf"), -1, 0, 1, 0.5, 10**20, 10**400, -(10**20), "", "x", None,
    "GradMatch", True, [], [1], {}, b"x", 1j, np.float32(0.5), np.int64(3), np.float32("nan"),
    np.zeros(2), np.array(2), Path("x"), "a\nb", "\udcff", "null\0", object(), Fraction(1, 2),
    Decimal("0.5"), Path, print, {1}, (0.5,), np.array("x"), np.datetime64("2026-01-01"), range(3),
]  # fmt: skip
FIELDS = [field.name for field in dataclasses.fields(TrainConfig)]


def said_of(call):
    """What a call is refused with; nothing where it is served."""
    try:
        call()
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.thorough
@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("strategy", ["gradmatch", "el2n-warm"])
def test_a_field_of_a_configuration(name, strategy):
    for value in VALUES:
        config = TrainConfig(strategy=strategy)
        object.__setattr__(config, name, value)  # past the annotations, which tests check

        def served(config=config):
            found = resolve(config, strict=False)
            json.dumps(found.to_json(), allow_nan=False)
            assert found == resolve(config, strict=False)

        said = said_of(served)
        assert len(said.splitlines()) <= 1
        assert len(said) < 500


@pytest.mark.thorough
@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(MatchingOptions)])
def test_an_option_of_the_solver(name):
    for value in VALUES:
        said = said_of(lambda value=value: with_changes(MatchingOptions(), {name: value}))
        assert len(said.splitlines()) <= 1
        assert len(said) < 300
        assert not said or name in said or "form" in said
