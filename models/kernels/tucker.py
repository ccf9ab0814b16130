"""Tucker-2 kernels: low rank in each layer, nothing shared across layers."""

import torch
from torch import Tensor, nn

from models.kernels.protocol import Factored, KernelSource
from models.ledger import KernelShape, separable_parameters, tucker_parameters, tucker_ranks


class TuckerKernels(KernelSource):
    """K = U G V^T: u (out, r), core (r, r, f, f), v (r, in), a rank r by layer (Kim et al. 2016, section 3.1).

    Applied as 1x1, f x f and 1x1 convolutions. Parameters: r (C_in + C_out) + f^2 r^2 a layer; r grows with the layer's channels
    and with `ranks` (`tucker_ranks`). Drawn with independent entries of
    unit variance and fixed gains; u is then scaled so that the product has the variance 2 / (9 C_in), exactly.
    """

    count = staticmethod(tucker_parameters)

    def __init__(self, shapes: list[KernelShape], ranks: int = 600):
        super().__init__(shapes)
        self.ranks = tucker_ranks(shapes, ranks)
        for s, rank in zip(shapes, self.ranks, strict=True):
            u, v = torch.randn(s.out_channels, rank), torch.randn(rank, s.in_channels)
            core = torch.randn(rank, rank, s.size, s.size)
            u *= rank / torch.einsum("or,rsxy,si->oixy", u, core, v).square().mean().sqrt()
            for name, factor in (("u", u), ("core", core), ("v", v)):
                self.register_parameter(f"{s.name}_{name}", nn.Parameter(factor))

    def forward(self) -> list[Factored]:
        kernels = []
        for s, rank in zip(self.shapes, self.ranks, strict=True):
            u, core, v = (self.get_parameter(f"{s.name}_{part}") for part in ("u", "core", "v"))
            gain = ((2 / s.fan_in) ** 0.5 / rank) ** (1 / 3)  # the same for each, so that activations between them stay small
            kernels.append(Factored(u * gain, core * gain, v * gain))
        return kernels


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
            pointwise *= (2 / s.fan_in) ** 0.5 / pointwise.square().mean().sqrt()
            gain = (pointwise.square().mean() ** 0.25).item()
            self.register_parameter(f"{s.name}_depthwise", nn.Parameter(depthwise * gain))
            self.register_parameter(f"{s.name}_pointwise", nn.Parameter(pointwise / gain))

    def component_of(self, parameter: str) -> str:
        return "kernels"

    def forward(self) -> list[Factored]:
        def of(shape: KernelShape, part: str) -> Tensor:
            return self.get_parameter(f"{shape.name}_{part}")

        return [Factored(of(s, "pointwise"), of(s, "depthwise")) for s in self.shapes]
