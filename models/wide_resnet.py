"""The Wide ResNet backbone (Zagoruyko & Komodakis 2016), pre-activation, with kernels from any kernel source."""

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.kernels.protocol import KernelNetwork, KernelSource, convolve
from models.ledger import (
    SHORTCUTS,
    KernelShape,
    changes_shape,
    kernel_shapes,
    stage_channels,
    stem_channels,
)


class WideResNet(KernelNetwork):
    """depth = 6n + 4, three stages of n blocks with `channels` (16w, 32w, 64w, or given directly).

    `shortcut="pad"` is the variant that reproduces the counts of Ha et al. 2017: 3x3 convolutions with bias, a batch norm
    right after the stem, shape changes by 2x2 average pooling and zero channels. `"projection"` is the standard WRN: no
    biases, no stem batch norm, stored 1x1 shortcuts. A block that changes shape branches after its first BN-ReLU.

    `kernels` is called with the list of `KernelShape` and gives the kernel source. Input (B, 3, 32, 32), output
    (B, num_classes).

    Raises:
        ValueError: for a depth, width, channels or shortcut that is not allowed.
    """

    components: ClassVar[dict[str, str]] = {
        "norms": "batch_norms",
        "stem_norm": "batch_norms",
        "final_norm": "batch_norms",
    }

    def __init__(
        self,
        depth: int,
        width: int | None = None,
        num_classes: int = 10,
        kernels: Callable[[list[KernelShape]], KernelSource] | None = None,
        shortcut: str = "pad",
        channels: tuple[int, int, int] | None = None,
    ):
        super().__init__()
        if (width is None) == (channels is None):
            raise ValueError(
                f"give either width or channels, not width={width} and channels={channels}"
            )
        if shortcut not in SHORTCUTS:
            raise ValueError(
                f"shortcut {shortcut!r} is not allowed; choose from {', '.join(SHORTCUTS)}"
            )
        if kernels is None:
            raise ValueError(
                "kernels is missing: a function of the kernel shapes, such as StoredKernels"
            )
        channels = tuple(channels) if channels else stage_channels(width)
        shapes, stem, pad = (
            kernel_shapes(depth, channels),
            stem_channels(channels),
            shortcut == "pad",
        )
        self.stem = nn.Conv2d(3, stem, 3, padding=1, bias=pad)
        self.stem_norm = nn.BatchNorm2d(stem) if pad else None
        self.norms = nn.ModuleList(nn.BatchNorm2d(s.in_channels) for s in shapes)
        self.biases = (
            nn.ParameterList(nn.Parameter(torch.zeros(s.out_channels)) for s in shapes)
            if pad
            else None
        )
        changing = [] if pad else [s for s in shapes if s.index == 1 and changes_shape(s)]
        self.shortcuts = nn.ModuleDict(
            {
                f"stage{s.stage}_block{s.block}": nn.Conv2d(
                    s.in_channels, s.out_channels, 1, s.stride, bias=False
                )
                for s in changing
            }
        )
        self.final_norm = nn.BatchNorm2d(channels[-1])
        self.classifier = nn.Linear(channels[-1], num_classes)
        self._initialise()
        self.kernels = kernels(shapes)

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.zeros_(self.classifier.bias)

    def classify(self, x: Tensor, kernels: list[Tensor]) -> Tensor:
        x = self.stem(x)
        if self.stem_norm is not None:
            x = F.relu(self.stem_norm(x))
        for first in range(0, len(kernels), 2):
            x = self._block(x, kernels, first)
        x = F.relu(self.final_norm(x))
        return self.classifier(x.mean((2, 3)))

    def _block(self, x: Tensor, kernels: list[Tensor], first: int) -> Tensor:
        shape = self.kernels.shapes[first]
        out = F.relu(self.norms[first](x))
        shortcut = self._shortcut(out, shape) if changes_shape(shape) else x
        out = convolve(out, kernels[first], self._bias(first), shape.stride)
        out = F.relu(self.norms[first + 1](out))
        return convolve(out, kernels[first + 1], self._bias(first + 1), 1) + shortcut

    def _bias(self, index: int) -> Tensor | None:
        return None if self.biases is None else self.biases[index]

    def _shortcut(self, x: Tensor, shape: KernelShape) -> Tensor:
        if self.biases is None:
            return self.shortcuts[f"stage{shape.stage}_block{shape.block}"](x)
        if shape.stride == 2:
            x = F.avg_pool2d(x, 2)
        return F.pad(x, (0, 0, 0, 0, 0, shape.out_channels - shape.in_channels))

    def stored_weights(self) -> list[Tensor]:
        return [
            self.stem.weight,
            *(m.weight for m in self.shortcuts.values()),
            self.classifier.weight,
        ]
