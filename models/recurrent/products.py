"""The products of a cell's steps, with the gradients of their matrices made for all steps at once.

Autograd makes the gradient of a matrix at every step and adds these up, which is T thin products
and T passes over the matrix. Here a step adds zeros to its product, with the matrix as a constant:
the gradients of all zeros, (T, B, rows), are those of all products, and one product of them with
what the matrix was multiplied with is the gradient of the matrix.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from models.recurrent.protocol import Cell, HasMatrices, Product, State


class DeferredProducts:
    """The products of T steps of a cell on a batch, if the cell names its matrices.

    `operands`: of each matrix, what it was multiplied with, (B, size), step by step.
    """

    def __init__(self, cell: Cell, steps: int, batch: int):
        self.cell = cell if isinstance(cell, HasMatrices) else None
        matrices = self.cell.matrices() if self.cell else []
        self.operands: list[list[Tensor]] = [[] for _ in matrices]
        self.products: list[list[Product]] = [[] for _ in range(steps)]
        for matrix, operands in zip(matrices, self.operands, strict=True):
            weight = matrix.detach().to(dtype_of_products(matrix))
            zeros = _Zeros.apply(matrix, operands, weight.new_zeros(()), (steps, batch))
            for of_step, at_step in zip(self.products, zeros.unbind(), strict=True):
                of_step.append(Product(weight, at_step))

    def at(self, step: int) -> tuple[list[Product], ...]:
        """What a step is given besides the arguments that every cell's has."""
        return (self.products[step],) if self.cell else ()

    def keep(self, before: State, after: State) -> None:
        """Keep the operands of the step from one state to the next."""
        if self.cell:
            made = self.cell.operands(before, after)
            for operands, operand in zip(self.operands, made, strict=True):
                operands.append(operand.detach())


def dtype_of_products(matrix: Tensor) -> torch.dtype:
    """What a product with the matrix gives: autocast's type, where it is on."""
    device = matrix.device.type
    if torch.is_autocast_enabled(device) and matrix.dtype == torch.float32:
        return torch.get_autocast_dtype(device)
    return matrix.dtype


class _Zeros(torch.autograd.Function):
    """Zeros (T, B, rows) whose gradient gives that of the matrix."""

    @staticmethod
    def forward(
        ctx: Any, matrix: Tensor, operands: list[Tensor], zero: Tensor, size: tuple[int, int]
    ) -> Tensor:
        ctx.operands = operands
        return zero.expand(*size, len(matrix))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_products: Tensor) -> tuple[Tensor, None, None, None]:
        operands = torch.stack(ctx.operands).to(of_products.dtype)
        return of_products.flatten(0, 1).T @ operands.flatten(0, 1), None, None, None
