"""What a kernel source is, and what a backbone that asks one for its kernels is.

A source is a module built from a list of `KernelShape`; calling it gives one tensor `(out, in, size, size)` per shape, in
that order. `convolve` and `check_kernels` are the only code that a backbone needs to know of them.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.ledger import KernelShape


class KernelSource(nn.Module):
    """Base of all kernel sources.

    Class attributes: `generated`, whether the kernels are computed from fewer parameters (such a source is trained with a
    recipe's `generated` block). A source also has a static, torch-free `count(shapes, **options)`: trainable parameters by
    component, and `components`: the component of each top-level parameter name.
    """

    generated: bool = True
    components: ClassVar[dict[str, str]] = {}

    def __init__(self, shapes: list[KernelShape]):
        super().__init__()
        self.shapes = list(shapes)

    def component_of(self, parameter: str) -> str:
        """The ledger component that a parameter of this source belongs to."""
        return self.components.get(parameter.split(".")[0], "generator")

    def forward(self) -> list[Tensor]:
        raise NotImplementedError


class KernelNetwork(nn.Module):
    """Base of all backbones: a network that asks `self.kernels` for its kernels once per forward pass."""

    kernels: KernelSource

    @property
    def generated(self) -> bool:
        return self.kernels.generated

    def generate(self) -> list[Tensor]:
        """All kernels in fp32: autocast off, because under it a generator's products silently become bf16."""
        device_type = next(self.parameters()).device.type
        with torch.autocast(device_type, enabled=False):
            kernels = self.kernels()
        check_kernels(kernels, self.kernels.shapes)
        return kernels

    def classify(self, x: Tensor, kernels: list[Tensor]) -> Tensor:
        """Logits (B, classes) of images (B, 3, 32, 32) with the given kernels."""
        raise NotImplementedError

    def stored_weights(self) -> list[Tensor]:
        """Weights under L2 besides the kernels: stem, shortcuts and classifier."""
        raise NotImplementedError

    def component_of(self, parameter: str) -> str:
        """The ledger component that a parameter of this network belongs to."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(x, self.generate())


def check_kernels(kernels: list[Tensor], shapes: list[KernelShape]) -> None:
    """Refuse kernels that do not fit.

    Raises:
        ValueError: naming the kernel, its shape and the wanted one.
    """
    if len(kernels) != len(shapes):
        raise ValueError(f"the kernel source gave {len(kernels)} kernels; the backbone has {len(shapes)}")
    for kernel, shape in zip(kernels, shapes, strict=True):
        wanted = (shape.out_channels, shape.in_channels, shape.size, shape.size)
        if tuple(kernel.shape) != wanted:
            raise ValueError(f"kernel {shape.name} has shape {tuple(kernel.shape)}, not {wanted}")


def convolve(x: Tensor, kernel: Tensor, bias: Tensor | None, stride: int) -> Tensor:
    """A 3x3 convolution with padding 1."""
    return F.conv2d(x, kernel, bias, stride, padding=1)
