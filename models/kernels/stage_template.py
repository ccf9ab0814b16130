"""Stage templates: a bank of whole kernels for every stage."""

import torch
from torch import Tensor, nn

from models.kernels.counts import stage_template_parameters, stage_templates
from models.kernels.stage import StageKernels
from models.kernels.tiles import on_sphere
from models.ledger import KernelShape


class StageTemplateKernels(StageKernels):
    """K_l = s / sqrt(K) sum_k alpha_lk B_k, one bank of K kernels a stage.

    After Savarese & Maire 2019, section 3.1. Parameters: K (9 C^2 + L) a stage with L layers that
    keep its C channels, and the stored kernels. `templates` is K of the first stage. The other
    stages have as many as weigh no more, and at least one (`stage_templates`), where the paper has
    one K. Drawn with B ~ N(0, 1) and |alpha_l|^2 = K; s^2 = 2 / (9 C).
    """

    count = staticmethod(stage_template_parameters)

    def __init__(self, shapes: list[KernelShape], templates: int = 2):
        super().__init__(shapes)
        self.gains: dict[int, float] = {}
        self.banks = nn.ParameterDict()
        self.coefficients = nn.ParameterDict()
        sizes = stage_templates(shapes, templates)
        for (stage, layers), size in zip(self.stages.items(), sizes, strict=True):
            shape = layers[0]
            bank = torch.randn(size, shape.out_channels, shape.size, shape.size, shape.in_channels)
            self.gains[stage] = shape.deviation * size**-0.5
            self.banks[str(stage)] = nn.Parameter(bank)
            self.coefficients[str(stage)] = nn.Parameter(on_sphere(len(layers), size, squared=size))

    def of_stage(self, stage: int) -> Tensor:
        """The kernels of a stage that keep its channels: (layers, out, f, f, in)."""
        bank = self.banks[str(stage)]
        kernels = self.coefficients[str(stage)] @ bank.flatten(1) * self.gains[stage]
        return kernels.unflatten(1, bank.shape[1:])
