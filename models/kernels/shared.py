"""Hard sharing: one kernel for the same place of every block of a stage."""

import torch
from torch import Tensor, nn

from models.kernels.protocol import KernelSource
from models.ledger import KernelShape, shared_key, shared_parameters


class SharedKernels(KernelSource):
    """A stage's first block has kernels of its own; all later blocks share one kernel per convolution of the block.

    The recurrent reading of a residual network (Liao & Poggio 2016); batch norms and biases stay each block's own. It shares
    nothing below depth 22. Parameters: 9 C_in C_out for each kernel that is distinct.
    """

    generated = False
    count = staticmethod(shared_parameters)

    def __init__(self, shapes: list[KernelShape]):
        super().__init__(shapes)
        for shape in shapes:
            if shared_key(shape) not in self._parameters:
                kernel = torch.randn(shape.out_channels, shape.in_channels, shape.size, shape.size)
                kernel *= shape.deviation
                self.register_parameter(
                    shared_key(shape),
                    nn.Parameter(kernel.contiguous(memory_format=torch.channels_last)),
                )

    def component_of(self, parameter: str) -> str:
        return "kernels"

    def forward(self) -> list[Tensor]:
        return [self.get_parameter(shared_key(shape)) for shape in self.shapes]
