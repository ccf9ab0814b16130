"""Counts of registered models: who says them, and what is said where there is none."""

import threading

import pytest
import torch
from torch import nn

from benchmarks.measuring.costs import Macs
from benchmarks.measuring.products import CountError
from benchmarks.records import validation
from benchmarks.runs import counting, listing
from benchmarks.runs.building import build
from benchmarks.runs.matrix import train
from benchmarks.runs.options import RunOptions
from models import registry
from models.kernels.protocol import KernelSource
from models.registry import register_kernels, register_model
from tests.measuring.layers import Apply, Weighted

pytestmark = pytest.mark.usefixtures("own_models")


class Fourier(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.lock = threading.Lock()  # it cannot be copied
        self.head = nn.Linear(3072, classes)

    def forward(self, x):
        with self.lock:
            return self.head(torch.fft.fft2(x).abs().flatten(1))


def test_a_built_in_model_is_counted_twice():
    counts = counting.count("hyper_resnet10_1")
    assert (counts.by, counts.reason, counts.difference) == ("dispatcher", None, None)
    assert counts.macs == Macs(*registry.get("hyper_resnet10_1").macs())


def test_a_wrong_closed_form_is_an_error(monkeypatch):
    monkeypatch.setattr(registry.ModelSpec, "macs", lambda self, classes=10: (1, 2))
    with pytest.raises(CountError, match="wide_resnet10_1: counted"):
        counting.count("wide_resnet10_1")
    row = listing.cost("wide_resnet10_1")
    assert "closed form" in row["wrong"] and row["note"] is None and row["params"] is None


def test_a_count_that_cannot_be_had_has_a_reason():
    register_model("fourier")(Fourier)
    counts = counting.count("fourier", 7)
    assert counts.macs is None and counts.by is None
    assert counts.reason == "aten::_fft_c2c has no formula"
    assert sum(counts.parts.values()) == 3073 * 7
    assert listing.cost("fourier")["note"] == f"MACs not counted: {counts.reason}"


def test_it_stops_neither_training_nor_its_neighbours(tmp_path):
    register_model("fourier")(Fourier)
    options = RunOptions(
        results_dir=tmp_path / "r", checkpoint_dir=tmp_path / "c", compile="off", threads=1
    )
    (outcome,) = train(["fourier"], "digits", "demo", options=options)
    assert outcome.status == "ok", outcome.reason
    record = outcome.record
    assert record["macs_per_image"] is None and record["flops_per_image"] is None
    assert record["counting"]["reason"] == "aten::_fft_c2c has no formula"
    assert "aten::fft_fft2" in record["counting"]["second_opinion"]["reason"]
    validation.validate(record)


def test_a_plugin_gives_its_own_count():
    register_model("fourier", macs=lambda classes: (3072 * classes + 5000, 12))(Fourier)
    counts = counting.count("fourier", 7)
    assert (counts.by, counts.macs, counts.reason) == ("plugin", Macs(26504, 12), None)


@pytest.mark.parametrize("macs", [None, 5, (1.0, 2), (1, -2), (True, 0), (1, 2, 3)])
def test_a_count_that_is_none(macs):
    register_model("fourier", macs=lambda classes: macs)(Fourier)
    with pytest.raises(registry.RegistryError, match="needed are two whole numbers from 0 on"):
        counting.count("fourier")


def test_counters_that_differ_are_told():
    register_model("first")(
        lambda classes: Apply(
            lambda x, first, head: head(first(x).flatten(1)),
            Weighted(lambda x, w: w @ x.flatten(2).transpose(1, 2), 4, 1024),
            nn.Linear(12, classes),
        )
    )
    row = listing.cost("first")
    assert row["macs_per_image"] == 4 * 1024 * 3 + 120 and row["generator_macs"] == 0
    assert row["note"].startswith("fvcore counts ")


def test_a_source_of_a_plugin_gives_its_own_count():
    @register_kernels("scaled_by_one", rows={"scaled_resnet10_1": "wide_resnet10_1"})
    class Scaled(KernelSource):
        def __init__(self, shapes):
            super().__init__(shapes)
            self.g = nn.Parameter(torch.randn(8, 8))
            self.z = nn.Parameter(torch.randn(8))

        @staticmethod
        def count(shapes):
            return {"generator": 72}

        @staticmethod
        def macs(shapes):
            return 64

        def forward(self):
            value = (self.g @ self.z).mean()
            size = [(s.out_channels, s.in_channels, 3, 3) for s in self.shapes]
            return [value.expand(shape) for shape in size]

    counts = counting.count("scaled_resnet10_1")
    assert counts.macs == counts.counted == Macs(registry.get("wide_resnet10_1").macs()[0], 64)
    assert counts.difference is None or "fvcore" in counts.difference


def test_counting_leaves_torchs_generator_as_it_was():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    counting.count("hyper_resnet10_1")
    assert torch.equal(before, torch.get_rng_state())
    model = build("hyper_resnet10_1", 10, seed=0)
    assert model.training
