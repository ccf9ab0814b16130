"""What a recurrent cell is to the network: any module of this form has its loop and its readout."""

from typing import Any, NamedTuple, Protocol, runtime_checkable

from torch import Tensor

State = tuple[Tensor, ...]
"""What a cell carries from step to step. The first tensor is its output h, (B, units)."""


class Cell(Protocol):
    """A recurrent cell, which is an `nn.Module` as well. B is the batch.

    Its products with the input are made for all steps at once, before the loop: a step is given
    `projected`, which is the input times `projection`. An Elman network is:

        class Elman(nn.Module):
            def __init__(self, inputs, units):
                super().__init__()
                self.units = units
                self.of_x, self.of_h = nn.Linear(inputs, units, False), nn.Linear(units, units)

            @property
            def projection(self):
                return self.of_x.weight

            def initial(self, batch):
                return (self.projection.new_zeros(batch, self.units),)

            def step(self, state, projected, mask):
                h = torch.tanh(projected + self.of_h(state[0])) * mask
                return (h.to(state[0].dtype),)
    """

    units: int

    @property
    def projection(self) -> Tensor:
        """The matrix that inputs are multiplied with, (rows, inputs)."""
        ...

    def initial(self, batch: int) -> State:
        """The state before the first step, usually zeros, on the parameters' device.

        The batch is the first dimension of each part. No gradient reaches it: a parameter in it is
        not trained.
        """
        ...

    def step(self, state: Any, projected: Tensor, mask: Tensor | float) -> State:
        """The next state, from one of the cell's own kind.

        `projected`: (B, rows). `mask`: recurrent dropout's, (B, units), of zeros and 1 / keep, or
        1.0 without dropout. A step has no side effects, so that it can be compiled by itself; it
        is compiled once if the initial state and every other are alike in dtype and strides, and no
        tensor stands twice in them. Under autocast to bf16 a product is bf16, the mask fp32.
        """
        ...


class Product(NamedTuple):
    """A matrix (rows, size), and what is added to its product: zeros (B, rows), or nothing."""

    matrix: Tensor
    zeros: Tensor | float = 0.0


def product(of: Product, h: Tensor) -> Tensor:
    """(B, rows) of h (B, size)."""
    return h @ of.matrix.T + of.zeros


@runtime_checkable
class HasMatrices(Protocol):
    """What a cell has besides if it names the matrices of its steps, for faster training.

    The gradients of these matrices are made for many steps at once. Its `step` has a fourth
    argument, `products: list[Product] | None = None`: one of each matrix, to be used instead.
    """

    def matrices(self) -> list[Tensor]:
        """The matrices (rows, size), made once for many steps."""
        ...

    def operands(self, before: Any, after: Any) -> list[Tensor]:
        """What the step between two states multiplied each matrix with, (B, size)."""
        ...
