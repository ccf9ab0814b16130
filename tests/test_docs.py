"""README and docs tell the truth: examples, commands."""

import re

import run_bench
from benchmarks.runs import check
from models import registry
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()


def test_readme_commands_parse():
    commands = re.findall(r"^ {4}.*python run_bench\.py ([^#&\n]+)", README, re.MULTILINE)
    assert len(commands) >= 9
    for command in commands:
        run_bench.make_parser().parse_args(command.split())


def test_documented_plugins_pass_their_checks(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_PLUGINS", {})
    monkeypatch.setattr(registry, "KERNELS", dict(registry.KERNELS))
    blocks = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs" / "adding-a-model.md").read_text(), re.DOTALL
    )
    for number, block in enumerate(blocks):
        file = tmp_path / f"plugin{number}.py"
        file.write_text(block)
        registry.load_plugin(str(file))
    assert set(registry._PLUGINS) == {"mixture_resnet16_1", "mixture_resnet20", "small_cnn"}
    for name in registry._PLUGINS:
        assert [problem for _, problem in check.run(name) if problem] == []
