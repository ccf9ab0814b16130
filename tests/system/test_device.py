"""What a device tells, and how freed memory is kept."""

import mmap
import platform
import subprocess
import sys
from types import SimpleNamespace

import pynvml
import pytest
import torch

from benchmarks.system import device
from tests.conftest import ROOT

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


TOUCHES = """
import resource, torch
from benchmarks.system import device
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        activations = [torch.ones(2**21) for _ in range(16)]
        del activations
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
given_back, keeps = faults(), device.keep_freed_memory()
faults()  # the first touch
print(given_back, keeps, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_freed_memory_is_kept():
    """Sixteen tensors of 8 MiB, five times: by default a fault for each page of at most 2 MiB."""
    out = subprocess.run(
        [sys.executable, "-c", TOUCHES], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    given_back, keeps, kept = out.split()
    assert int(given_back) >= 5 * 64 and keeps == "True" and int(kept) < 64


def test_peak_memory_begins_anew():
    device.reset_peak_memory(CPU)
    before = device.peak_memory(CPU)
    if before is None:
        pytest.skip("no /proc here")
    with mmap.mmap(
        -1, 64 * 2**20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    ) as block:  # malloc may have some left
        block.write(b"1" * len(block))
        assert device.peak_memory(CPU) - before >= 60 * 2**20
    device.reset_peak_memory(CPU)
    assert device.peak_memory(CPU) < before + 32 * 2**20


def test_shares_of_peak_by_hand():
    shares = device.shares_of_peak("NVIDIA H200", 1000.0, 989e6, 4.8e6)
    assert (shares["share_of_peak_flops"], shares["share_of_peak_bandwidth"]) == pytest.approx(
        (1e-3, 1e-3)
    )
    assert device.shares_of_peak("A processor", 1.0, 1.0, 1.0)["share_of_peak_flops"] is None


def test_a_cpu_has_no_energy_meter():
    assert device.EnergyMeter(CPU)() is None


@pytest.fixture
def nvml(monkeypatch):
    """NVML with one device, of the UUID that torch tells, which has used 1,500 mJ."""
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda place: SimpleNamespace(uuid="12-34")
    )
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByUUID", {"GPU-12-34": "handle"}.__getitem__)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetTotalEnergyConsumption", {"handle": 1500}.__getitem__)
    return monkeypatch


def test_energy_in_joules(nvml):
    assert device.EnergyMeter(CUDA)() == 1.5


@pytest.mark.parametrize(
    "function", ["nvmlInit", "nvmlDeviceGetHandleByUUID", "nvmlDeviceGetTotalEnergyConsumption"]
)
def test_no_energy_where_nvml_fails(nvml, function):
    def fail(*arguments):
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    nvml.setattr(pynvml, function, fail)
    assert device.EnergyMeter(CUDA)() is None
