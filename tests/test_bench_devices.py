"""The benches of devices and of another commit, in small."""

from dataclasses import replace

import pytest

from experiments.bench import beside, devices, half_pass
from experiments.records import append, stamp
from gradmatch_jax.errors import UserError
from toys import LONG

SMALL = devices.Devices(scale=0.2, classes=3, features=6, batch_size=8, fraction=0.2)


@pytest.mark.thorough
@pytest.mark.parametrize("variant", ["per-class", "per-batch", "craig", "glister"])
def test_a_selection_on_one_device(variant):
    record = devices.select(SMALL, variant, 1)
    assert record["n"] % devices.EVEN == 0
    assert record["k"] == round(0.2 * record["n"])
    assert record["bytes_per_device"] == 0


def test_what_is_measured_is_not_measured_again(tmp_path):
    args = replace(SMALL, results=tmp_path / "records.jsonl")
    made = {"variant": "craig", "devices": 2, "seconds": 1.0}
    append(args.results, made | stamp(args, 0.0))
    append(args.results, {"variant": "craig", "devices": 4} | stamp(replace(args, scale=0.3), 0.0))
    assert set(devices.measured(args)) == {("craig", 2)}
    assert set(devices.measured(replace(args, devices=(2,), variants=("craig",)))) == {("craig", 2)}


def test_devices_that_are_not_there():
    with pytest.raises(UserError, match="leave out --devices 64"):
        devices.placed(devices.problem(SMALL)[0], 64)


def test_what_is_moved_grows_with_the_devices_to_all_there_is():
    args = devices.Devices(scale=0.1)
    for variant in ("per-class", "craig", "glister"):  # not all of per-batch's grows
        sent = [devices.moved(args, variant, count, 128_000) for count in (1, 2, 4, 8)]
        assert sent == sorted(set(sent)), variant
        assert sent[3] == pytest.approx(sent[1] * (7 / 8) / (1 / 2), rel=1e-3)


def test_a_commit_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="--revision nowhere"):
        beside.unpack("nowhere", tmp_path)


@pytest.mark.thorough
@LONG
def test_a_pass_in_half_precision_is_matched_as_well():
    args = half_pass.HalfPass(classes=5, scale=0.05, features=6)
    source = next(half_pass.sources(args, 0))
    exact, *halves = half_pass.compared(source, "gradmatch", 0.1, args.dtypes, 0)
    assert (exact["same"], exact["dtype"]) == (1.0, "float32")
    for record in halves:
        assert record["per_class"] == pytest.approx(exact["per_class"], rel=0.1)
        assert record["same"] > 0.5
