"""Where compiled programs are kept, and that the next command loads them."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gradmatch_jax.commands import compilation
from gradmatch_jax.commands.compilation import EMITTERS, OFF, TRITON, VARIABLE, keep_compiled
from gradmatch_jax.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def clean(monkeypatch, tmp_path):
    """A user without folders of their own, and JAX's setting as it was afterwards."""
    import jax

    before = jax.config.jax_compilation_cache_dir
    for name in (VARIABLE, "JAX_COMPILATION_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XLA_FLAGS", os.environ.get("XLA_FLAGS", ""))  # as it was, afterwards
    yield monkeypatch
    jax.config.update("jax_compilation_cache_dir", before)


def test_where(clean, tmp_path):
    assert keep_compiled(None) == tmp_path / "cache" / "gradmatch-jax" / "compiled"
    assert keep_compiled(str(tmp_path / "mine")) == tmp_path / "mine"
    assert keep_compiled(OFF) is None
    clean.setenv(VARIABLE, str(tmp_path / "by variable"))
    assert keep_compiled(None) == tmp_path / "by variable"
    clean.setenv(VARIABLE, OFF)
    assert keep_compiled(None) is None
    assert keep_compiled(str(tmp_path / "mine")) == tmp_path / "mine", "the option goes first"
    clean.delenv(VARIABLE)
    clean.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "of jax"))
    assert keep_compiled(None) == tmp_path / "of jax"


def test_a_folder_that_cannot_be(clean, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="compilation cache") as error:
        keep_compiled(str(tmp_path / "file" / "below"))
    assert "\n" not in str(error.value)
    clean.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert keep_compiled(None) is None, "the user's own is not asked for, and not missed"


@pytest.mark.thorough
def test_the_second_command_compiles_nothing_anew(tmp_path):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    environment |= {VARIABLE: str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
    kept = []
    for name in ("a", "b"):
        command = [
            sys.executable, "-m", "gradmatch_jax.cli", "train", "--strategy", "random",
            "--model", "logistic", "--epochs", "1", "--out", str(tmp_path / name),
        ]  # fmt: skip
        subprocess.run(command, env=environment, check=True, capture_output=True)
        kept.append({p.name for p in (tmp_path / "cache").rglob("*-cache")})
    assert any(name.startswith("jit_many-") for name in kept[0]), "the training steps"
    assert kept[1] == kept[0]


def flags() -> list[str]:
    return os.environ.get("XLA_FLAGS", "").split()


def test_products_on_a_gpu_are_left_to_cublas(clean, tmp_path):
    clean.setenv("XLA_FLAGS", "--xla_cpu_max_isa=AVX2")
    keep_compiled(OFF)
    assert flags()[0] == "--xla_cpu_max_isa=AVX2", "what the user set stays"
    if not any(map(importlib.util.find_spec, ("jax_cuda12_plugin", "jax_cuda13_plugin"))):
        assert f"{TRITON}=false" not in flags(), "nothing where there is no GPU"
    (tmp_path / "jax_cuda13_plugin").mkdir()
    clean.syspath_prepend(str(tmp_path))
    for _ in range(2):
        keep_compiled(OFF)
        assert flags().count(f"{TRITON}=false") == 1
    clean.setenv("XLA_FLAGS", f"{TRITON}=true")
    keep_compiled(OFF)
    assert [flag for flag in flags() if TRITON in flag] == [f"{TRITON}=true"], "the user's own word"


@pytest.mark.parametrize(("jaxlib", "off"), [("0.10.2", True), ("0.11.0", False), ("1.0", False)])
def test_an_older_jaxlib_is_spared_the_slower_way_of_making_kernels(clean, jaxlib, off):
    clean.setattr(compilation, "version", {"jaxlib": jaxlib}.__getitem__)
    clean.delenv("XLA_FLAGS", raising=False)
    for _ in range(2):
        keep_compiled(OFF)
        assert flags().count(f"{EMITTERS}=false") == off
    clean.setenv("XLA_FLAGS", f"{EMITTERS}=true")
    keep_compiled(OFF)
    assert f"{EMITTERS}=false" not in flags(), "the user's own word"


def test_the_installed_jaxlib_knows_the_flags(clean):
    clean.delenv("XLA_FLAGS", raising=False)
    keep_compiled(OFF)
    code = "import jax; print(int(jax.jit(lambda x: x + 1)(1)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "2"
