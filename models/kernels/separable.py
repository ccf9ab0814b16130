"""Separable kernels: a depthwise and a pointwise convolution in place of every 3x3 kernel."""

import torch
from torch import Tensor, nn

from models.kernels.protocol import Factored, KernelSource
from models.ledger import KernelShape, separable_parameters


class SeparableKernels(KernelSource):
    """Depthwise f x f, then pointwise 1x1, in place of every kernel (MobileNet, Howard et al. 2017, section 3.1; no batch norm
    between the two, so that the rest of the network stays as it is).

    Parameters: f^2 C_in + C_in C_out a layer. Drawn so that the product has the variance 2 / (9 C_in), exactly.
    """

    generated = False
    count = staticmethod(separable_parameters)

    def __init__(self, shapes: list[KernelShape]):
        super().__init__(shapes)
        for s in shapes:
            depthwise = torch.randn(s.in_channels, 1, s.size, s.size)
            depthwise /= depthwise.square().mean((1, 2, 3), keepdim=True).sqrt()
            pointwise = torch.randn(s.out_channels, s.in_channels)
            pointwise *= s.deviation / pointwise.square().mean().sqrt()
            gain = (pointwise.square().mean() ** 0.25).item()
            self.register_parameter(f"{s.name}_depthwise", nn.Parameter(depthwise * gain))
            self.register_parameter(f"{s.name}_pointwise", nn.Parameter(pointwise / gain))

    def component_of(self, parameter: str) -> str:
        return "kernels"

    def forward(self) -> list[Factored]:
        def of(shape: KernelShape, part: str) -> Tensor:
            return self.get_parameter(f"{shape.name}_{part}")

        return [Factored(of(s, "pointwise"), of(s, "depthwise")) for s in self.shapes]
