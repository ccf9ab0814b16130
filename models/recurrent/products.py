"""The products of a cell's steps, with the gradients of their matrices made for all steps at once.

Autograd makes the gradient of a matrix at every step and adds these up, which is T thin products
and T passes over the matrix. Here a step adds zeros to its product, with the matrix as a constant:
the gradients of all zeros, (T, B, rows), are those of all products, and one product of them with
what the matrix was multiplied with is the gradient of the matrix.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class Product(NamedTuple):
    """A matrix (rows, size), and what is added to its product: zeros (B, rows), or nothing."""

    weight: Tensor
    zeros: Tensor | float = 0.0


def product(of: Product, h: Tensor) -> Tensor:
    """(B, rows) of h (B, size)."""
    return h @ of.weight.T + of.zeros


class Deferred:
    """The products with one matrix, for T steps of a batch.

    `operands`: what it was multiplied with, (B, size), to be filled in step by step.
    """

    def __init__(self, weight: Tensor, steps: int, batch: int):
        self.operands: list[Tensor] = []
        dtype = _dtype_of_products(weight)
        self.weight = weight.detach().to(dtype)
        zeros = _Zeros.apply(weight, self.operands, (steps, batch, len(weight)), dtype)
        self.zeros = zeros.unbind()

    def at(self, step: int) -> Product:
        """The product of a step."""
        return Product(self.weight, self.zeros[step])


def _dtype_of_products(weight: Tensor) -> torch.dtype:
    """Autocast's, where it is on."""
    device = weight.device.type
    if torch.is_autocast_enabled(device) and weight.dtype == torch.float32:
        return torch.get_autocast_dtype(device)
    return weight.dtype


class _Zeros(torch.autograd.Function):
    """Zeros of a size; their gradient gives that of the matrix."""

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, operands: list[Tensor], size: Sequence[int], dtype: torch.dtype
    ) -> Tensor:
        ctx.operands = operands
        return torch.zeros((), dtype=dtype, device=weight.device).expand(*size)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_products: Tensor) -> tuple[Tensor, None, None, None]:
        operands = torch.stack(ctx.operands).to(of_products.dtype)
        return of_products.flatten(0, 1).T @ operands.flatten(0, 1), None, None, None
