"""Shared filter basis: the filters of a layer are combinations of a basis of its stage and of a few of its own."""

import torch
from torch import Tensor, nn

from models.kernels.stage import StageKernels
from models.kernels.tiles import on_sphere
from models.ledger import BASIS_OWN, KernelShape, basis_filters, basis_parameters

ORTHOGONALITY = 10.0


class BasisKernels(StageKernels):
    """W_l = A_l [B_stage; U_l]: filters of a layer from a basis of its stage and one of its own (Kang & Kim 2020).

    `filters`: of the basis where a stage has 64 channels, in proportion elsewhere (`basis_filters`). Parameters a stage:
    9 C s + L (C (s + 1) + 9 C), and the stored kernels. `penalty` keeps each layer's filters near orthonormal, lambda = 10;
    they are drawn orthonormal, and A so that the kernels have the variance 2 / (9 C). Trained are the filters times sqrt(9 C) and
    A times sqrt((s + 1) / 2), numbers of unit variance.
    """

    count = staticmethod(basis_parameters)

    def __init__(self, shapes: list[KernelShape], filters: int = 16):
        super().__init__(shapes)
        self.size = filters
        self.bases, self.own, self.coefficients = (
            nn.ParameterDict(),
            nn.ParameterDict(),
            nn.ParameterDict(),
        )
        for stage, layers in self.stages.items():
            s, shared = layers[0], basis_filters(layers[0].out_channels, filters)
            basis = torch.linalg.qr(torch.randn(s.fan_in, shared))[0].t()
            own = torch.randn(len(layers), BASIS_OWN, s.fan_in)
            own -= own @ basis.t() @ basis
            own = torch.linalg.qr(own.transpose(1, 2))[0].transpose(1, 2)
            rows = on_sphere(
                len(layers) * s.out_channels, shared + BASIS_OWN, squared=shared + BASIS_OWN
            )
            self.bases[str(stage)] = nn.Parameter(basis.contiguous() * s.fan_in**0.5)
            self.own[str(stage)] = nn.Parameter(own.contiguous() * s.fan_in**0.5)
            self.coefficients[str(stage)] = nn.Parameter(
                rows.unflatten(0, (len(layers), s.out_channels))
            )

    def filters(self, stage: int) -> Tensor:
        """[B; U_l] of all layers of a stage: (L, s + 1, 9 C)."""
        own = self.own[str(stage)]
        filters = torch.cat([self.bases[str(stage)].expand(len(own), -1, -1), own], dim=1)
        return filters * self.stages[stage][0].fan_in ** -0.5

    def of_stage(self, stage: int) -> Tensor:
        s = self.stages[stage][0]
        gain = (2 / (basis_filters(s.out_channels, self.size) + BASIS_OWN)) ** 0.5
        kernels = self.coefficients[str(stage)] * gain @ self.filters(stage)
        return kernels.unflatten(2, (s.size, s.size, s.in_channels))

    def penalty(self, kernels: list[Tensor]) -> Tensor:
        """lambda times the squared distance of every layer's Gram matrix from the identity."""
        total = torch.zeros((), device=kernels[0].device)
        for stage in self.stages:
            filters = self.filters(stage)
            gram = filters @ filters.transpose(1, 2)
            total = total + (gram - torch.eye(gram.shape[1], device=gram.device)).square().sum()
        return ORTHOGONALITY * total
