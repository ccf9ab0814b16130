"""Which parameters get no gradient: all of those, and none that only gets one by chance."""

import random

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from benchmarks.training.probing import untrained


class Parts(nn.Module):
    """Two layers of which a subclass uses what it likes."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(3072, 16), nn.Linear(16, 16)
        self.last = nn.Linear(16, 10)

    def middle(self, x):
        return self.two(x)

    def forward(self, x):
        return self.last(self.middle(self.one(x.flatten(1)).relu()))


class Skipping(Parts):
    def middle(self, x):
        return self.two(x) if random.random() < 0.2 else x


class Unused(Parts):
    def middle(self, x):
        return x


class Detached(Parts):
    def middle(self, x):
        return x + self.two(x).detach()


class Checkpointed(Parts):
    """Its graph does not show the parameters before it is run backwards."""

    def middle(self, x):
        return checkpoint(self.two, x, use_reentrant=True)


@pytest.mark.parametrize("kind", [Parts, Skipping, Checkpointed])
def test_what_gets_a_gradient_at_times_is_trained(few, kind):
    assert untrained(kind(), few) == ()


@pytest.mark.parametrize("kind", [Unused, Detached])
def test_what_never_gets_one_is_named(few, kind):
    assert untrained(kind(), few) == ("two.weight", "two.bias")
    frozen = kind()
    frozen.two.bias.requires_grad_(False)
    assert untrained(frozen, few) == ("two.weight",)


def test_a_model_that_raises_is_not_judged(few):
    class Raises(Parts):
        def middle(self, x):
            raise SystemExit

    assert untrained(Raises(), few) == ()
    assert untrained(Raises(), few, among=["two.bias"]) == ("two.bias",)


def test_the_generators_stay(few):
    dropping = nn.Sequential(Skipping(), nn.Dropout())
    random.seed(1)
    torch.manual_seed(1)
    expected = random.random(), torch.rand(1)
    random.seed(1)
    torch.manual_seed(1)
    untrained(dropping, few)
    assert (random.random(), torch.rand(1)) == expected
