"""What a record needs to be reproduced: package versions and the device."""

import functools
import os
import platform
from importlib.metadata import PackageNotFoundError, version

import jax

_PACKAGES = ("gradmatch-jax", "jax", "jaxlib", "flax", "optax", "numpy")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a result."""
    return {"python": platform.python_version()} | {name: _version(name) for name in _PACKAGES}


@functools.cache  # it reads files, and every run asks
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def device_name() -> str:
    """The accelerator's name, or the processor and how many cores JAX sees."""
    device = jax.devices()[0]
    if device.platform != "cpu":
        return f"{device.device_kind} x{jax.device_count()}"
    return f"{_processor()} ({cores()} cores)"


@functools.cache
def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            names = [
                line.split(":", 1)[1].strip() for line in file if line.startswith("model name")
            ]
        return names[0] if names else platform.machine()
    except OSError:
        return platform.processor() or platform.machine()


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
