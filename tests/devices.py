"""Processes of their own in which JAX sees several devices, made of one host's cores.

Their flags and compilation cache are those that conftest gave this process.
"""

import os
import socket
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


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return found.getsockname()[1]


def checked(module: str, function: str, devices: int) -> str:
    """What `module.function()`, which asserts, prints where there are `devices` of them."""
    code = f"import {module}; {module}.{function}()"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(devices), capture_output=True, text=True,
        timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout
