"""Kernels cut from one vector of all weights of the network."""

from torch import Tensor

from models.kernels.protocol import Kernel, KernelSource


class FlatKernels(KernelSource):
    """Kernels cut from one vector of all weights, in order.

    Each has the layout (out, f, f, in) there: channels_last memory.
    """

    def flat(self) -> Tensor:
        """All weights before the scale of their layers, of unit variance."""
        raise NotImplementedError

    def forward(self) -> list[Kernel]:
        """All kernels, in the order of the shapes."""
        parts = self.flat().split([shape.numel for shape in self.shapes])
        kernels: list[Kernel] = []
        for shape, part in zip(self.shapes, parts, strict=True):
            kernel = (shape.deviation * part).view(
                shape.out_channels, shape.size, shape.size, shape.in_channels
            )
            kernels.append(kernel.permute(0, 3, 1, 2))
        return kernels
