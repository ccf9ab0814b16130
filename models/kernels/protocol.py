"""What a kernel source is, and what a backbone that asks one for its kernels is.

A source is a module built from a list of `KernelShape`. Calling it gives per shape, in that order,
a tensor `(out, in, size, size)` or a `Factored` kernel. `convolve`, `dense` and `full_shape` are
the only code that knows both.
"""

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.ledger import KernelShape


class Factored(NamedTuple):
    """A kernel that is applied as a chain of smaller convolutions.

    With `v`: the Tucker-2 form U G V^T, u (out, r), core (r, r, f, f), v (r, in): 1x1, f x f, 1x1.
    Without: depthwise, then pointwise, core (in, 1, f, f), u (out, in).
    """

    u: Tensor
    core: Tensor
    v: Tensor | None = None


Kernel = Tensor | Factored


def dense(kernel: Kernel) -> Tensor:
    """The kernel (out, in, f, f) that does what a factored one does."""
    if isinstance(kernel, Tensor):
        return kernel
    if kernel.v is None:
        full = kernel.u[:, :, None, None] * kernel.core[:, 0]
    else:
        full = torch.einsum("or,rsxy,si->oixy", kernel.u, kernel.core, kernel.v)
    return full.contiguous(memory_format=torch.channels_last)


class KernelSource(nn.Module):
    """Base of all kernel sources.

    Class attributes: `generated`, whether the kernels are computed from fewer parameters (such a
    source is trained with a recipe's `generated` block); `scales_gradients`, whether it has
    `scale_gradients` (then with the `scaled` block, if the recipe has one); `components`, the
    component of each top-level parameter name. A source also has a static, torch-free
    `count(shapes, **options)`: trainable parameters by component.
    """

    generated: bool = True
    scales_gradients: bool = False
    components: ClassVar[dict[str, str]] = {}

    def __init__(self, shapes: list[KernelShape]):
        super().__init__()
        self.shapes = list(shapes)

    def component_of(self, parameter: str) -> str:
        """The ledger component that a parameter of this source belongs to."""
        return self.components.get(parameter.split(".")[0], "generator")

    def penalty(self, kernels: list[Kernel]) -> Tensor | float:
        """What a source adds to the loss; nothing unless its definition says so."""
        return 0.0

    def scale_gradients(self) -> None:
        """Replace every parameter's gradient by (J^T J)^-1 J^T g.

        J is the derivative of the kernels by the parameter, g the gradient of the kernels (Tong, Ma
        & Chi 2021, "scaled gradient descent"). A small step against it moves the kernels against
        their own gradient, as far as that parameter alone can. Stored kernels have J = 1.
        """
        raise NotImplementedError

    def forward(self) -> list[Kernel]:
        """All kernels, in the order of the shapes."""
        raise NotImplementedError


class KernelNetwork(nn.Module):
    """Base of all backbones: each asks `self.kernels` for its kernels once per forward pass.

    `components`: the ledger component of each top-level parameter name that is not itself one.
    """

    kernels: KernelSource
    components: ClassVar[dict[str, str]] = {}

    @property
    def generated(self) -> bool:
        """Whether the kernels are computed from fewer parameters."""
        return self.kernels.generated

    def generate(self) -> list[Kernel]:
        """All kernels, in fp32.

        Autocast is off, because under it a generator's products silently become bf16.
        """
        device_type = next(self.parameters()).device.type
        with torch.autocast(device_type, enabled=False):
            kernels = self.kernels()
        check_kernels(kernels, self.kernels.shapes)
        return kernels

    def classify(self, x: Tensor, kernels: list[Kernel]) -> Tensor:
        """Logits (B, classes) of images (B, 3, 32, 32) with the given kernels."""
        raise NotImplementedError

    def stored_weights(self) -> list[Tensor]:
        """Weights under L2 besides the kernels: stem, shortcuts and classifier."""
        raise NotImplementedError

    def component_of(self, parameter: str) -> str:
        """The ledger component that a parameter of this network belongs to."""
        head, _, rest = parameter.partition(".")
        if head == "kernels":
            return self.kernels.component_of(rest)
        return self.components.get(head, head)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, classes) of images (B, 3, 32, 32)."""
        return self.classify(x, self.generate())


def check_kernels(kernels: list[Kernel], shapes: list[KernelShape]) -> None:
    """Refuse kernels that do not fit.

    Raises:
        ValueError: naming the kernel, its shape and the wanted one.
    """
    if len(kernels) != len(shapes):
        raise ValueError(
            f"the kernel source gave {len(kernels)} kernels; the backbone has {len(shapes)}"
        )
    for kernel, shape in zip(kernels, shapes, strict=True):
        wanted = (shape.out_channels, shape.in_channels, shape.size, shape.size)
        given = full_shape(kernel)
        if given != wanted:
            raise ValueError(f"kernel {shape.name} has shape {given}, not {wanted}")


def full_shape(kernel: Kernel) -> tuple[int, ...]:
    """(out, in, f, f), of a factored kernel that of its product."""
    if isinstance(kernel, Tensor):
        return tuple(kernel.shape)
    in_channels = kernel.core.shape[0] if kernel.v is None else kernel.v.shape[1]
    return (kernel.u.shape[0], in_channels, *kernel.core.shape[2:])


def convolve(x: Tensor, kernel: Kernel, bias: Tensor | None, stride: int) -> Tensor:
    """A 3x3 convolution with padding 1; a factored kernel is never multiplied out."""
    if isinstance(kernel, Tensor):
        return F.conv2d(x, kernel, bias, stride, padding=1)
    if kernel.v is None:
        x = F.conv2d(x, kernel.core, None, stride, padding=1, groups=len(kernel.core))
    else:
        x = F.conv2d(F.conv2d(x, kernel.v[:, :, None, None]), kernel.core, None, stride, padding=1)
    return F.conv2d(x, kernel.u[:, :, None, None], bias)
