"""Tucker-2 kernels: low rank in each layer, nothing shared across layers."""

import torch
from torch import nn

from models.kernels.protocol import Factored, KernelSource
from models.ledger import KernelShape, tucker_parameters, tucker_ranks


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
            gain = (s.deviation / rank) ** (
                1 / 3
            )  # the same for each, so that activations between them stay small
            kernels.append(Factored(u * gain, core * gain, v * gain))
        return kernels
