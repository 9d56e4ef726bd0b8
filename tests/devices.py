"""Processes of their own in which JAX sees several devices, made of one host's cores.

Their flags and compilation cache are those that conftest gave this process.
"""

import functools
import json
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


CHECKS = """
import importlib, json, sys, traceback
module = importlib.import_module(sys.argv[1])
for name in sys.argv[2:]:
    try:
        said = getattr(module, name)()
    except Exception:
        said = traceback.format_exc()
    print("check", json.dumps([name, said]), flush=True)
"""


@functools.cache  # one process for all checks: most of its time it imports and compiles
def checked(module: str, functions: tuple[str, ...], devices: int) -> dict[str, str | None]:
    """What each of `module`'s functions, which assert, says where there are so many devices.

    None is well; else it is what went wrong.
    """
    done = subprocess.run(
        [sys.executable, "-c", CHECKS, module, *functions], env=environment(devices),
        capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    lines = [line for line in done.stdout.splitlines() if line.startswith("check ")]
    found = dict(json.loads(line.removeprefix("check ")) for line in lines)
    lost = f"the process ended, status {done.returncode}:\n{done.stderr[-4000:]}"
    return {name: found.get(name, lost) if done.returncode else found[name] for name in functions}
