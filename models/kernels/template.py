"""Template bank: soft sharing of whole tiles, the hypernetwork without its factors."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from models.kernels.counts import template_parameters
from models.kernels.scaling import damped_inverse
from models.kernels.tiles import TiledKernels, on_sphere
from models.ledger import KernelShape


class TemplateKernels(TiledKernels):
    """Tile_t = s_l / sqrt(K) sum_k alpha_tk B_k: K templates B, coefficients alpha of every tile.

    B is (16 x 16 x f x f). The hypernetwork of Ha et al. is such a bank with K = N_z templates that
    are factorised; soft sharing of templates is Savarese & Maire 2019. Parameters:
    K (256 f^2 + T), T tiles. Drawn with B ~ N(0, 1) and |alpha_t|^2 = K; the sum has a fixed gain
    1 / sqrt(K).
    """

    scales_gradients = True
    components: ClassVar[dict[str, str]] = {"coefficients": "embeddings"}
    count = staticmethod(template_parameters)

    def __init__(self, shapes: list[KernelShape], templates: int = 32, tile: int = 16):
        super().__init__(shapes, tile)
        self.gain = templates**-0.5
        self.bank = nn.Parameter(torch.randn(templates, tile, tile * self.size**2))
        self.coefficients = nn.Parameter(on_sphere(sum(self.counts), templates, squared=templates))

    def unit_tiles(self) -> Tensor:
        """All tiles before their scale: (T, input channel, output channel x f x f)."""
        tiles = self.coefficients @ self.bank.flatten(1) * self.gain
        return tiles.unflatten(1, self.bank.shape[1:])

    @torch.no_grad()
    def scale_gradients(self) -> None:
        """Replace the gradients of bank and coefficients, as the base class says."""
        weights = self.scale.flatten().square()[:, None]  # of the tiles
        bank, coefficients = self.bank.flatten(1) * self.gain, self.coefficients * self.gain
        of_both = torch.stack([bank @ bank.t(), coefficients.t() @ (weights * coefficients)])
        by_coefficients, by_bank = damped_inverse(of_both)
        if self.coefficients.grad is not None:
            self.coefficients.grad.copy_(self.coefficients.grad @ by_coefficients / weights)
        if self.bank.grad is not None:
            self.bank.grad.copy_((by_bank @ self.bank.grad.flatten(1)).view_as(self.bank))
