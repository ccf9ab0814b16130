"""Shared filter basis: filters are combinations of a basis of the stage and of the layer's own."""

import torch
from torch import Tensor, nn

from models.kernels.counts import BASIS_OWN, basis_filters, basis_parameters
from models.kernels.protocol import Kernel, dense
from models.kernels.stage import StageKernels
from models.kernels.tiles import on_sphere
from models.ledger import KernelShape

ORTHOGONALITY = 10.0


class BasisKernels(StageKernels):
    """W_l = A_l [B_stage; U_l]: a basis of the stage and one filter of the layer's own.

    After Kang & Kim 2020. `filters`: of the basis where a stage has 64 channels, in proportion
    elsewhere (`basis_filters`). Parameters a stage: 9 C s + L (C (s + 1) + 9 C), and the stored
    kernels. `penalty` keeps the filters of each layer near orthonormal, lambda = 10. They are drawn
    orthonormal, and A so that the kernels have the variance 2 / (9 C). What is trained are the
    filters times sqrt(9 C) and A times sqrt((s + 1) / 2), numbers of unit variance.
    """

    count = staticmethod(basis_parameters)

    def __init__(self, shapes: list[KernelShape], filters: int = 16):
        super().__init__(shapes)
        self.size = filters
        self.bases = nn.ParameterDict()
        self.own = nn.ParameterDict()
        self.coefficients = nn.ParameterDict()
        for stage, layers in self.stages.items():
            channels, fan_in = layers[0].out_channels, layers[0].fan_in
            shared = basis_filters(channels, filters)
            used = shared + BASIS_OWN
            basis = torch.linalg.qr(torch.randn(fan_in, shared))[0].t()
            own = torch.randn(len(layers), BASIS_OWN, fan_in)
            own -= own @ basis.t() @ basis
            own = torch.linalg.qr(own.transpose(1, 2))[0].transpose(1, 2)
            rows = on_sphere(len(layers) * channels, used, squared=used)
            coefficients = rows.unflatten(0, (len(layers), channels))
            self.bases[str(stage)] = nn.Parameter(basis.contiguous() * fan_in**0.5)
            self.own[str(stage)] = nn.Parameter(own.contiguous() * fan_in**0.5)
            self.coefficients[str(stage)] = nn.Parameter(coefficients)

    def filters(self, stage: int) -> Tensor:
        """[B; U_l] of all layers of a stage: (L, s + 1, 9 C)."""
        own = self.own[str(stage)]
        filters = torch.cat([self.bases[str(stage)].expand(len(own), -1, -1), own], dim=1)
        return filters * self.stages[stage][0].fan_in ** -0.5

    def of_stage(self, stage: int) -> Tensor:
        """The kernels of a stage that keep its channels: (layers, out, f, f, in)."""
        shape = self.stages[stage][0]
        gain = (2 / (basis_filters(shape.out_channels, self.size) + BASIS_OWN)) ** 0.5
        kernels = self.coefficients[str(stage)] * gain @ self.filters(stage)
        return kernels.unflatten(2, (shape.size, shape.size, shape.in_channels))

    def penalty(self, kernels: list[Kernel]) -> Tensor:
        """lambda times the squared distance of every layer's Gram matrix from the identity."""
        total = torch.zeros((), device=dense(kernels[0]).device)
        for stage in self.stages:
            filters = self.filters(stage)
            gram = filters @ filters.transpose(1, 2)
            total = total + (gram - torch.eye(gram.shape[1], device=gram.device)).square().sum()
        return ORTHOGONALITY * total
