"""What a device tells about itself, peak memory, energy, the bounds of its data sheet, and how a process keeps a CPU's memory."""

import ctypes
import os
from pathlib import Path

import torch

PEAKS = {
    "NVIDIA H200": {"flops": 989e12, "bytes_per_s": 4.8e12},
    "NVIDIA H100 80GB HBM3": {"flops": 989e12, "bytes_per_s": 3.35e12},
    "NVIDIA A100-SXM4-80GB": {"flops": 312e12, "bytes_per_s": 2.039e12},
}
"""bf16 dense tensor-core FLOP/s and memory bytes/s of NVIDIA's data sheets (H200, H100 SXM, A100 80GB SXM)."""

TRAFFIC_MODEL = "15 passes over every convolution's output (training_bytes in models/ledger.py)"

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # mallopt(3)


def keep_freed_memory() -> bool:
    """Let this process keep what it frees on a CPU; whether the C library can be told so (glibc can).

    By itself glibc gives it back to the system, so that each step pays again for the first touch of every page of its activations
    (docs/performance.md). Tensors beyond 32 MiB, glibc's bound, are mapped and given back still.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    return mallopt is not None and all(
        [mallopt(_M_MMAP_THRESHOLD, 2**25), mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)]
    )


def reset_peak_memory(device: torch.device) -> None:
    """Begin a new peak. On a CPU it is the process's resident memory, which Linux lets it reset."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif (place := Path("/proc/self/clear_refs")).exists():
        place.write_text("5")


def peak_memory(device: torch.device) -> int | None:
    """Peak bytes since the reset: allocated by torch on CUDA, resident on Linux; None elsewhere."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    lines = [line.split() for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(lines[0][1]) * 1024 if lines else None


class EnergyMeter:
    """Joules that a CUDA device has used since its driver was loaded, by NVML; None where there is no NVML or no counter."""

    def __init__(self, device: torch.device):
        self.nvml, self.handle = None, ctypes.c_void_p()
        if device.type != "cuda":
            return
        try:
            nvml = ctypes.CDLL("libnvidia-ml.so.1")
        except OSError:
            return
        uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}".encode()
        if (
            nvml.nvmlInit_v2() == 0
            and nvml.nvmlDeviceGetHandleByUUID(uuid, ctypes.byref(self.handle)) == 0
        ):
            self.nvml = nvml

    def __call__(self) -> float | None:
        if self.nvml is None:
            return None
        millijoules = ctypes.c_ulonglong()
        found = self.nvml.nvmlDeviceGetTotalEnergyConsumption(
            self.handle, ctypes.byref(millijoules)
        )
        return millijoules.value / 1000 if found == 0 else None


def shares_of_peak(device_name: str, images_per_s: float, flops: float, traffic: float) -> dict:
    """Which share of the device's arithmetic and bandwidth a training step reaches; `flops` and `traffic` are per image.

    Null where the device's peak is not known. `traffic` is modelled, not counted; the record names the model.
    """
    peak = PEAKS.get(device_name)
    return {
        "flops_per_image": flops,
        "modelled_bytes_per_image": traffic,
        "traffic_model": TRAFFIC_MODEL,
        "share_of_peak_flops": images_per_s * flops / peak["flops"] if peak else None,
        "share_of_peak_bandwidth": images_per_s * traffic / peak["bytes_per_s"] if peak else None,
    }
