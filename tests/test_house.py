"""The house: imports point one way, files stay short, no public name is a module as well."""

import ast
import importlib
import inspect
import itertools
import pkgutil
import re
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import gradmatch_jax
import mutants
from gradmatch_jax import cli, gradients

PACKAGE = Path(gradmatch_jax.__file__).parent
ROOT = PACKAGE.parent

# A room may import from itself and from those before it.
FLOORS = (
    ("errors",),
    (
        "models",
        "data",
        "measure",
        "solvers",
        "settings",
        "inputs",
        "losses",
        "gradients",
        "projection",
    ),
    ("selection",),
    ("strategies",),
    ("training",),
    ("loops",),
    ("torch", "grain"),
    ("report",),
    ("sweep",),
    ("commands",),
    ("cli",),
)
FLOOR = {room: i for i, rooms in enumerate(FLOORS) for room in rooms}
# Among those of one floor: who may know whom.
NEIGHBOURS = {
    "torch": set(),
    "grain": set(),
    "models": set(),
    "data": {"inputs"},
    "measure": set(),
    "losses": {"inputs"},
    "projection": {"inputs"},
    "gradients": {"inputs", "losses", "solvers"},
    "solvers": {"settings", "inputs"},
    "settings": {"inputs"},
    "inputs": set(),
}


def imports(path: Path) -> set[str]:
    """The rooms of the package that a file imports from, inside functions and for types too."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            rooms |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            rooms |= {alias.name for alias in node.names}
    own = [name.split(".") for name in rooms if name.split(".")[0] == "gradmatch_jax"]
    return {parts[1] for parts in own if len(parts) > 1 and parts[1] in FLOOR}


def modules() -> list[Path]:
    return [path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.stem in FLOOR]


def test_every_room_has_a_floor():
    rooms = {p.stem for p in PACKAGE.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    assert rooms - {"__init__", "__main__"} == set(FLOOR)


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for other in imports(path) - {room}:
        assert FLOOR[other] <= FLOOR[room], f"{room} imports {other}, which stands above it"
        if FLOOR[other] == FLOOR[room]:
            assert other in NEIGHBOURS[room], f"{room} does not know {other}"


def test_solvers_know_no_flax():
    for path in (PACKAGE / "solvers").glob("*.py"):
        assert "flax" not in path.read_text(encoding="utf-8")


def test_files_stay_short():
    folders = ("gradmatch_jax", "experiments", "tests")
    files = [path for part in folders for path in (ROOT / part).rglob("*.py")]
    lengths = {str(p.relative_to(ROOT)): len(p.read_text().splitlines()) for p in files}
    assert not {name: n for name, n in lengths.items() if n >= 300}


def test_no_script_s_neighbour_hides_a_standard_module():
    """PyTorch and CORDS run scripts of experiments/bench: cProfile would import its profile.py."""
    folders = (ROOT / "experiments" / "bench", ROOT / "examples", ROOT / "tests")
    names = {path.stem for folder in folders for path in folder.glob("*.py")}
    assert len(names) > 30
    assert not names & sys.stdlib_module_names


def test_public_names():
    found = {m.name for m in pkgutil.iter_modules(gradmatch_jax.__path__)}
    assert not found & set(gradmatch_jax.__all__)
    for name in gradmatch_jax.__all__:
        value = getattr(gradmatch_jax, name)
        assert not inspect.ismodule(value), name
        assert value.__doc__, name
    assert callable(importlib.import_module("gradmatch_jax").omp)


@pytest.mark.parametrize("name", gradmatch_jax.__all__)
def test_public_functions_say_what_they_take_and_give(name):
    """Under headers that a documentation tool reads, with an example that test_docstrings runs."""
    value = getattr(gradmatch_jax, name)
    if inspect.isclass(value):
        return
    wanted = ("Args:", "Returns:", "Example:")
    # Python 3.13 takes the indentation off docstrings itself, others leave it to `getdoc`.
    lines = (inspect.getdoc(value) or "").splitlines()
    assert [part for part in wanted if part not in lines] == []


def test_the_map_is_the_tree():
    """CONTRIBUTING's map names every file of the package, and no other."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for path in modules():
        if path.name != "__init__.py":
            assert path.name in text or path.stem in text, f"{path.name} is not in the map"


def test_one_version(monkeypatch, capsys):
    """The project's file is where it is written; the citation repeats it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert gradmatch_jax.__version__ == project["version"]
    assert re.findall(r"^version: (.*)$", citation, re.MULTILINE) == [project["version"]]
    monkeypatch.setattr(sys, "argv", ["gradmatch-jax", "--version"])
    cli.main()
    assert capsys.readouterr().out == f"gradmatch-jax {project['version']}\n"


def requirements(text):
    """Of each name in a list of requirements, what it asks for: ranges, or versions."""
    found = {}
    for one in map(Requirement, text):
        found.setdefault(canonicalize_name(one.name), []).append(one)
    return found


def test_known_versions_are_of_every_dependency_and_in_its_range():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = itertools.chain(*project["optional-dependencies"].values())
    wanted = requirements([*project["dependencies"], *extras])
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    known = requirements(line for line in lines if not line.startswith("#"))
    assert wanted.keys() - known.keys() == {"gradmatch-jax"}, "which names its own extras"
    for name, ranges in wanted.items():
        for pinned in known.get(name, []):
            (version,) = (one.version for one in pinned.specifier)
            assert all(asked.specifier.contains(version) for asked in ranges), (name, version)


def test_annotations_are_offered_and_checked(pytestconfig):
    """Type checkers read the package's annotations, and every test runs against them."""
    assert (PACKAGE / "py.typed").is_file()
    assert "gradmatch_jax" in pytestconfig.getoption("--jaxtyping-packages")
    with pytest.raises(TypeError, match="Type-check error"):
        gradients.gram("not atoms")


def test_no_mutant_is_stale():
    """Each fault of `tests/mutants.py` still has the code that it edits, and its tests."""
    names = [mutant.name for mutant in mutants.MUTANTS]
    assert len(set(names)) == len(names)
    for mutant in mutants.MUTANTS:
        source = (PACKAGE / mutant.file).read_text(encoding="utf-8")
        mutated = mutants.mutate(source, mutant)
        assert mutated is not None, f"{mutant.name}: the code that it edits is gone"
        ast.parse(mutated)
        assert (ROOT / mutant.tests.split()[0]).exists(), mutant.name
