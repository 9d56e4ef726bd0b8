"""The examples in docstrings run and say what they say.

Found in the source, not in the imported module: doctest's own search passes over jitted functions.
"""

import ast
import doctest
import importlib
from pathlib import Path

import pytest

import gradmatch_jax

PACKAGE = Path(gradmatch_jax.__file__).parent
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef)


def examples():
    """(module, docstring) of every docstring with an example."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        module = ".".join(parts).removesuffix(".__init__")
        source = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(source)) if ">>>" in source else ():
            text = ast.get_docstring(node) if isinstance(node, DOCUMENTED) else None
            if text and ">>>" in text:
                yield pytest.param(module, text, id=f"{module}:{getattr(node, 'name', '')}")


@pytest.mark.parametrize(("module", "text"), list(examples()))
def test_example(module, text):
    names = dict(vars(importlib.import_module(module)))
    test = doctest.DocTestParser().get_doctest(text, names, module, module, 0)
    said = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    runner.run(test, out=said.append)
    assert not runner.failures, "".join(said)
