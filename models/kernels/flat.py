"""Kernels cut from one vector of all weights of the network."""

from torch import Tensor

from models.kernels.protocol import KernelSource


class FlatKernels(KernelSource):
    """Kernels cut from one vector of all weights, in order, each in the layout (out, f, f, in): channels_last memory."""

    def flat(self) -> Tensor:
        """All weights before their layers' scale, unit variance."""
        raise NotImplementedError

    def forward(self) -> list[Tensor]:
        parts = self.flat().split([s.numel for s in self.shapes])
        return [
            (s.deviation * part)
            .view(s.out_channels, s.size, s.size, s.in_channels)
            .permute(0, 3, 1, 2)
            for s, part in zip(self.shapes, parts, strict=True)
        ]
