"""Names, pairs, refusals, plugins."""

import pytest

from benchmarks import records
from models import registry


@pytest.fixture
def clean_registry(monkeypatch):
    monkeypatch.setattr(registry, "_PLUGINS", {})
    monkeypatch.setattr(registry, "KERNELS", dict(registry.KERNELS))


def test_pairs():
    assert registry.get("hyper_resnet40_2").pair == "wide_resnet40_2"
    assert registry.get("hyper_resnet22_3_projection").pair == "wide_resnet22_3_projection"
    assert registry.get("wide_resnet40_2").pair is None


def test_paper_rows_are_published():
    published = records.load_published()
    errors = [published[name]["test_error"] for name in registry.PAPER_TABLE]
    assert errors == [6.73, 8.02, 5.66, 7.23]
    for name in registry.PAPER_TABLE:
        assert round(sum(registry.get(name).parameters().values()), -3) == published[name]["params"]


@pytest.mark.parametrize(
    "name, message",
    [
        ("wide_resnt40_1", "nearest: wide_resnet40_1"),
        ("wide_resnet41_1", "depth 41 is not 6n"),
        ("wide_resnet40_0", "width 0"),
        ("../../x", "unknown model"),
        ("", "unknown model"),
    ],
)
def test_unknown_names(name, message):
    with pytest.raises(registry.RegistryError, match=message):
        registry.get(name)


def test_duplicates_and_bad_rows(clean_registry):
    registry.register(registry.ModelSpec("mine", depth=10, channels=(8, 8, 8)))
    for spec, message in [
        (registry.ModelSpec("mine", depth=10, channels=(8, 8, 8)), "registered already"),
        (registry.ModelSpec("wide_resnet22_9", depth=22, channels=(8, 8, 8)), "registered already"),
        (registry.ModelSpec("a/b", depth=10, channels=(8, 8, 8)), "not allowed"),
        (registry.ModelSpec("b", kernels="none", depth=10, channels=(8, 8, 8)), "unknown kernels 'none'"),
        (registry.ModelSpec("c", pair="nobody", depth=10, channels=(8, 8, 8)), "unknown model 'nobody'"),
    ]:
        with pytest.raises(registry.RegistryError, match=message):
            registry.register(spec)


@pytest.mark.parametrize(
    "text, message",
    [("1 / 0", "raised ZeroDivisionError"), ("x = 1", "registered no model"), (None, "not a file")],
)
def test_bad_plugins(tmp_path, clean_registry, text, message):
    file = tmp_path / "plugin.py"
    if text is not None:
        file.write_text(text)
    with pytest.raises(registry.RegistryError, match=message):
        registry.load_plugin(str(file))
