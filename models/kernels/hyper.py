"""Hyper kernels: the static hypernetwork of Ha, Dai & Le 2017 (section 3.1, equations 2 and 3)."""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.kernels.counts import hyper_parameters
from models.kernels.scaling import damped_inverse
from models.kernels.tiles import TiledKernels, on_sphere
from models.ledger import KernelShape


class HyperKernels(TiledKernels):
    """Tiles of 16 input x 16 output channels, each generated from an embedding z of size N_z.

    For a tile (equation 2): a_i = W_i z + B_i and K_i = <W_out, a_i> + B_out for each of its input
    channels i. W_i (d x N_z), B_i, W_out (16 f^2 x d) and B_out are shared by all tiles of all
    layers, d = N_z. The tiles of a kernel are laid out row by row, rows being blocks of input
    channels (equation 3). Parameters: 16 d (N_z + 1) + 16 f^2 (d + 1) shared, and N_z a tile.

    All tiles come from two matrix products, in channels_last memory. z, W_i and W_out are drawn
    with unit variance. Both products have a fixed gain 1 / sqrt(N_z), each kernel a fixed
    sqrt(2 / (9 C_in)), so that the *generated* kernel starts with the variance of its fan-in (Chang
    et al. 2020). Scales are never trained or saved. Their place matters under Adam, whose steps do
    not follow a parameter's size: drawn as small as their gain, W_i and W_out move eight times as
    fast as z.
    """

    scales_gradients = True
    components: ClassVar[dict[str, str]] = {"embeddings": "embeddings"}
    count = staticmethod(hyper_parameters)

    def __init__(self, shapes: list[KernelShape], embedding: int = 64, tile: int = 16):
        super().__init__(shapes, tile)
        self.gain = embedding**-0.5
        out_features = tile * self.size**2  # (output channel, f, f)
        self.embeddings = nn.Parameter(on_sphere(sum(self.counts), embedding, squared=embedding))
        self.w_in = nn.Parameter(torch.randn(tile, embedding, embedding))
        self.b_in = nn.Parameter(torch.zeros(tile, embedding))
        self.w_out = nn.Parameter(torch.randn(out_features, embedding))
        self.b_out = nn.Parameter(torch.zeros(out_features))

    def unit_tiles(self) -> Tensor:
        """All tiles before their scale: (T, input channel, output channel x f x f)."""
        a = self._activations(self.embeddings * self.gain)
        return F.linear(a, self.w_out * self.gain, self.b_out)

    def _activations(self, z: Tensor) -> Tensor:
        """a_i of all tiles: (T, input channel, d)."""
        a = F.linear(z, self.w_in.flatten(0, 1), self.b_in.flatten())
        return a.unflatten(1, self.b_in.shape)

    @torch.no_grad()
    def scale_gradients(self) -> None:
        """Each factor's J^T J is the product of what the others make of it.

        They are matrices of N_z x N_z, and are inverted together.
        """
        weights = self.scale.flatten().square()  # of the tiles
        z, w_out = self.embeddings * self.gain, self.w_out * self.gain
        a = self._activations(z) * self.gain
        of_a = w_out.t() @ w_out
        of_z = (self.w_in.transpose(1, 2) @ of_a @ self.w_in).sum(0) * self.gain**2
        of_w_in = z.t() @ (weights[:, None] * z)
        of_w_out = (a * weights[:, None, None]).flatten(0, 1).t() @ a.flatten(0, 1)
        by_a, by_z, by_w_in, by_w_out = damped_inverse(torch.stack([of_a, of_z, of_w_in, of_w_out]))
        scaled = {
            self.embeddings: lambda g: g @ by_z / weights[:, None],
            self.w_in: lambda g: by_a @ g @ by_w_in,
            self.b_in: lambda g: g @ by_a / weights.sum(),
            self.w_out: lambda g: g @ by_w_out,
            self.b_out: lambda g: g / (weights.sum() * self.tile),
        }
        for parameter, rule in scaled.items():
            if parameter.grad is not None:  # a frozen one has none
                parameter.grad.copy_(rule(parameter.grad))
