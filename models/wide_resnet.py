"""The Wide ResNet (Zagoruyko & Komodakis 2016), pre-activation, with any kernel source."""

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.kernels.protocol import Kernel, KernelNetwork, KernelSource, convolve
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

    `shortcut="pad"` is the variant that reproduces the counts of Ha et al. 2017: 3x3 convolutions
    with bias, a batch norm right after the stem, shape changes by 2x2 average pooling and zero
    channels. `"projection"` is the standard WRN: no biases, no stem batch norm, stored 1x1
    shortcuts. A block that changes shape branches after its first BN-ReLU.

    `kernels` is called with the list of `KernelShape` and gives the kernel source. Input
    (B, 3, 32, 32), output (B, num_classes).

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
        channels_of_stages = _channels_of_stages(width, channels)
        if shortcut not in SHORTCUTS:
            raise ValueError(
                f"shortcut {shortcut!r} is not allowed; choose from {', '.join(SHORTCUTS)}"
            )
        if kernels is None:
            raise ValueError(
                "kernels is missing: a function of the kernel shapes, such as StoredKernels"
            )
        shapes = kernel_shapes(depth, channels_of_stages)
        stem, last, pad = (
            stem_channels(channels_of_stages),
            channels_of_stages[-1],
            shortcut == "pad",
        )
        self.stem = nn.Conv2d(3, stem, 3, padding=1, bias=pad)
        self.stem_norm = nn.BatchNorm2d(stem) if pad else None
        self.norms = nn.ModuleList(nn.BatchNorm2d(shape.in_channels) for shape in shapes)
        self.biases: nn.ParameterList | None = None
        if pad:
            biases = [nn.Parameter(torch.zeros(shape.out_channels)) for shape in shapes]
            self.biases = nn.ParameterList(biases)
        self.shortcuts = nn.ModuleDict() if pad else _projections(shapes)
        self.final_norm = nn.BatchNorm2d(last)
        self.classifier = nn.Linear(last, num_classes)
        self._initialise()
        self.kernels = kernels(shapes)

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.zeros_(self.classifier.bias)

    def classify(self, x: Tensor, kernels: list[Kernel]) -> Tensor:
        """Logits (B, classes) of images (B, 3, 32, 32) with the given kernels."""
        x = self.stem(x)
        if self.stem_norm is not None:
            x = F.relu(self.stem_norm(x))
        for first in range(0, len(kernels), 2):
            x = self._block(x, kernels, first)
        x = F.relu(self.final_norm(x))
        return self.classifier(x.mean((2, 3)))

    def _block(self, x: Tensor, kernels: list[Kernel], first: int) -> Tensor:
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
            return self.shortcuts[_block_name(shape)](x)
        if shape.stride == 2:
            x = F.avg_pool2d(x, 2)
        return F.pad(x, (0, 0, 0, 0, 0, shape.out_channels - shape.in_channels))

    def stored_weights(self) -> list[Tensor]:
        """Weights under L2 besides the kernels: stem, shortcuts and classifier."""
        shortcuts = [module.get_parameter("weight") for module in self.shortcuts.values()]
        return [self.stem.weight, *shortcuts, self.classifier.weight]


def _channels_of_stages(width: int | None, channels: Sequence[int] | None) -> tuple[int, ...]:
    if width is not None and channels is None:
        return stage_channels(width)
    if width is None and channels is not None:
        return tuple(channels)
    raise ValueError(f"give either width or channels, not width={width} and channels={channels}")


def _block_name(shape: KernelShape) -> str:
    return f"stage{shape.stage}_block{shape.block}"


def _projections(shapes: list[KernelShape]) -> nn.ModuleDict:
    """A 1x1 convolution for every block that changes shape."""
    projections = nn.ModuleDict()
    for shape in shapes:
        if shape.index == 1 and changes_shape(shape):
            projections[_block_name(shape)] = nn.Conv2d(
                shape.in_channels, shape.out_channels, 1, shape.stride, bias=False
            )
    return projections
