"""Sharing within a stage: what the sources share that make the kernels of a stage together."""

from typing import ClassVar

from torch import Tensor, nn

from models.kernels.counts import keeps_channels
from models.kernels.protocol import Kernel, KernelSource
from models.kernels.stored import drawn
from models.ledger import KernelShape


class StageKernels(KernelSource):
    """Stores the kernels that change channels; a subclass makes the others, stage by stage.

    Stored kernels are named by their shape. All parameters are of unit variance, with fixed gains,
    as in the other sources.
    """

    components: ClassVar[dict[str, str]] = {"coefficients": "embeddings"}

    def __init__(self, shapes: list[KernelShape]):
        super().__init__(shapes)
        self.stages: dict[int, list[KernelShape]] = {}
        for shape in shapes:
            if keeps_channels(shape):
                self.stages.setdefault(shape.stage, []).append(shape)
            else:
                self.register_parameter(shape.name, nn.Parameter(drawn(shape)))

    def component_of(self, parameter: str) -> str:
        """The ledger component that a parameter of this source belongs to."""
        return "kernels" if parameter.startswith("stage") else super().component_of(parameter)

    def of_stage(self, stage: int) -> Tensor:
        """The kernels of a stage that keep its channels: (layers, out, f, f, in)."""
        raise NotImplementedError

    def forward(self) -> list[Kernel]:
        """All kernels, in the order of the shapes."""
        made = {}
        for stage in self.stages:
            made[stage] = iter(self.of_stage(stage).permute(0, 1, 4, 2, 3).unbind(0))
        kernels: list[Kernel] = []
        for shape in self.shapes:
            if keeps_channels(shape):
                kernels.append(next(made[shape.stage]))
            else:
                kernels.append(self.get_parameter(shape.name) * shape.deviation)
        return kernels
