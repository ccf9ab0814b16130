"""Chunked hypernetwork: a non-linear network makes every tile from the tile's embedding."""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.kernels.counts import CHUNK_EMBEDDING, chunked_parameters
from models.kernels.tiles import TiledKernels, on_sphere
from models.ledger import KernelShape


class ChunkedKernels(TiledKernels):
    """Tile_t = s_t MLP(e_t), MLP(e) = W_2 relu(W_1 e + b_1) + b_2 (von Oswald et al. 2020, 2.3).

    All tiles share the MLP; e_t has 32 numbers, the hidden layer H units. Parameters:
    32 T + 33 H + (H + 1) 256 f^2. The scale s_t is frozen: it gives each tile, as drawn, the
    variance of its layer's fan-in, which a few hidden units alone would miss. W_1 and W_2 are drawn
    with unit variance and have fixed gains, sqrt(2 / 32) and 1 / sqrt(H).
    """

    components: ClassVar[dict[str, str]] = {"embeddings": "embeddings"}
    count = staticmethod(chunked_parameters)

    def __init__(self, shapes: list[KernelShape], hidden: int = 37, tile: int = 16):
        super().__init__(shapes, tile)
        self.gains = (2 / CHUNK_EMBEDDING) ** 0.5, hidden**-0.5
        out_features = tile**2 * self.size**2
        embeddings = on_sphere(sum(self.counts), CHUNK_EMBEDDING, squared=CHUNK_EMBEDDING)
        self.embeddings = nn.Parameter(embeddings)
        self.w1 = nn.Parameter(torch.randn(hidden, CHUNK_EMBEDDING))
        self.b1 = nn.Parameter(torch.zeros(hidden))
        self.w2 = nn.Parameter(torch.randn(out_features, hidden))
        self.b2 = nn.Parameter(torch.zeros(out_features))
        with torch.no_grad():
            drawn = self.unit_tiles().square().mean((1, 2), keepdim=True).sqrt()
        self.register_buffer("scale", self.scale / drawn)  # saved: it depends on what was drawn

    def unit_tiles(self) -> Tensor:
        """All tiles before their scale: (T, input channel, output channel x f x f)."""
        hidden = F.relu(F.linear(self.embeddings * self.gains[0], self.w1, self.b1))
        return F.linear(hidden, self.w2 * self.gains[1], self.b2).unflatten(1, (self.tile, -1))
