"""Stored kernels: every weight is a parameter, as in the plain network."""

import torch
from torch import Tensor, nn

from models.kernels.counts import stored_parameters
from models.kernels.protocol import Kernel, KernelSource
from models.ledger import KernelShape


def drawn(shape: KernelShape, deviation: float = 1.0) -> Tensor:
    """A kernel (out, in, f, f) from N(0, `deviation`^2), in channels_last memory."""
    kernel = torch.randn(shape.out_channels, shape.in_channels, shape.size, shape.size)
    kernel *= deviation
    return kernel.contiguous(memory_format=torch.channels_last)


class StoredKernels(KernelSource):
    """One parameter `(out, in, 3, 3)` per shape, in channels_last memory, named by the shape.

    Drawn from N(0, 2 / (9 C_in)): He et al. 2015, fan-in. Parameters: sum of 9 C_in C_out.
    """

    generated = False
    count = staticmethod(stored_parameters)

    def __init__(self, shapes: list[KernelShape]):
        super().__init__(shapes)
        for shape in shapes:
            self.register_parameter(shape.name, nn.Parameter(drawn(shape, shape.deviation)))

    @classmethod
    def holding(cls, shapes: list[KernelShape], kernels: list[Tensor]) -> "StoredKernels":
        """Stored kernels with these values, bit for bit."""
        source = cls(shapes).to(kernels[0].device)
        with torch.no_grad():
            for shape, kernel in zip(shapes, kernels, strict=True):
                source.get_parameter(shape.name).copy_(kernel)
        return source

    def component_of(self, parameter: str) -> str:
        """The ledger component that a parameter of this source belongs to."""
        return "kernels"

    def forward(self) -> list[Kernel]:
        """All kernels, in the order of the shapes."""
        return [self.get_parameter(shape.name) for shape in self.shapes]
