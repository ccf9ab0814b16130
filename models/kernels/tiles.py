"""Kernels made of tiles: what the sources share that make all kernels of blocks of one size."""

from itertools import groupby

import torch
from torch import Tensor

from models.kernels.counts import tile_counts
from models.kernels.protocol import Kernel, KernelSource
from models.ledger import KernelShape


class TiledKernels(KernelSource):
    """Kernels laid out from tiles of `tile` input x `tile` output channels; a subclass gives these.

    They are laid out row by row, rows being blocks of input channels (Ha, Dai & Le 2017,
    equation 3), in channels_last memory. Each tile is scaled by a fixed number of its layer,
    `scale` (T, 1, 1): sqrt(2 / (9 C_in)) for tiles of unit variance, so that kernels start with the
    variance of their fan-in (Chang et al. 2020).
    """

    scale: Tensor

    def __init__(self, shapes: list[KernelShape], tile: int = 16):
        super().__init__(shapes)
        self.tile = tile
        self.size = shapes[0].size
        self.counts = tile_counts(shapes, tile)
        scale = []
        for shape, count in zip(shapes, self.counts, strict=True):
            scale += [shape.deviation] * count
        self.register_buffer("scale", torch.tensor(scale)[:, None, None], persistent=False)
        # Neighbours of one shape are laid out together: 5 copies for 36 kernels.
        self.runs: list[tuple[int, int, int]] = []
        for channels, run in groupby(shapes, lambda shape: (shape.out_channels, shape.in_channels)):
            self.runs.append((len(list(run)), *channels))

    def unit_tiles(self) -> Tensor:
        """All tiles before their scale: (T, input channel, output channel x f x f)."""
        raise NotImplementedError

    def forward(self) -> list[Kernel]:
        """All kernels, in the order of the shapes."""
        tiles = (self.unit_tiles() * self.scale).unflatten(2, (self.tile, self.size, self.size))
        kernels: list[Kernel] = []
        start = 0
        for layers, out_channels, in_channels in self.runs:
            rows, columns = in_channels // self.tile, out_channels // self.tile
            part = tiles[start : start + layers * rows * columns]
            start += layers * rows * columns
            part = part.unflatten(0, (layers, rows, columns)).permute(0, 2, 4, 5, 6, 1, 3)
            part = part.contiguous().view(layers, out_channels, self.size, self.size, in_channels)
            kernels.extend(part.permute(0, 1, 4, 2, 3).unbind(0))
        return kernels


def on_sphere(count: int, size: int, squared: float) -> Tensor:
    """Random rows (count, size) with |row|^2 = `squared`: each makes tiles of the same variance."""
    rows = torch.randn(count, size)
    return rows * (squared**0.5 / rows.norm(dim=1, keepdim=True))
