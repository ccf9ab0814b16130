"""Tucker-2 kernels: low rank in each layer, nothing shared across layers."""

import torch
from torch import nn

from models.kernels.counts import tucker_parameters, tucker_ranks
from models.kernels.protocol import Factored, Kernel, KernelSource
from models.ledger import KernelShape


class TuckerKernels(KernelSource):
    """K = U G V^T with u (out, r), core (r, r, f, f), v (r, in) (Kim et al. 2016, section 3.1).

    Applied as 1x1, f x f and 1x1 convolutions. Parameters: r (C_in + C_out) + f^2 r^2 a layer. The
    rank r grows with the layer's channels and with `ranks` (`tucker_ranks`). Drawn with independent
    entries of unit variance and fixed gains; u is then scaled so that the product has the variance
    2 / (9 C_in), exactly.
    """

    count = staticmethod(tucker_parameters)

    def __init__(self, shapes: list[KernelShape], ranks: int = 600):
        super().__init__(shapes)
        self.ranks = tucker_ranks(shapes, ranks)
        for shape, rank in zip(shapes, self.ranks, strict=True):
            u, v = torch.randn(shape.out_channels, rank), torch.randn(rank, shape.in_channels)
            core = torch.randn(rank, rank, shape.size, shape.size)
            u *= rank / torch.einsum("or,rsxy,si->oixy", u, core, v).square().mean().sqrt()
            self.register_parameter(f"{shape.name}_u", nn.Parameter(u))
            self.register_parameter(f"{shape.name}_core", nn.Parameter(core))
            self.register_parameter(f"{shape.name}_v", nn.Parameter(v))

    def forward(self) -> list[Kernel]:
        """All kernels, in the order of the shapes."""
        kernels: list[Kernel] = []
        for shape, rank in zip(self.shapes, self.ranks, strict=True):
            u = self.get_parameter(f"{shape.name}_u")
            core = self.get_parameter(f"{shape.name}_core")
            v = self.get_parameter(f"{shape.name}_v")
            # The same gain for each, so that the activations between them stay small.
            gain = (shape.deviation / rank) ** (1 / 3)
            kernels.append(Factored(u * gain, core * gain, v * gain))
        return kernels
