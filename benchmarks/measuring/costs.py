"""What a model costs: parameters by component and MACs per image, counted on the real module.

Convention: one multiply-add is one MAC (FLOPs = 2 x MACs); convolutions and matrix products count,
and nothing else. `ZERO_COST` names every operator that is left out on purpose; any operator that is
in neither list fails the count.
"""

import copy
import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from models.ledger import COMPONENTS

with warnings.catch_warnings():  # fvcore's import warns of its own use of torch.jit
    warnings.simplefilter("ignore", FutureWarning)
    from fvcore.nn import FlopCountAnalysis

IMAGE_SHAPE = (3, 32, 32)
NOT_COUNTED = (
    "batch_norm",
    "layer_norm",
    "group_norm",
    "instance_norm",
    "adaptive_avg_pool2d",
    "upsample_bilinear2d",
    "upsample_nearest2d",
    "grid_sampler",
    "scatter_add",
)
"""Operators that fvcore would count although they are no products."""
_ZERO_COST_NAMES = """
    _weight_norm abs adaptive_max_pool2d add add_ avg_pool2d cat chunk clamp clone constant_pad_nd
    contiguous copy_ detach div div_ dropout exp expand expand_as fill_ flatten gather gelu
    hardtanh_ index index_select leaky_relu linalg_vector_norm log_softmax max_pool2d mean mul mul_
    neg new_zeros norm ones ones_like pad permute pow relu relu_ repeat repeat_interleave reshape
    rsqrt rsub select sigmoid silu slice softmax split split_with_sizes sqrt squeeze stack sub sum t
    tanh tile to transpose unbind unflatten unsqueeze var view view_as zeros zeros_like
"""
ZERO_COST = frozenset(f"aten::{name}" for name in _ZERO_COST_NAMES.split())
"""Additions, scalings, normalisations, activations, pooling, padding and layout: no MACs."""


class CountError(ValueError):
    """A count that would not be true."""


@dataclass(frozen=True)
class Macs:
    """`per_image` of the main network; `generator` per forward pass, whatever the batch size."""

    per_image: int
    generator: int

    def total(self, batch_size: int) -> int:
        """MACs of one forward pass on a batch."""
        return self.generator + batch_size * self.per_image


def count_parameters(model: nn.Module) -> dict[str, int]:
    """Trainable parameters by component, all components named; the sum equals `numel()`.

    A module without a method `component_of` does not name components: parameters of two or more
    dimensions are `kernels`, all others `biases`.
    """
    parts = dict.fromkeys(COMPONENTS, 0)
    component_of: Callable[[str], str] | None = getattr(model, "component_of", None)
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if component_of is not None:
            component = component_of(name)
        else:
            component = "kernels" if parameter.ndim > 1 else "biases"
        parts[component] += parameter.numel()
    return parts


def count_frozen(model: nn.Module) -> int:
    """Parameters that are not trained."""
    return sum(p.numel() for p in model.parameters() if not p.requires_grad)


def count_macs(model: nn.Module) -> Macs:
    """MACs of a forward pass F(batch) in evaluation mode, on a copy of the module.

    The generator runs once whatever the batch: per_image = F(2) - F(1), generator = 2 F(1) - F(2).

    Raises:
        CountError: naming the operators that the counter does not know.
    """
    model = copy.deepcopy(model).eval().cpu()
    one, two = (_forward_macs(model, batch) for batch in (1, 2))
    return Macs(per_image=two - one, generator=2 * one - two)


@torch.no_grad()
def _forward_macs(model: nn.Module, batch: int) -> int:
    analysis = FlopCountAnalysis(model, torch.zeros(batch, *IMAGE_SHAPE))
    analysis.unsupported_ops_warnings(False)
    analysis.uncalled_modules_warnings(False)
    analysis.tracer_warnings("none")
    handlers = {f"aten::{name}": _nothing for name in NOT_COUNTED}
    analysis.set_op_handle(**handlers)
    logging.getLogger("fvcore.nn.jit_analysis").setLevel(logging.ERROR)
    total = analysis.total()
    skipped = analysis.unsupported_ops()
    unknown = {name: times for name, times in skipped.items() if name not in ZERO_COST}
    if unknown:
        listed = ", ".join(f"{name} ({times} times)" for name, times in sorted(unknown.items()))
        raise CountError(f"MACs cannot be counted: operators without a rule: {listed}")
    return int(total)


def _nothing(inputs: list, outputs: list) -> int:
    return 0
