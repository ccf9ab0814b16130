"""Models by name: built from a seed, and counted."""

import torch

from benchmarks.system import generators
from models import registry


def build(name: str, num_classes: int, seed: int) -> torch.nn.Module:
    """The model of a name, its weights drawn from `seed`, whatever generator its code uses."""
    generators.seed_all(seed)
    return registry.build(name, num_classes)
