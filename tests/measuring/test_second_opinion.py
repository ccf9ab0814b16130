"""fvcore's count: equal where it can count, refused with a reason where it cannot."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.measuring.costs import Macs
from benchmarks.measuring.products import CountError
from benchmarks.measuring.second_opinion import second_opinion
from benchmarks.runs.building import build
from models import registry
from tests.measuring.layers import Apply

SMALL = ["wide_resnet10_1", "hyper_resnet10_1", "hyper_resnet10_2_projection", "hyper_resnet8"]


@pytest.mark.parametrize("name", SMALL)
def test_it_agrees_with_the_closed_form(name):
    assert second_opinion(build(name, 10, seed=0)) == Macs(*registry.get(name).macs())


@pytest.mark.slow
@pytest.mark.parametrize("name", registry.names("images"))
def test_it_agrees_with_every_closed_form(name):
    spec = registry.get(name)
    if spec.closed_form:
        assert second_opinion(build(name, 10, seed=0)) == Macs(*spec.macs())


def test_it_refuses_what_it_would_pass_over():
    attention = Apply(lambda x: F.scaled_dot_product_attention(x, x, x).mean((1, 2)))
    with pytest.raises(CountError, match="no rule for aten::scaled_dot_product_attention"):
        second_opinion(attention)


def test_it_refuses_what_it_cannot_trace():
    def run(x):
        raise KeyError("too much\nlight")

    with pytest.raises(CountError, match="it cannot be traced: KeyError"):
        second_opinion(Apply(run))


def test_it_refuses_a_negative_generator():
    with pytest.raises(CountError, match="do not fit together"):
        second_opinion(Apply(lambda x: x.flatten(1) @ x.flatten(1).T))


def test_normalisation_and_pooling_are_no_products():
    model = nn.Sequential(nn.BatchNorm2d(3), nn.AdaptiveAvgPool2d(1), nn.Upsample(scale_factor=2))
    assert second_opinion(model) == Macs(0, 0)
    assert torch.is_grad_enabled()
