"""Processes of their own in which JAX sees several devices, made of one host's cores."""

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent


def environment(devices: int) -> dict[str, str]:
    """Of a child process: `devices` host devices, and the parent's flags and cache."""
    flag = f"--xla_force_host_platform_device_count={devices}"
    return os.environ | {
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip(),
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join(
            [str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")]
        ),
    }


def checked(module: str, function: str, devices: int) -> str:
    """What `module.function()`, which asserts, prints where there are `devices` of them."""
    code = f"import conftest, {module}; {module}.{function}()"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(devices), capture_output=True, text=True,
        timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout
