"""Stored kernels: every weight is a parameter, as in the plain network."""

import torch
from torch import Tensor, nn

from models.kernels.protocol import KernelSource
from models.ledger import KernelShape, stored_parameters


class StoredKernels(KernelSource):
    """One parameter `(out, in, 3, 3)` per shape, in channels_last memory, named by the shape.

    Drawn from N(0, 2 / (9 C_in)): He et al. 2015, fan-in. Parameters: sum of 9 C_in C_out.
    """

    generated = False
    count = staticmethod(stored_parameters)

    def __init__(self, shapes: list[KernelShape]):
        super().__init__(shapes)
        for shape in shapes:
            kernel = torch.randn(shape.out_channels, shape.in_channels, shape.size, shape.size)
            kernel *= shape.deviation
            self.register_parameter(
                shape.name, nn.Parameter(kernel.contiguous(memory_format=torch.channels_last))
            )

    @classmethod
    def holding(cls, shapes: list[KernelShape], kernels: list[Tensor]) -> "StoredKernels":
        """Stored kernels with these values, bit for bit."""
        source = cls(shapes).to(kernels[0].device)
        with torch.no_grad():
            for shape, kernel in zip(shapes, kernels, strict=True):
                source.get_parameter(shape.name).copy_(kernel)
        return source

    def component_of(self, parameter: str) -> str:
        return "kernels"

    def forward(self) -> list[Tensor]:
        return [self.get_parameter(shape.name) for shape in self.shapes]
