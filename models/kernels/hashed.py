"""Hashed kernels: weights that share their values at random, without any structure."""

import torch
from torch import Tensor, nn

from models.kernels.counts import hashed_parameters
from models.kernels.flat import FlatKernels
from models.ledger import KernelShape

FROZEN_SEED = 2015


class HashedKernels(FlatKernels):
    """w_i = s_l v[h(i)]: v a vector of numbers, h a fixed random map of all weights to its places.

    HashedNets (Chen et al. 2015) with one vector for all layers. As there, h is not stored but
    drawn, here from a fixed seed. Parameters: the length of v, which is exactly the budget.
    """

    places: Tensor
    count = staticmethod(hashed_parameters)

    def __init__(self, shapes: list[KernelShape], values: int = 90_000):
        super().__init__(shapes)
        total = sum(shape.numel for shape in shapes)
        generator = torch.Generator().manual_seed(FROZEN_SEED)
        places = torch.randint(values, (total,), generator=generator)
        self.register_buffer("places", places, persistent=False)
        self.values = nn.Parameter(torch.randn(values))

    def flat(self) -> Tensor:
        """All weights before the scale of their layers, of unit variance: (total,)."""
        return self.values[self.places]
