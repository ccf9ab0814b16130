"""Hashed kernels: weights that share their values at random, without any structure."""

import torch
from torch import Tensor, nn

from models.kernels.protocol import KernelSource
from models.ledger import KernelShape, hashed_parameters, multihash_parameters

FROZEN_SEED = 2015


class FlatKernels(KernelSource):
    """Kernels cut from one vector of all weights, in order, each in the layout (out, f, f, in): channels_last memory."""

    def flat(self) -> Tensor:
        """All weights before their layers' scale, unit variance."""
        raise NotImplementedError

    def forward(self) -> list[Tensor]:
        parts = self.flat().split([s.numel for s in self.shapes])
        return [
            ((2 / s.fan_in) ** 0.5 * part).view(s.out_channels, s.size, s.size, s.in_channels).permute(0, 3, 1, 2)
            for s, part in zip(self.shapes, parts, strict=True)
        ]


class HashedKernels(FlatKernels):
    """w_i = s_l v[h(i)]: a vector v of exactly the budget, h a fixed random map of all weights of the network to its places.

    HashedNets (Chen et al. 2015) with one vector for all layers; as there h is not stored but drawn, here from a fixed seed.
    Parameters: the length of v.
    """

    count = staticmethod(hashed_parameters)

    def __init__(self, shapes: list[KernelShape], values: int = 90_000):
        super().__init__(shapes)
        total = sum(s.numel for s in shapes)
        generator = torch.Generator().manual_seed(FROZEN_SEED)
        self.register_buffer("places", torch.randint(values, (total,), generator=generator), persistent=False)
        self.values = nn.Parameter(torch.randn(values))

    def flat(self) -> Tensor:
        return self.values[self.places]


class MultihashKernels(FlatKernels):
    """The weight vector is a square matrix sum_j u_j v_j^T, read row by row: structured multi-hashing (Eban et al. 2020).

    Parameters: 2 r n with n = ceil(sqrt(N)), N weights. Row i of u and column k of v have |.|^2 = r and 1, so that all weights
    start with unit variance.
    """

    count = staticmethod(multihash_parameters)

    def __init__(self, shapes: list[KernelShape], rank: int = 60):
        super().__init__(shapes)
        self.total = sum(s.numel for s in shapes)
        side = multihash_parameters(shapes, 1)["generator"] // 2
        self.u, self.v = (nn.Parameter(torch.randn(side, rank)) for _ in range(2))
        with torch.no_grad():
            self.u *= (rank**0.5) / self.u.norm(dim=1, keepdim=True)
            self.v /= self.v.norm(dim=1, keepdim=True)

    def flat(self) -> Tensor:
        return (self.u @ self.v.t()).flatten()[: self.total]
