"""Multi-hashed kernels: all weights of the network are one matrix of low rank."""

from torch import Tensor, nn

from models.kernels.counts import multihash_parameters, square_side
from models.kernels.flat import FlatKernels
from models.kernels.tiles import on_sphere
from models.ledger import KernelShape


class MultihashKernels(FlatKernels):
    """The weight vector is a square matrix sum_j u_j v_j^T, read row by row.

    Structured multi-hashing (Eban et al. 2020). Parameters: 2 r n with n = ceil(sqrt(N)),
    N weights. Rows of u and v are drawn with |.|^2 = r, and the product has a fixed gain
    1 / sqrt(r), so that all weights start with unit variance.
    """

    count = staticmethod(multihash_parameters)

    def __init__(self, shapes: list[KernelShape], rank: int = 60):
        super().__init__(shapes)
        self.total = sum(shape.numel for shape in shapes)
        self.gain = rank**-0.5
        side = square_side(shapes)
        self.u = nn.Parameter(on_sphere(side, rank, squared=rank))
        self.v = nn.Parameter(on_sphere(side, rank, squared=rank))

    def flat(self) -> Tensor:
        """All weights before the scale of their layers, of unit variance: (total,)."""
        return (self.u @ self.v.t() * self.gain).flatten()[: self.total]
