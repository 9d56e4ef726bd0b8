"""Compiled programs are kept between commands: what one has compiled, the next one loads.

A newcomer waits for compilation before anything else. JAX's persistent cache, which it leaves off,
brings a repeated command from minutes of it to seconds.
"""

import importlib.util
import os
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import tyro

from gradmatch_jax.errors import UserError
from gradmatch_jax.inputs.values import as_path

VARIABLE = "GRADMATCH_JAX_CACHE"
OFF = "off"

# XLA would try dozens of kernels of its own for every product before it takes one; cuBLAS's are as
# quick for those of a selection, and there is nothing to try. On an H200 a per-class selection
# compiles in 10 s for 38, and takes as long.
TRITON = "--xla_gpu_enable_triton_gemm"
_CUDA = ("jax_cuda12_plugin", "jax_cuda13_plugin")

# XLA's newer way of making kernels for a CPU, which jaxlib before 0.11 can still go without: a
# selection then compiles in half the time, and takes as long, as training does.
EMITTERS = "--xla_cpu_use_fusion_emitters"
_ALWAYS_THEIRS = (0, 11)

# As every subcommand has it.
CompilationCache = Annotated[
    str | None,
    tyro.conf.arg(help=f"Folder of compiled programs, or {OFF}. None: ${VARIABLE}, or your own."),
]


def keep_compiled(asked: str | None) -> Path | None:
    """Turn JAX's persistent cache on; returns its folder, or None where it is off.

    Where JAX has a plugin for GPUs, products are left to cuBLAS, and an older jaxlib makes kernels
    for a CPU in the way that compiles in half the time; unless XLA_FLAGS say otherwise.

    Args:
        asked: a folder, "off", or None for $GRADMATCH_JAX_CACHE, for $JAX_COMPILATION_CACHE_DIR
          where that is set, and for the user's cache directory otherwise.

    Raises:
        UserError: the folder named cannot be written. The user's own is then simply not used.
    """
    _set_flags()
    named = asked or os.environ.get(VARIABLE)
    if named == OFF:
        return None
    if named is None and os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return Path(os.environ["JAX_COMPILATION_CACHE_DIR"])
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = as_path("--compilation-cache", named or base / "gradmatch-jax" / "compiled")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(f"{folder} cannot be written")
    except OSError as error:
        if named:
            raise UserError(f"compilation cache: {error}; name another folder or {OFF}") from error
        return None
    import jax

    jax.config.update("jax_compilation_cache_dir", str(folder))
    # JAX keeps what took a second or more; here a hundred programs take less than a tenth each.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return folder


def _set_flags() -> None:
    """XLA reads them as it starts."""
    flags = os.environ.get("XLA_FLAGS", "")
    jaxlib = tuple(int(part) for part in version("jaxlib").split(".")[:2])
    wanted = {
        TRITON: any(map(importlib.util.find_spec, _CUDA)),
        EMITTERS: jaxlib < _ALWAYS_THEIRS,  # later ones do not know the flag
    }
    added = [f"{flag}=false" for flag, holds in wanted.items() if holds and flag not in flags]
    if added:
        os.environ["XLA_FLAGS"] = " ".join([flags, *added]).strip()
