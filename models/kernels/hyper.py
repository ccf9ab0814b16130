"""Hyper kernels: the static hypernetwork of Ha, Dai & Le 2017 (section 3.1, equations 2 and 3)."""

from itertools import groupby
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.kernels.protocol import KernelSource
from models.ledger import KernelShape, hyper_parameters, tile_counts


class HyperKernels(KernelSource):
    """Kernels made of tiles of 16 input x 16 output channels, each generated from its own embedding z of size N_z.

    For a tile (equation 2): a_i = W_i z + B_i and K_i = <W_out, a_i> + B_out for each of its input channels i; W_i
    (d x N_z), B_i, W_out (16 f^2 x d) and B_out are shared by all tiles of all layers, d = N_z. The tiles of a kernel are
    laid out row by row, rows being blocks of input channels (equation 3). Parameters: 16 d (N_z + 1) + 16 f^2 (d + 1)
    shared, and N_z a tile.

    All tiles come from two matrix products, in channels_last memory. Each kernel is scaled by a fixed sqrt(2 / (9 C_in)), so
    that W_i and W_out keep unit gain and the *generated* kernel starts with the variance of its fan-in (Chang et al. 2020).
    The scale is derived from the shapes, never trained or saved. Under Adam, whose steps do not follow a parameter's size,
    it matters where the scale sits: a W_out drawn as small as the kernels is thrown about by every step.
    """

    components: ClassVar[dict[str, str]] = {"embeddings": "embeddings"}
    count = staticmethod(hyper_parameters)

    def __init__(self, shapes: list[KernelShape], embedding: int = 64, tile: int = 16):
        super().__init__(shapes)
        counts = tile_counts(shapes, tile)
        self.tile, self.size = tile, shapes[0].size
        self.embeddings = nn.Parameter(embeddings_on_sphere(sum(counts), embedding))
        self.w_in = nn.Parameter(torch.randn(tile, embedding, embedding) * embedding**-0.5)
        self.b_in = nn.Parameter(torch.zeros(tile, embedding))
        self.w_out = nn.Parameter(torch.randn(tile * self.size**2, embedding) * embedding**-0.5)  # rows: (output channel, f, f)
        self.b_out = nn.Parameter(torch.zeros(tile * self.size**2))
        scale = [(2 / s.fan_in) ** 0.5 for s, n in zip(shapes, counts, strict=True) for _ in range(n)]
        self.register_buffer("scale", torch.tensor(scale)[:, None, None], persistent=False)
        # Neighbours of one shape are laid out together: 5 copies for 36 kernels.
        grouped = groupby(shapes, lambda s: (s.out_channels, s.in_channels))
        self.runs = [(len(list(run)), *channels) for channels, run in grouped]

    def tiles(self) -> Tensor:
        """All tiles, (T, input channel, output channel, f, f)."""
        a = F.linear(self.embeddings, self.w_in.flatten(0, 1), self.b_in.flatten())
        tiles = F.linear(a.unflatten(1, self.b_in.shape), self.w_out, self.b_out) * self.scale
        return tiles.unflatten(2, (self.tile, self.size, self.size))

    def forward(self) -> list[Tensor]:
        kernels, tiles, start = [], self.tiles(), 0
        for layers, out_channels, in_channels in self.runs:
            rows, columns = in_channels // self.tile, out_channels // self.tile
            part = tiles[start : start + layers * rows * columns]
            start += layers * rows * columns
            part = part.unflatten(0, (layers, rows, columns)).permute(0, 2, 4, 5, 6, 1, 3)
            part = part.contiguous().view(layers, out_channels, self.size, self.size, in_channels)
            kernels.extend(part.permute(0, 1, 4, 2, 3).unbind(0))
        return kernels


def embeddings_on_sphere(count: int, size: int) -> Tensor:
    """Random embeddings (count, size) with |z|^2 = size, so that every tile starts with the same variance."""
    z = torch.randn(count, size)
    return z * (size**0.5 / z.norm(dim=1, keepdim=True))
