"""The machine and the versions that a record names."""

import platform
import re
from importlib import metadata
from pathlib import Path

import torch


def environment(device_type: str, **settings: object) -> dict:
    """The device and the versions; `settings` (precision, compile, ...) are added as they are."""
    on_gpu = device_type == "cuda"
    return {
        "device": device_name(device_type),
        "device_type": device_type,
        "cpu": cpu_name(),
        "cpu_features": cpu_features(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "torchvision": metadata.version("torchvision"),
        "cuda": torch.version.cuda if on_gpu else None,
        **settings,
    }


def device_name(device_type: str) -> str:
    """The name of the GPU, or of the processor."""
    return torch.cuda.get_device_name() if device_type == "cuda" else cpu_name()


def _cpuinfo(key: str) -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    match = re.search(rf"^{key}\s*:\s*(.*)$", text, re.MULTILINE)
    return match.group(1).strip() if match else ""


def cpu_name() -> str:
    """The processor's model name, or its architecture where none is told."""
    return _cpuinfo("model name") or platform.machine()


def cpu_features() -> list[str]:
    """The vector extensions that decide the speed."""
    wanted = (
        "avx2",
        "avx512f",
        "avx512_bf16",
        "avx512_fp16",
        "amx_tile",
        "amx_bf16",
        "amx_int8",
        "asimd",
        "bf16",
        "sve",
    )
    present = set((_cpuinfo("flags") or _cpuinfo("Features")).split())
    return [name for name in wanted if name in present]
