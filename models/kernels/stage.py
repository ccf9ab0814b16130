"""Sharing within a stage: what the sources share that make the kernels of a stage together."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from models.kernels.protocol import KernelSource
from models.ledger import KernelShape, keeps_channels


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
                self.register_parameter(
                    s.name, nn.Parameter(kernel.contiguous(memory_format=torch.channels_last))
                )

    def component_of(self, parameter: str) -> str:
        return "kernels" if parameter.startswith("stage") else super().component_of(parameter)

    def of_stage(self, stage: int) -> Tensor:
        """The kernels of a stage that keep its channels: (layers, out, f, f, in)."""
        raise NotImplementedError

    def forward(self) -> list[Tensor]:
        made = {
            stage: iter(self.of_stage(stage).permute(0, 1, 4, 2, 3).unbind(0))
            for stage in self.stages
        }
        return [
            next(made[s.stage]) if keeps_channels(s) else self.get_parameter(s.name) * s.deviation
            for s in self.shapes
        ]
