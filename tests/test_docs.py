"""README and docs tell the truth: commands, examples, and the files and tests that they name."""

import json
import re
import shlex

import pytest

from benchmarks.cli.main import make_parser
from benchmarks.runs import check
from benchmarks.training import recipes
from models import registry
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
COMMAND = re.compile(r"^ {4}.*python run_bench\.py ([^#&\n]+)", re.MULTILINE)
NAMED = re.compile(r"`((?:benchmarks|models|tests|docs)/[\w./-]*)`")


def ids(page):
    return page.name


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_commands_parse(page):
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")  # commands of several lines
    for command in COMMAND.findall(text):
        make_parser().parse_args(shlex.split(command.replace("NAME", "hyper_resnet40_1")))


def test_the_readme_has_commands():
    assert len(COMMAND.findall(README)) >= 9


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_the_files_that_a_page_names_exist(page):
    named = NAMED.findall(page.read_text())
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_tests_that_the_page_of_promises_names_exist():
    sources = "".join(file.read_text() for file in (ROOT / "tests").rglob("test_*.py"))
    defined = set(re.findall(r"^def (test_\w+)", sources, re.MULTILINE))
    named = re.findall(r"`(test_\w+)`", (ROOT / "docs" / "reliability.md").read_text())
    assert len(named) >= 11 and set(named) <= defined


def test_the_readmes_recipe_is_a_recipe(tmp_path):
    (text,) = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    file = tmp_path / "longer.toml"
    file.write_text(text)
    recipe = recipes.load(str(file))
    assert (recipe.name, recipe.epochs, recipe.scaled.learning_rate) == ("longer", 60, 0.3)


def test_documented_plugins_pass_their_checks(tmp_path, own_models):
    page = (ROOT / "docs" / "adding-a-model.md").read_text()
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", page, re.DOTALL)):
        file = tmp_path / f"plugin{number}.py"
        file.write_text(block)
        registry.load_plugin(str(file))
    names = {"mixture_resnet16_1", "mixture_resnet20", "small_cnn", "fourier_net", "gru_296"}
    assert set(registry.PLUGIN_MODELS) == names
    for name in registry.PLUGIN_MODELS:
        assert [problem for _, problem in check.run(name) if problem] == []


def test_the_notebook_runs_and_has_no_outputs(monkeypatch):
    notebook = json.loads((ROOT / "docs" / "explore.ipynb").read_text(encoding="utf-8"))
    monkeypatch.chdir(ROOT / "docs")
    names: dict = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None
            exec("".join(cell["source"]), names)
    assert len(names["table"]) and len(names["rows"]) and len(names["orders"])
    assert set(names["rows"].columns) == {"mean", "std", "count"}


@pytest.mark.slow
def test_the_readmes_python_runs(tmp_path, monkeypatch, own_models):
    plugin, hub, script = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(plugin, {"__name__": "plugin"})
    assert [problem for _, problem in check.run("linear") if problem] == []
    exec(hub.replace('PATH = "."', f"PATH = {str(ROOT)!r}"), {})
    names: dict = {}
    exec(script, names)
    assert len(names["ended"]) == 2
