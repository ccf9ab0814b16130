"""What `auto` means: by the device, its arithmetic, and the compilers that are installed."""

import pytest
import torch

from benchmarks.runs import settings
from benchmarks.runs.settings import resolve_settings


@pytest.fixture
def gpu(monkeypatch):
    """As if there were one; nothing is run on it."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)


@pytest.fixture
def installed(monkeypatch):
    """The programs that there are."""
    names: set[str] = set()
    monkeypatch.setattr(settings.shutil, "which", lambda name: name if name in names else None)
    for variable in ("CC", "CXX"):
        monkeypatch.delenv(variable, raising=False)
    return names


@pytest.mark.parametrize(
    "device, compilers, mode",
    [
        ("cuda", {"gcc"}, "graph"),
        ("cuda", {"clang"}, "graph"),
        ("cuda", {"g++"}, "off"),
        ("cpu", {"g++"}, "default"),
        ("cpu", {"gcc"}, "off"),
    ],
)
def test_without_a_compiler_everything_is_eager(gpu, installed, device, compilers, mode):
    installed |= compilers
    used = resolve_settings(device, "auto", "auto")
    assert used.compile == mode
    assert any("compiler found: eager" in text for text in used.fallbacks) == (mode == "off")


def test_what_is_asked_for_is_not_second_guessed(gpu, installed):
    assert resolve_settings("cuda", "auto", "graph").compile == "graph"


@pytest.mark.parametrize("native, precision", [(True, "bf16"), (False, "fp32")])
def test_bf16_that_is_emulated_is_not_chosen(gpu, installed, monkeypatch, native, precision):
    def supported(including_emulation):
        return native or including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert resolve_settings("cuda", "auto", "off").precision == precision
    assert resolve_settings("cuda", "bf16", "off").precision == "bf16"
