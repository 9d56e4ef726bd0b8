"""Whatever the devices and processes: the same selections and, to float tolerance, parameters."""

import subprocess
import sys

import numpy as np
import pytest

from devices import TESTS, environment, free_port
from layouts import NAMES, STREAMED
from toys import LONG, needs_grain

LAYOUTS = {"2 devices": (2, 1), "8 devices": (8, 1), "2 processes of 4": (4, 2)}


def started(folder, names, devices, processes):
    """Runs of these strategies in processes of `devices` each."""
    folder.mkdir()
    address = f"localhost:{free_port()}"
    for number in range(processes):
        own = [] if processes == 1 else [address, str(processes), str(number)]
        with (folder / f"{number}.log").open("w") as log:
            yield subprocess.Popen(
                [sys.executable, str(TESTS / "layouts.py"), str(folder), ",".join(names), *own],
                env=environment(devices), stdout=log, stderr=log,
            )  # fmt: skip


def finished(folder, names, devices, processes):
    children = list(started(folder, names, devices, processes))
    try:
        codes = [child.wait(timeout=1500) for child in children]
    finally:
        for child in children:
            child.kill()
    logs = "\n".join(path.read_text()[-2000:] for path in folder.glob("*.log"))
    assert codes == [0] * processes, logs
    return folder


def asked(request, layout=None):
    """The strategies that the tests to come want runs of, of one layout or any."""
    of = [item.callspec.params for item in request.session.items
          if "several" in item.fixturenames and not item.get_closest_marker("skip")]  # fmt: skip
    wanted = {params["name"] for params in of if layout in (None, params["several"])}
    return [name for name in NAMES if name in wanted]


@pytest.fixture(scope="module")
def one_device(request, tmp_path_factory):
    return finished(tmp_path_factory.mktemp("layouts") / "one", asked(request), 1, 1)


@pytest.fixture(scope="module", params=LAYOUTS)
def several(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("layouts") / "several"
    return finished(folder, asked(request, request.param), *LAYOUTS[request.param])


@pytest.mark.thorough
@LONG
@pytest.mark.parametrize("name", NAMES)
def test_the_layout_does_not_show(one_device, several, name):
    if name == STREAMED:
        needs_grain()
    with (
        np.load(one_device / name / "selection.npz") as wanted,
        np.load(several / name / "selection.npz") as found,
    ):
        assert len(wanted["history_indices"]) > len(wanted["indices"])
        for field in ("history_epochs", "history_indices", "indices"):
            np.testing.assert_array_equal(found[field], wanted[field])
        np.testing.assert_allclose(
            found["history_weights"], wanted["history_weights"], rtol=1e-3, atol=1e-4
        )
    with (
        np.load(one_device / name / "parameters.npz") as wanted,
        np.load(several / name / "parameters.npz") as found,
    ):
        assert wanted.files
        for field in wanted.files:
            np.testing.assert_allclose(found[field], wanted[field], rtol=1e-3, atol=1e-5)
