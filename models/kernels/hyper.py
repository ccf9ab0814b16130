"""Hyper kernels: the static hypernetwork of Ha, Dai & Le 2017 (section 3.1, equations 2 and 3)."""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.kernels.tiles import TiledKernels, on_sphere
from models.ledger import KernelShape, hyper_parameters


class HyperKernels(TiledKernels):
    """Kernels made of tiles of 16 input x 16 output channels, each generated from its own embedding z of size N_z.

    For a tile (equation 2): a_i = W_i z + B_i and K_i = <W_out, a_i> + B_out for each of its input channels i; W_i
    (d x N_z), B_i, W_out (16 f^2 x d) and B_out are shared by all tiles of all layers, d = N_z. The tiles of a kernel are
    laid out row by row, rows being blocks of input channels (equation 3). Parameters: 16 d (N_z + 1) + 16 f^2 (d + 1)
    shared, and N_z a tile.

    All tiles come from two matrix products, in channels_last memory. z, W_i and W_out are drawn with unit variance; both products
    have a fixed gain 1 / sqrt(N_z), each kernel a fixed sqrt(2 / (9 C_in)), so that the *generated* kernel starts with the
    variance of its fan-in (Chang et al. 2020). Scales are never trained or saved. Under Adam, whose steps do not follow a
    parameter's size, it matters where they sit: drawn as small as their gain, W_i and W_out move eight times as fast as z.
    """

    components: ClassVar[dict[str, str]] = {"embeddings": "embeddings"}
    count = staticmethod(hyper_parameters)

    def __init__(self, shapes: list[KernelShape], embedding: int = 64, tile: int = 16):
        super().__init__(shapes, tile)
        self.gain = embedding**-0.5
        self.embeddings = nn.Parameter(on_sphere(sum(self.counts), embedding, squared=embedding))
        self.w_in = nn.Parameter(torch.randn(tile, embedding, embedding))
        self.b_in = nn.Parameter(torch.zeros(tile, embedding))
        self.w_out = nn.Parameter(torch.randn(tile * self.size**2, embedding))  # rows: (output channel, f, f)
        self.b_out = nn.Parameter(torch.zeros(tile * self.size**2))

    def unit_tiles(self) -> Tensor:
        a = F.linear(self.embeddings * self.gain, self.w_in.flatten(0, 1), self.b_in.flatten())
        return F.linear(a.unflatten(1, self.b_in.shape), self.w_out * self.gain, self.b_out)
