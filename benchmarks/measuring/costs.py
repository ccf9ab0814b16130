"""What a model costs: parameters by component and MACs per image, counted on the real module.

Convention: one multiply-add is one MAC (FLOPs = 2 x MACs); convolutions and matrix products count,
and nothing else (docs/adding-a-model.md, "What is counted").
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from benchmarks.data.batches import equal_images
from benchmarks.measuring.products import CountError, Product, products
from models.kernels.protocol import KernelNetwork
from models.ledger import COMPONENTS
from models.recurrent.counts import COMPONENTS as RECURRENT_COMPONENTS
from models.recurrent.network import RecurrentNetwork

Inputs = Callable[[int], tuple[Any, ...]]
"""From a batch size to what a module is called with, all items being equal."""


def images(batch: int) -> tuple[Any, ...]:
    """Equal images (batch, 3, 32, 32)."""
    return (equal_images(batch),)


@dataclass(frozen=True)
class Macs:
    """`per_image`, or character, of the main network; `generator` per forward pass of any size."""

    per_image: int
    generator: int

    def total(self, batch_size: int) -> int:
        """MACs of one forward pass on a batch."""
        return self.generator + batch_size * self.per_image


def count_parameters(model: nn.Module) -> dict[str, int]:
    """Trainable parameters by component, all components named.

    A parameter that is used twice counts once, a complex number as two. A foreign module has two
    components: parameters of two or more dimensions are `kernels`, all others `biases`.
    """
    recurrent = isinstance(model, RecurrentNetwork)
    parts = dict.fromkeys(RECURRENT_COMPONENTS if recurrent else COMPONENTS, 0)
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if isinstance(model, KernelNetwork | RecurrentNetwork):
            component = model.component_of(name)
        else:
            component = "kernels" if parameter.ndim > 1 else "biases"
        parts[component] += _numbers(parameter)
    return parts


def count_frozen(model: nn.Module) -> int:
    """Parameters that are not trained."""
    return sum(_numbers(p) for p in model.parameters() if not p.requires_grad)


def _numbers(parameter: nn.Parameter) -> int:
    return parameter.numel() * (2 if parameter.is_complex() else 1)


def count_macs(model: nn.Module, inputs: Inputs = images) -> Macs:
    """MACs of a forward pass in evaluation mode.

    The module itself runs, on batches of equal items, and is left in evaluation mode: count on a
    module that is built for it. What is as large for every batch runs once a batch: it is the
    generator's. What grows with the batch is the items'.

    Raises:
        CountError: naming an operator without a formula, or totals that do not fit any batch size.
    """
    model.eval().cpu()

    def run(batch: int) -> list[Product]:
        return products(model, *inputs(batch))

    two, three = run(2), run(3)
    return _by_operator(two, three) or _by_total([_sum(two), _sum(three), _sum(run(4))])


def _by_operator(two: Sequence[Product], three: Sequence[Product]) -> Macs | None:
    """The MACs of two batch sizes, if each operator's are equal or grow with the batch."""
    if [product.operator for product in two] != [product.operator for product in three]:
        return None
    per_image = generator = 0
    for small, large in zip(two, three, strict=True):
        if small.macs == large.macs:
            generator += small.macs
        elif 3 * small.macs == 2 * large.macs:
            per_image += small.macs // 2
        else:
            return None
    return Macs(per_image, generator)


def _by_total(totals: list[int]) -> Macs:
    """The MACs of batches of 2, 3 and 4 images, where only the totals grow evenly.

    Raises:
        CountError: if they do not.
    """
    two, three, four = totals
    per_image = three - two
    generator = two - 2 * per_image
    if four - three != per_image or generator < 0:
        raise CountError(
            f"the MACs of 2, 3 and 4 images, {two:,}, {three:,} and {four:,}, are no number per "
            "image and one per batch"
        )
    return Macs(per_image, generator)


def _sum(parts: Sequence[Product]) -> int:
    return sum(product.macs for product in parts)
