"""The notebooks of the documentation run from top to bottom, and are kept without what came out."""

from pathlib import Path

import pytest

from toys import LONG

nbformat = pytest.importorskip("nbformat")
NOTEBOOKS = sorted((Path(__file__).parents[1] / "docs" / "notebooks").glob("*.ipynb"))


def test_there_are_two():
    assert [path.stem for path in NOTEBOOKS] == ["first_run", "own_loop"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_output_is_kept(path):
    cells = [c for c in nbformat.read(path, 4).cells if c.cell_type == "code"]
    assert cells
    assert not any(cell.outputs or cell.execution_count for cell in cells)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "path",
    [pytest.param(x, marks=LONG if x.stem == "own_loop" else (), id=x.stem) for x in NOTEBOOKS],
)
def test_it_runs(path, tmp_path, monkeypatch):
    """With a picture below every cell that plots; each is meant to take less than a minute."""
    pytest.importorskip("ipykernel")
    client = pytest.importorskip("nbclient")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(path, 4)
    client.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()
    plotting = [c for c in notebook.cells if c.cell_type == "code" and "plt.show" in c.source]
    assert plotting
    for cell in plotting:
        kinds = {kind for output in cell.outputs for kind in output.get("data", {})}
        assert "image/png" in kinds, cell.source
