"""Models by name: built from a seed, and counted."""

import torch

from benchmarks.measuring import costs
from benchmarks.runs.listing import cost_row
from benchmarks.system import generators
from models import registry


def build(name: str, num_classes: int, seed: int) -> torch.nn.Module:
    """The model of a name, its weights drawn from `seed`, whatever generator its code uses."""
    generators.seed_all(seed)
    return registry.build(name, num_classes)


def cost(name: str, num_classes: int = 10) -> dict:
    """The row of `cost`: parameters and MACs counted on the module, compared with the closed form.

    Raises:
        costs.CountError: if the two counts differ.
    """
    spec = registry.get(name)
    model = build(name, num_classes, seed=0)
    parts, macs = costs.count_parameters(model), costs.count_macs(model)
    if spec.closed_form:
        counted = (parts, (macs.per_image, macs.generator))
        closed = (spec.parameters(num_classes), spec.macs(num_classes))
        if counted != closed:
            raise costs.CountError(f"{name}: counted {counted}, closed form {closed}")
    return cost_row(spec, parts, (macs.per_image, macs.generator), costs.count_frozen(model))
