"""Sharing within a stage: banks of whole kernels, and bases of filters; kernels that change channels are stored."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from models.kernels.protocol import KernelSource
from models.kernels.tiles import on_sphere
from models.ledger import (
    BASIS_OWN,
    KernelShape,
    basis_filters,
    basis_parameters,
    keeps_channels,
    stage_template_parameters,
    stage_templates,
)  # fmt: skip


def scale(shape: KernelShape) -> float:
    """Standard deviation of a kernel's weights as drawn."""
    return (2 / shape.fan_in) ** 0.5


class StageKernels(KernelSource):
    """Stores the kernels that change channels, named by their shape; a subclass makes the others, stage by stage.

    Parameters are of unit variance, with fixed gains, as in the other sources: so are those that are stored.
    """

    components: ClassVar[dict[str, str]] = {"coefficients": "embeddings"}

    def __init__(self, shapes: list[KernelShape]):
        super().__init__(shapes)
        self.stages: dict[int, list[KernelShape]] = {}
        for s in shapes:
            if keeps_channels(s):
                self.stages.setdefault(s.stage, []).append(s)
            else:
                kernel = torch.randn(s.out_channels, s.in_channels, s.size, s.size)
                self.register_parameter(s.name, nn.Parameter(kernel.contiguous(memory_format=torch.channels_last)))

    def component_of(self, parameter: str) -> str:
        return "kernels" if parameter.startswith("stage") else super().component_of(parameter)

    def of_stage(self, stage: int) -> Tensor:
        """The kernels of a stage that keep its channels: (layers, out, f, f, in)."""
        raise NotImplementedError

    def forward(self) -> list[Tensor]:
        made = {stage: iter(self.of_stage(stage).permute(0, 1, 4, 2, 3).unbind(0)) for stage in self.stages}
        return [next(made[s.stage]) if keeps_channels(s) else self.get_parameter(s.name) * scale(s) for s in self.shapes]


class StageTemplateKernels(StageKernels):
    """K_l = s / sqrt(K) sum_k alpha_lk B_k, one bank of K kernels a stage (Savarese & Maire 2019, section 3.1).

    Parameters: K (9 C^2 + L) a stage with L layers that keep its C channels, and the stored kernels. `templates` is K of the first
    stage; the others have as many as weigh no more, at least one (`stage_templates`), where the paper has one K. Drawn with
    B ~ N(0, 1) and |alpha_l|^2 = K; s^2 = 2 / (9 C).
    """

    count = staticmethod(stage_template_parameters)

    def __init__(self, shapes: list[KernelShape], templates: int = 2):
        super().__init__(shapes)
        self.gains, self.banks, self.coefficients = {}, nn.ParameterDict(), nn.ParameterDict()
        for (stage, layers), size in zip(self.stages.items(), stage_templates(shapes, templates), strict=True):
            s = layers[0]
            self.gains[stage] = scale(s) * size**-0.5
            self.banks[str(stage)] = nn.Parameter(torch.randn(size, s.out_channels, s.size, s.size, s.in_channels))
            self.coefficients[str(stage)] = nn.Parameter(on_sphere(len(layers), size, squared=size))

    def of_stage(self, stage: int) -> Tensor:
        bank = self.banks[str(stage)]
        return (self.coefficients[str(stage)] @ bank.flatten(1) * self.gains[stage]).unflatten(1, bank.shape[1:])


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
        self.bases, self.own, self.coefficients = nn.ParameterDict(), nn.ParameterDict(), nn.ParameterDict()
        for stage, layers in self.stages.items():
            s, shared = layers[0], basis_filters(layers[0].out_channels, filters)
            basis = torch.linalg.qr(torch.randn(s.fan_in, shared))[0].t()
            own = torch.randn(len(layers), BASIS_OWN, s.fan_in)
            own -= own @ basis.t() @ basis
            own = torch.linalg.qr(own.transpose(1, 2))[0].transpose(1, 2)
            rows = on_sphere(len(layers) * s.out_channels, shared + BASIS_OWN, squared=shared + BASIS_OWN)
            self.bases[str(stage)] = nn.Parameter(basis.contiguous() * s.fan_in**0.5)
            self.own[str(stage)] = nn.Parameter(own.contiguous() * s.fan_in**0.5)
            self.coefficients[str(stage)] = nn.Parameter(rows.unflatten(0, (len(layers), s.out_channels)))

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
