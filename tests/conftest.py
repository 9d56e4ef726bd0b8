"""Shared fixtures: where real data lies, and strict numerics."""

from pathlib import Path

import jax
import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"

jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real MNIST, CIFAR-10 and an Imagenette sample, where the checkout has them beside it."""
    if not SHARED.is_dir():
        pytest.skip("no ../shared/data beside the checkout: real-data test not run")
    return SHARED
