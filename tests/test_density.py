"""The rules of how a page of code looks, as far as a syntax tree can tell."""

import ast
from collections.abc import Iterator

import pytest

from tests.conftest import ROOT

ROOMS = ("benchmarks", "models")
FILES = [*(path for room in ROOMS for path in (ROOT / room).rglob("*.py")), ROOT / "run_bench.py"]
NAMES = sorted(str(path.relative_to(ROOT)) for path in FILES)

SCREEN = 60
"""The most lines that a function may have, its signature and docstring included."""
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def problems(text: str) -> Iterator[str]:
    """What breaks the rules in a file: the line and the rule."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, COMPREHENSIONS):
            if len(node.generators) > 1:
                yield f"line {node.lineno}: a comprehension has more than one `for`"
            if any(isinstance(inner, ast.NamedExpr) for inner in ast.walk(node)):
                yield f"line {node.lineno}: a comprehension has a walrus"
        if isinstance(node, FUNCTIONS):
            lines = node.end_lineno - node.lineno + 1
            if lines > SCREEN:
                yield f"line {node.lineno}: {node.name} has {lines} lines, more than {SCREEN}"
    for number, line in enumerate(text.splitlines(), start=1):
        if "# fmt: " in line:
            yield f"line {number}: the formatter is switched off"


@pytest.mark.parametrize("name", NAMES)
def test_pages_are_not_dense(name):
    assert list(problems((ROOT / name).read_text())) == []


@pytest.mark.parametrize(
    "text, message",
    [
        ("x = [a for b in c for a in b]", "more than one `for`"),
        ("x = {a: b for a in c if (b := a)}", "a walrus"),
        ("x = sum((y := a) for a in c)", "a walrus"),
        ("x = 1  # fmt: skip", "the formatter is switched off"),
        ("def long():\n" + "    x = 1\n" * SCREEN, "long has 61 lines"),
    ],
)
def test_a_rule_that_is_broken_is_seen(text, message):
    (problem,) = problems(text)
    assert message in problem


def test_what_is_allowed_is_let_through():
    text = "if (x := f()):\n    y = [[a for a in b] for b in x]\n"
    function = "def short():\n" + "    x = 1\n" * (SCREEN - 1)
    assert list(problems(text)) == list(problems(function)) == []
