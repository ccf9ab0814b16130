"""Separable kernels: a depthwise and a pointwise convolution in place of every 3x3 kernel."""

import torch
from torch import nn

from models.kernels.counts import separable_parameters
from models.kernels.protocol import Factored, Kernel, KernelSource
from models.ledger import KernelShape


class SeparableKernels(KernelSource):
    """Depthwise f x f, then pointwise 1x1 (MobileNet, Howard et al. 2017, section 3.1).

    There is no batch norm between the two, so that the rest of the network stays as it is.
    Parameters: f^2 C_in + C_in C_out a layer. Drawn so that the product has the variance
    2 / (9 C_in), exactly.
    """

    generated = False
    count = staticmethod(separable_parameters)

    def __init__(self, shapes: list[KernelShape]):
        super().__init__(shapes)
        for shape in shapes:
            depthwise = torch.randn(shape.in_channels, 1, shape.size, shape.size)
            depthwise /= depthwise.square().mean((1, 2, 3), keepdim=True).sqrt()
            pointwise = torch.randn(shape.out_channels, shape.in_channels)
            pointwise *= shape.deviation / pointwise.square().mean().sqrt()
            gain = (pointwise.square().mean() ** 0.25).item()
            self.register_parameter(f"{shape.name}_depthwise", nn.Parameter(depthwise * gain))
            self.register_parameter(f"{shape.name}_pointwise", nn.Parameter(pointwise / gain))

    def component_of(self, parameter: str) -> str:
        """The ledger component that a parameter of this source belongs to."""
        return "kernels"

    def forward(self) -> list[Kernel]:
        """All kernels, in the order of the shapes."""
        kernels: list[Kernel] = []
        for shape in self.shapes:
            pointwise = self.get_parameter(f"{shape.name}_pointwise")
            depthwise = self.get_parameter(f"{shape.name}_depthwise")
            kernels.append(Factored(pointwise, depthwise))
        return kernels
