"""Hashed kernels: weights that share their values at random, without any structure."""

import torch
from torch import Tensor, nn

from models.kernels.protocol import KernelSource
from models.kernels.tiles import on_sphere
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

    Parameters: 2 r n with n = ceil(sqrt(N)), N weights. Rows of u and v are drawn with |.|^2 = r, the product has a fixed gain
    1 / sqrt(r), so that all weights start with unit variance.
    """

    count = staticmethod(multihash_parameters)

    def __init__(self, shapes: list[KernelShape], rank: int = 60):
        super().__init__(shapes)
        self.total, self.gain = sum(s.numel for s in shapes), rank**-0.5
        side = multihash_parameters(shapes, 1)["generator"] // 2
        self.u, self.v = (nn.Parameter(on_sphere(side, rank, squared=rank)) for _ in range(2))

    def flat(self) -> Tensor:
        return (self.u @ self.v.t() * self.gain).flatten()[: self.total]
