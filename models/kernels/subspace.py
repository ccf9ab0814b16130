"""Random subspace: every tile is a point in one frozen random subspace."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from models.kernels.counts import subspace_parameters
from models.kernels.tiles import TiledKernels, on_sphere
from models.ledger import KernelShape

FROZEN_SEED = 2022


class SubspaceKernels(TiledKernels):
    """Tile_t = s_l / sqrt(m) R alpha_t: one frozen R (256 f^2 x m), shared by all tiles.

    R is drawn from a fixed seed and never saved or trained. After PRANC (Nooralinejad et al. 2023)
    and MCNC (Thrash et al. 2025), which do so for whole networks. Parameters: m T.
    """

    basis: Tensor
    components: ClassVar[dict[str, str]] = {"coefficients": "embeddings"}
    count = staticmethod(subspace_parameters)

    def __init__(self, shapes: list[KernelShape], dimension: int = 390, tile: int = 16):
        super().__init__(shapes, tile)
        self.gain = dimension**-0.5
        generator = torch.Generator().manual_seed(FROZEN_SEED)
        basis = torch.randn(dimension, tile, tile * self.size**2, generator=generator)
        self.register_buffer("basis", basis, persistent=False)
        self.coefficients = nn.Parameter(on_sphere(sum(self.counts), dimension, squared=dimension))

    def unit_tiles(self) -> Tensor:
        """All tiles before their scale: (T, input channel, output channel x f x f)."""
        tiles = self.coefficients @ self.basis.flatten(1) * self.gain
        return tiles.unflatten(1, self.basis.shape[1:])
