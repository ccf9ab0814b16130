"""What a device tells: memory, its peak and its end, energy, its data sheet; and how freed memory
is kept.
"""

import ctypes
import os
from pathlib import Path

import pynvml
import torch

from benchmarks.system.faults import message_of

PEAKS = {
    "NVIDIA H200": {"flops": 989e12, "bytes_per_s": 4.8e12},
    "NVIDIA H100 80GB HBM3": {"flops": 989e12, "bytes_per_s": 3.35e12},
    "NVIDIA A100-SXM4-80GB": {"flops": 312e12, "bytes_per_s": 2.039e12},
}
"""Peak bf16 FLOP/s (dense, tensor cores) and memory bytes/s, of NVIDIA's data sheets (SXM)."""

TRAFFIC_MODEL = "15 passes over every convolution's output (training_bytes in models/ledger.py)"

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # mallopt(3)


def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees on a CPU.

    By default glibc returns it to the system, and each step pays again for the first touch of
    every page of its activations (docs/performance.md). Tensors of more than 32 MiB, glibc's
    bound, are still returned.

    Returns:
        Whether the C library has such a setting (glibc has).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is None:
        return False
    mapped = mallopt(_M_MMAP_THRESHOLD, 2**25)
    trimmed = mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    return bool(mapped and trimmed)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was refused.

    On CUDA torch's allocator raises its own type, on a CPU only the message tells.
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return "DefaultCPUAllocator: can't allocate memory" in message_of(error)


def reset_peak_memory(device: torch.device) -> None:
    """Begin a new peak. On a CPU it is the process's resident memory, which Linux lets it reset."""
    clear_refs = Path("/proc/self/clear_refs")
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif clear_refs.exists():
        clear_refs.write_text("5", encoding="utf-8")


def peak_memory(device: torch.device) -> int | None:
    """Peak bytes since the reset: allocated by torch on CUDA, resident on Linux; None elsewhere."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    lines = [line.split() for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(lines[0][1]) * 1024 if lines else None


class EnergyMeter:
    """Joules that a CUDA device has used since its driver was loaded, by NVML.

    None on a CPU, and where there is no NVML or the device has no such counter.
    """

    def __init__(self, device: torch.device):
        self.handle = None
        if device.type != "cuda":
            return
        uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
        try:
            pynvml.nvmlInit()
            self.handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        except pynvml.NVMLError:
            return

    def __call__(self) -> float | None:
        """Joules so far; None where there is no counter."""
        if self.handle is None:
            return None
        try:
            millijoules = pynvml.nvmlDeviceGetTotalEnergyConsumption(self.handle)
        except pynvml.NVMLError:
            return None
        return millijoules / 1000


def shares_of_peak(device_name: str, images_per_s: float, flops: float, traffic: float) -> dict:
    """The shares of the device's peak FLOP/s and bytes/s that a training step reaches.

    `flops` and `traffic` (bytes) are per image. The shares are None where the device's peak is
    not known. `traffic` is modelled, not counted; the record names the model.
    """
    peak = PEAKS.get(device_name)
    return {
        "flops_per_image": flops,
        "modelled_bytes_per_image": traffic,
        "traffic_model": TRAFFIC_MODEL,
        "share_of_peak_flops": images_per_s * flops / peak["flops"] if peak else None,
        "share_of_peak_bandwidth": images_per_s * traffic / peak["bytes_per_s"] if peak else None,
    }
