"""Counts on real modules: against closed forms, against torch's own counter, and refusals."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measuring import costs
from benchmarks.runs.building import build
from models import registry

SMALL = ["wide_resnet10_1", "hyper_resnet10_1", "hyper_resnet10_2_projection", "hyper_resnet8"]


@pytest.mark.parametrize("name", SMALL)
def test_two_counters_and_the_closed_form_agree(name):
    model = build(name, 10, seed=0).eval()
    macs = costs.count_macs(model)
    assert (macs.per_image, macs.generator) == registry.get(name).macs()
    for batch in (1, 128):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(torch.zeros(batch, 3, 32, 32))
        assert counter.get_total_flops() == 2 * macs.total(batch)


@pytest.mark.parametrize("name", SMALL)
def test_components(name):
    assert costs.count_parameters(build(name, 10, seed=0)) == registry.get(name).parameters()


def test_foreign_module_by_hand():
    model = nn.Sequential(nn.Flatten(), nn.Linear(3072, 5), nn.ReLU(), nn.Linear(5, 10, bias=False))
    assert costs.count_macs(model) == costs.Macs(3072 * 5 + 50, 0)
    assert costs.count_parameters(model)["kernels"] == 3072 * 5 + 50
    model[1].weight.requires_grad_(False)
    assert costs.count_frozen(model) == 3072 * 5


def test_the_generator_costs_one_image_and_128_alike():
    macs = costs.Macs(*registry.get("hyper_resnet40_1").macs())
    assert macs.total(1) / macs.per_image == pytest.approx(1.62, abs=0.005)
    assert macs.total(128) / (128 * macs.per_image) == pytest.approx(1.005, abs=0.0005)
