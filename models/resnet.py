"""The CIFAR ResNet (He et al. 2016, section 4.2), post-activation, with any kernel source."""

from collections.abc import Callable
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from models.kernels.protocol import Kernel, KernelNetwork, KernelSource, convolve
from models.ledger import KernelShape, changes_shape, resnet_kernel_shapes, stem_channels


class ResNet(KernelNetwork):
    """depth = 6n + 2, three stages of n blocks; ResNet-20, 32, 44, 56 with the paper's `channels`.

    A block is ReLU(x + BN(conv(ReLU(BN(conv(x)))))); no convolution has a bias. Shortcuts are
    option A, without parameters: every other pixel where the stride is 2, and zeros for the new
    channels. The paper does not say where the zeros go. Here they follow the old channels; some
    code puts half of them before. The difference is an order of channels.

    `kernels` is called with the list of `KernelShape` and gives the kernel source. Input
    (B, 3, 32, 32), output (B, num_classes).

    Raises:
        ValueError: for a depth that is not allowed.
    """

    components: ClassVar[dict[str, str]] = {"norms": "batch_norms", "stem_norm": "batch_norms"}

    def __init__(
        self,
        depth: int,
        num_classes: int = 10,
        *,
        kernels: Callable[[list[KernelShape]], KernelSource],
        channels: tuple[int, int, int] = (16, 32, 64),
    ):
        super().__init__()
        shapes, stem = resnet_kernel_shapes(depth, channels), stem_channels(channels)
        self.stem = nn.Conv2d(3, stem, 3, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(stem)
        self.norms = nn.ModuleList(nn.BatchNorm2d(shape.out_channels) for shape in shapes)
        self.classifier = nn.Linear(channels[-1], num_classes)
        nn.init.kaiming_normal_(self.stem.weight, nonlinearity="relu")
        nn.init.zeros_(self.classifier.bias)
        self.kernels = kernels(shapes)

    def classify(self, x: Tensor, kernels: list[Kernel]) -> Tensor:
        """Logits (B, classes) of images (B, 3, 32, 32) with the given kernels."""
        x = F.relu(self.stem_norm(self.stem(x)))
        for first in range(0, len(kernels), 2):
            x = self._block(x, kernels, first)
        return self.classifier(x.mean((2, 3)))

    def _block(self, x: Tensor, kernels: list[Kernel], first: int) -> Tensor:
        shape = self.kernels.shapes[first]
        out = F.relu(self.norms[first](convolve(x, kernels[first], None, shape.stride)))
        out = self.norms[first + 1](convolve(out, kernels[first + 1], None, 1))
        return F.relu(out + (_option_a(x, shape) if changes_shape(shape) else x))

    def stored_weights(self) -> list[Tensor]:
        """Weights under L2 besides the kernels: stem, shortcuts and classifier."""
        return [self.stem.weight, self.classifier.weight]


def _option_a(x: Tensor, shape: KernelShape) -> Tensor:
    """Every `stride`-th pixel, and zeros for the new channels."""
    x = x[:, :, :: shape.stride, :: shape.stride]
    return F.pad(x, (0, 0, 0, 0, 0, shape.out_channels - shape.in_channels))
