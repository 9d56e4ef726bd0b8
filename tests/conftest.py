"""Shared fixtures: where real data lies, strict numerics, one compilation cache for all workers."""

import os
import sys
import tempfile
import zlib
from importlib.metadata import version
from pathlib import Path

# Before JAX is imported: what one worker or child process compiles serves all the others, and XLA
# optimises little, since tests are small. One leg of CI runs with GRADMATCH_FULL_XLA=1.
CACHE = Path(tempfile.gettempdir()) / f"gradmatch-jax-tests-{os.getuid()}"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
# PyTorch's threads, of each worker as many as there are cores, wait for each other by spinning: its
# loop among the examples took 51 s of the cores, and 14 with one.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Where Python is told to write no bytecode, each worker and child process compiles JAX's sources
# anew, 5 s each: bytecode then goes beside that cache, and still nowhere near the sources.
if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix = str(CACHE / "bytecode")
    sys.dont_write_bytecode = False
if not os.environ.get("GRADMATCH_FULL_XLA"):
    flags = ["--xla_backend_optimization_level=0", "--xla_llvm_disable_expensive_passes=true"]
    flags.append("--xla_cpu_parallel_codegen_split_count=1")  # a quarter: the cores have workers
    if tuple(map(int, version("jaxlib").split(".")[:2])) < (0, 11):  # later ones know no other
        flags.append("--xla_cpu_use_fusion_emitters=false")  # a third of the time to compile
    os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *flags]).strip()

import jax  # noqa: E402
import pytest  # noqa: E402

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", os.environ.get("GRADMATCH_PROMOTION", "strict"))

# A worker takes a file at a time: these take minutes each, and begun last one would wait for them.
LONGEST = (
    "test_resume", "test_distributed", "test_examples", "test_layouts", "test_spread",
    "test_exhibits", "test_placement", "test_robustness", "test_torch", "test_docs", "test_signals",
    "test_inputs", "test_pursuit", "test_strategies",
)  # fmt: skip


def _in_share(item: pytest.Item) -> bool:
    """Whether GRADMATCH_LONG has it: 1 is all of the long tests, 3/32 one of 32 shares."""
    share = os.environ.get("GRADMATCH_LONG", "")
    if "/" not in share:
        return share == "1"
    number, shares = map(int, share.split("/"))
    return zlib.crc32(item.nodeid.encode()) % shares == number


@pytest.hookimpl(tryfirst=True)  # before pytest reads the marks for -m
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, the others as they stand; what is long is thorough, if it runs."""
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker("thorough")
            if not _in_share(item):
                item.add_marker(pytest.mark.skip(reason="GRADMATCH_LONG has not this one"))
    rank = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real MNIST, CIFAR-10 and an Imagenette sample, where the checkout has them beside it."""
    if not SHARED.is_dir():
        pytest.skip("no ../shared/data beside the checkout: real-data test not run")
    return SHARED
