"""The meter, on the files and the driver that pyJoules reads, and runs stopped by energy."""

import itertools
import math
import sys

import pytest

from gradmatch_jax.data import load_dataset
from gradmatch_jax.errors import UserError
from gradmatch_jax.measure import energy
from gradmatch_jax.measure.energy import Counter, Meter, find_meter
from gradmatch_jax.training import build
from gradmatch_jax.training.config import TrainConfig
from gradmatch_jax.training.loop import train
from gradmatch_jax.training.schedule import cosine

SHORT = {"model": "logistic", "fraction": 0.5, "epochs": 8, "eval_every": 8, "batch_size": 50}


@pytest.fixture
def rapl(tmp_path, monkeypatch):
    """Linux's powercap files of two packages: microjoules; the first has core and memory."""
    module = pytest.importorskip("pyJoules.device.rapl_device")
    monkeypatch.setattr(module, "RAPL_API_DIR", str(tmp_path))

    def domain(path, name, spent):
        path.mkdir()
        (path / "name").write_text(name + "\n")
        (path / "energy_uj").write_text(f"{spent}\n")
        (path / "max_energy_range_uj").write_text("262143328850\n")

    domain(tmp_path / "intel-rapl:0", "package-0", 5_000_000)
    domain(tmp_path / "intel-rapl:0/intel-rapl:0:0", "core", 4_000_000)
    domain(tmp_path / "intel-rapl:0/intel-rapl:0:1", "dram", 1_000_000)
    domain(tmp_path / "intel-rapl:1", "package-1", 262_143_000_000)
    return tmp_path


def test_packages_and_memory_count_once_in_joules(rapl):
    meter = find_meter()
    assert meter.source == "package_0 + package_1 + dram_0"
    start = meter.read()
    assert start == pytest.approx((5.0, 262_143.0, 1.0))
    (rapl / "intel-rapl:0/energy_uj").write_text("7500000\n")
    (rapl / "intel-rapl:0/intel-rapl:0:0/energy_uj").write_text("6000000\n")  # core: in package 0
    (rapl / "intel-rapl:0/intel-rapl:0:1/energy_uj").write_text("1250000\n")
    assert meter.since(start) == pytest.approx(2.75)


def test_a_counter_that_starts_again_is_not_negative(rapl):
    meter = find_meter()
    start = meter.read()
    (rapl / "intel-rapl:1/energy_uj").write_text("671150\n")  # 0.328850 J to the range, 0.67115 on
    assert meter.since(start) == pytest.approx(1.0, abs=1e-6)


def test_a_counter_that_fails_later_gives_nan(rapl):
    meter = find_meter()
    start = meter.read()
    (rapl / "intel-rapl:1/energy_uj").unlink()
    assert math.isnan(meter.since(start))


def test_unreadable_and_absent_counters_say_why(rapl):
    (rapl / "intel-rapl:1/energy_uj").write_text("")
    meter = find_meter()
    assert meter.source.startswith("unavailable: RAPL (")
    assert meter.counters == ()
    assert math.isnan(meter.since(meter.read()))


def test_no_counters_say_why(tmp_path, monkeypatch):
    module = pytest.importorskip("pyJoules.device.rapl_device")
    monkeypatch.setattr(module, "RAPL_API_DIR", str(tmp_path / "absent"))
    assert find_meter().source == f"unavailable: RAPL (no package in {tmp_path / 'absent'})"


def test_without_pyjoules_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyJoules.device.rapl_device", None)
    assert "gradmatch-jax[energy]" in find_meter().source


def test_gpus_count_in_joules_where_visible(rapl, monkeypatch):
    """NVML's driver is played; the reader is pyJoules'. It counts in millijoules."""
    pynvml = pytest.importorskip("pynvml")
    spent = {0: 1000, 1: 2000, 2: 4000}
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: len(spent))
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda index: index)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetUUID", lambda handle: f"GPU-{handle}f00")
    monkeypatch.setattr(pynvml, "nvmlDeviceGetTotalEnergyConsumption", spent.__getitem__)
    monkeypatch.setattr(energy.jax, "default_backend", lambda: "gpu")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,GPU-2f")
    meter = find_meter()
    assert meter.source == "package_0 + package_1 + dram_0 + nvidia_gpu_0 + nvidia_gpu_2"
    start = meter.read()
    spent |= {0: 1500, 1: 9000, 2: 4250}
    monkeypatch.setattr(pynvml, "nvmlDeviceGetTotalEnergyConsumption", spent.__getitem__)
    assert meter.since(start) == pytest.approx(0.75)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert find_meter().source.endswith("dram_0; without NVML (no visible GPU)")


def ticking():
    """A meter that each reading moves on by a joule, so that each measured block costs one."""
    return Meter((Counter("ticks", itertools.count().__next__, math.inf),), "ticks")


@pytest.mark.thorough
def test_early_stop_spends_the_joules_of_another_run(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "find_meter", ticking)
    digits = load_dataset("digits")

    def go(name, out=None, **settings):
        return train(TrainConfig(strategy=name, **SHORT | settings), out, dataset=digits)

    like = tmp_path / "warm"
    warm = go("gradmatch-warm", like, select_every=2).summary
    assert warm["joules"] == 8  # two full epochs, four on subsets, two selections
    assert warm["energy_source"] == "ticks"
    spend = {"like": like, "like_by": "energy", "epochs": 20}
    stopped = go("full-earlystop", tmp_path / "stopped", **spend)
    assert [row["joules"] for row in stopped.log] == [*range(1, 9)]
    assert stopped.log[-1]["lr"] == cosine(0.01, 7 / 20), "the long run's schedule"
    fitted = go("full-earlystop-fitted", **spend)
    assert [row["lr"] for row in fitted.log] == [cosine(0.01, i / 8) for i in range(8)]
    monkeypatch.setattr(build, "find_meter", lambda: Meter((), "unavailable: no counters"))
    with pytest.raises(UserError, match="ticks; here: unavailable: no counters"):
        go("full-earlystop", **spend)
    unmeasured = tmp_path / "unmeasured"
    assert go("random", unmeasured).summary["joules"] is None
    with pytest.raises(UserError, match="same meter in both"):
        go("full-earlystop", **spend | {"like": unmeasured})


@pytest.mark.thorough
def test_a_meter_that_dies_ends_a_run_that_depends_on_it(tmp_path, monkeypatch):
    digits = load_dataset("digits")
    monkeypatch.setattr(build, "find_meter", ticking)
    train(TrainConfig(strategy="random", **SHORT), tmp_path / "like", dataset=digits)
    dead = Meter((Counter("ticks", lambda: math.nan, math.inf),), "ticks")
    monkeypatch.setattr(build, "find_meter", lambda: dead)
    config = TrainConfig(
        strategy="full-earlystop", like=tmp_path / "like", like_by="energy", **SHORT
    )
    with pytest.raises(UserError, match="stopped answering"):
        train(config, dataset=digits)
