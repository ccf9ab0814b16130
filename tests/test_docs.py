"""README and docs tell the truth: counts, examples, commands."""

import re

import pytest

import run_bench
from benchmarks import check, records
from models import registry
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("name", registry.PAPER_TABLE)
def test_readme_counts(name):
    (row,) = re.findall(rf"^\| `{name}` \|.*$", README, re.MULTILINE)
    spec, published = registry.get(name), records.load_published()[name]
    per_image, generator = spec.macs()
    cells = [f"{published['test_error']:.2f} %", f"{sum(spec.parameters().values()):,}", f"{published['params'] / 1e6:.3f} M",
             f"{per_image:,}", f"{generator:,}"]  # fmt: skip
    assert [cell.strip() for cell in row.strip("|").split("|")][1:] == cells


def test_readme_commands_parse():
    commands = re.findall(r"^ {4}.*python run_bench\.py ([^#&\n]+)", README, re.MULTILINE)
    assert len(commands) >= 9
    for command in commands:
        run_bench.make_parser().parse_args(command.split())


def test_documented_plugins_pass_their_checks(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_PLUGINS", {})
    monkeypatch.setattr(registry, "KERNELS", dict(registry.KERNELS))
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "adding-a-model.md").read_text(), re.DOTALL)
    for number, block in enumerate(blocks):
        file = tmp_path / f"plugin{number}.py"
        file.write_text(block)
        registry.load_plugin(str(file))
    assert set(registry._PLUGINS) == {"scaled_resnet16_1", "scaled_resnet20", "small_cnn"}
    for name in registry._PLUGINS:
        assert [problem for _, problem in check.run(name) if problem] == []
