"""Energy in joules, from the counters of the CPU (RAPL) and the GPUs (NVML) that pyJoules reads.

What cannot be measured is not estimated: the energy is then nan, and `Meter.source` says why.
"""

import importlib
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax


class Counter(NamedTuple):
    """A counter that only grows, but for starting again at 0."""

    name: str
    read: Callable[[], float]  # joules
    wraps_at: float  # joules; inf: never


class Meter(NamedTuple):
    """The counters of this machine whose sum is what the work costs."""

    counters: tuple[Counter, ...]
    source: str  # the counters' names, or "unavailable: why"

    def read(self) -> tuple[float, ...]:
        """Joules so far, one a counter; nan for one that cannot be read any more."""
        return tuple(map(_read, self.counters))

    def since(self, start: Sequence[float]) -> float:
        """Joules spent since `start`, an earlier `read()`; nan where nothing is measured.

        A counter that stands below its start has wrapped around, once: RAPL's do at some 260 kJ,
        20 minutes at 200 W, so a longer stretch must be read in parts.
        """
        if not self.counters:
            return math.nan
        spent = 0.0
        for counter, before, now in zip(self.counters, start, self.read(), strict=True):
            spent += now - before if now >= before else now - before + counter.wraps_at
        return spent if math.isfinite(spent) else math.nan


def find_meter() -> Meter:
    """The CPU packages with their memory and, where JAX runs on them, the visible GPUs.

    RAPL's core and uncore domains are parts of a package, and are not counted twice.
    """
    counters: list[Counter] = []
    missing: list[str] = []
    gpu = jax.default_backend() == "gpu"
    for find in (_rapl, _nvml) if gpu else (_rapl,):
        try:
            counters.extend(find())
        except _Unavailable as error:
            missing.append(str(error))
    if not counters:
        return Meter((), f"unavailable: {'; '.join(missing)}")
    names = " + ".join(counter.name for counter in counters)
    return Meter(tuple(counters), "; ".join([names, *(f"without {why}" for why in missing)]))


class _Unavailable(Exception):
    """Why a kind of counter is not to be had here."""


def _read(counter: Counter) -> float:
    try:
        return counter.read()
    except Exception:  # whatever the driver raises: a run does not end for want of its meter
        return math.nan


def _import(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        hint = "pip install 'gradmatch-jax[energy]'"
        raise _Unavailable(f"{error.name or module} is not installed ({hint})") from error


def _rapl() -> list[Counter]:
    """A counter a package and one a package's memory, in microjoules."""
    rapl = _import("pyJoules.device.rapl_device")
    try:
        found = rapl.RaplDevice.available_package_domains()
        found += rapl.RaplDevice.available_dram_domains()
    except OSError as error:
        raise _Unavailable(f"RAPL ({error})") from error
    if not found:
        raise _Unavailable(f"RAPL (no package in {rapl.RAPL_API_DIR})")
    counters = []
    for domain in found:
        device = rapl.RaplDevice()
        device.configure(domains=[domain])
        # pyJoules does not say where a counter wraps; the file beside the one it reads does.
        file = Path(device._api_file_names[0])
        try:
            most = float(file.with_name("max_energy_range_uj").read_text())
            device.get_energy()
        except (OSError, ValueError) as error:
            raise _Unavailable(
                f"RAPL ({error}; its files are root's unless made readable)"
            ) from error
        counters.append(Counter(str(domain), _reader(device, 1e-6), most * 1e-6))
    return counters


def _nvml() -> list[Counter]:
    """A counter a GPU that this process may use, in millijoules."""
    nvidia = _import("pyJoules.device.nvidia_device")  # needs nvidia-ml-py
    pynvml = _import("pynvml")
    counters = []
    try:
        for domain in nvidia.NvidiaGPUDevice.available_domains():
            handle = pynvml.nvmlDeviceGetHandleByIndex(domain.device_id)
            if not _visible(domain.device_id, str(pynvml.nvmlDeviceGetUUID(handle))):
                continue
            device = nvidia.NvidiaGPUDevice()
            device.configure(domains=[domain])
            device.get_energy()
            counters.append(Counter(str(domain), _reader(device, 1e-3), math.inf))
    except Exception as error:  # NVML's own errors and pyJoules': all say that there is no counter
        raise _Unavailable(f"NVML ({error or type(error).__name__})") from error
    if not counters:
        raise _Unavailable("NVML (no visible GPU)")
    return counters


def _visible(index: int, uuid: str) -> bool:
    """Whether CUDA_VISIBLE_DEVICES, by NVML's order or by UUID, leaves the GPU to this process."""
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is None:
        return True
    names = [name.strip() for name in listed.split(",")]
    return str(index) in names or any(name and uuid.startswith(name) for name in names)


def _reader(device: Any, unit: float) -> Callable[[], float]:
    return lambda: float(device.get_energy()[0]) * unit
