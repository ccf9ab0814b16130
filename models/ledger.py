"""Closed forms of the backbones: kernel shapes, parameters by component, MACs, modelled traffic.

Nothing here imports torch, so that `list` answers at once. The tests hold every count against
`numel()` and against the operators that were run. Those of the kernel sources are in
models/kernels/counts.py.
"""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass

COMPONENTS = (
    "stem",
    "kernels",
    "generator",
    "embeddings",
    "biases",
    "batch_norms",
    "shortcuts",
    "classifier",
)
SHORTCUTS = ("pad", "projection")
KERNEL_SIZE = 3
IMAGE_SIZE = 32


@dataclass(frozen=True)
class KernelShape:
    """One 3x3 kernel of a backbone: its name, its place and its shape.

    The place is stage (from 1), block (from 0), and `index` in the block (1 or 2).
    """

    name: str
    stage: int
    block: int
    index: int
    out_channels: int
    in_channels: int
    size: int
    stride: int

    @property
    def numel(self) -> int:
        """How many weights it has."""
        return self.out_channels * self.in_channels * self.size**2

    @property
    def fan_in(self) -> int:
        """How many weights a number of the output is a sum over."""
        return self.in_channels * self.size**2

    @property
    def deviation(self) -> float:
        """Standard deviation of its weights as drawn: sqrt(2 / fan-in) (He et al. 2015)."""
        return (2 / self.fan_in) ** 0.5


def blocks_per_stage(depth: int, outside: int = 4) -> int:
    """n of depth = 6n + `outside` (two convolutions a block, three stages).

    `outside`: how many layers a depth counts besides, 4 in a Wide ResNet's, 2 in a ResNet's.

    Raises:
        ValueError: if `depth` is not of that form.
    """
    least = 6 + outside
    if depth < least or (depth - outside) % 6:
        allowed = ", ".join(str(d) for d in range(least, least + 36, 6))
        near = max(least, (depth - outside + 3) // 6 * 6 + outside)
        raise ValueError(
            f"depth {depth} is not 6n + {outside}; allowed are {allowed}, ... (nearest: {near})"
        )
    return (depth - outside) // 6


def stage_channels(width: int) -> tuple[int, int, int]:
    """Channels of the three stages, (16w, 32w, 64w).

    Raises:
        ValueError: if `width` is less than 1.
    """
    if width < 1:
        raise ValueError(f"width {width} is not allowed; it is at least 1")
    return 16 * width, 32 * width, 64 * width


def narrow_channels(channels: int) -> tuple[int, int, int]:
    """(c, 2c, 4c): a plain network of few parameters.

    Raises:
        ValueError: if `channels` is less than 1.
    """
    if channels < 1:
        raise ValueError(f"{channels} channels are not allowed; it is at least 1")
    return channels, 2 * channels, 4 * channels


def stem_channels(channels: tuple[int, ...]) -> int:
    """Output channels of the stem, at most 16."""
    return min(16, channels[0])


def kernel_shapes(depth: int, channels: tuple[int, ...], outside: int = 4) -> list[KernelShape]:
    """The 3x3 kernels of all residual blocks, in forward order, without the stem's.

    `outside` is that of `blocks_per_stage`.

    Raises:
        ValueError: if `depth` is not allowed.
    """
    shapes = []
    in_channels = stem_channels(channels)
    for stage, out_channels in enumerate(channels, start=1):
        for block in range(blocks_per_stage(depth, outside)):
            for index in (1, 2):
                stride = 2 if stage > 1 and block == 0 and index == 1 else 1
                shape = KernelShape(
                    name=f"stage{stage}_block{block}_conv{index}",
                    stage=stage,
                    block=block,
                    index=index,
                    out_channels=out_channels,
                    in_channels=in_channels,
                    size=KERNEL_SIZE,
                    stride=stride,
                )
                shapes.append(shape)
                in_channels = out_channels
    return shapes


def resnet_kernel_shapes(depth: int, channels: tuple[int, ...]) -> list[KernelShape]:
    """The same of a ResNet, whose depth is 6n + 2."""
    return kernel_shapes(depth, channels, outside=2)


def changes_shape(conv1: KernelShape) -> bool:
    """Whether the block that begins with `conv1` changes channels or resolution."""
    return conv1.stride != 1 or conv1.in_channels != conv1.out_channels


def wide_resnet_parameters(
    shapes: list[KernelShape], num_classes: int, shortcut: str = "pad"
) -> dict[str, int]:
    """Trainable parameters by component, without the kernel source's; batch norms come first."""
    stem, last = shapes[0].in_channels, shapes[-1].out_channels
    counts = {
        "stem": 3 * KERNEL_SIZE**2 * stem,
        "batch_norms": sum(2 * shape.in_channels for shape in shapes) + 2 * last,
        "classifier": (last + 1) * num_classes,
    }
    if shortcut == "pad":
        counts["stem"] += stem  # its bias
        counts["batch_norms"] += 2 * stem
        counts["biases"] = sum(shape.out_channels for shape in shapes)
    else:
        changing = [shape for shape in shapes if shape.index == 1 and changes_shape(shape)]
        counts["shortcuts"] = sum(shape.in_channels * shape.out_channels for shape in changing)
    return counts


def resnet_parameters(shapes: list[KernelShape], num_classes: int) -> dict[str, int]:
    """The same of a ResNet, without biases; a batch norm follows the stem and each kernel."""
    stem, last = shapes[0].in_channels, shapes[-1].out_channels
    return {
        "stem": 3 * KERNEL_SIZE**2 * stem,
        "batch_norms": 2 * stem + sum(2 * s.out_channels for s in shapes),
        "classifier": (last + 1) * num_classes,
    }


def dense_layer_macs(shape: KernelShape, size: int) -> int:
    """MACs of a kernel that is applied as it stands."""
    return shape.numel * size**2


LayerMacs = Callable[[KernelShape, int], int]
"""MACs of one kernel on an output of `size` x `size` pixels."""


def backbone_macs(
    shapes: list[KernelShape],
    num_classes: int,
    layer_macs: LayerMacs | None = None,
    shortcut: str = "pad",
) -> int:
    """MACs per 32x32 image of any of the backbones.

    Convolutions and products count, batch norms, biases and pooling do not. `layer_macs` is of
    kernels that are not applied as they stand.
    """
    layer_macs = layer_macs or dense_layer_macs
    size = IMAGE_SIZE
    macs = 3 * KERNEL_SIZE**2 * shapes[0].in_channels * size**2
    for shape in shapes:
        size //= shape.stride
        macs += layer_macs(shape, size)
        if shortcut == "projection" and shape.index == 1 and changes_shape(shape):
            macs += shape.in_channels * shape.out_channels * size**2
    return macs + shapes[-1].out_channels * num_classes


ACTIVATION_PASSES = 15
"""Reads and writes of a convolution's output in a training step, weights and kernels left out.

They are of a step that fuses what can be fused. Forward 5: written by the convolution; read for the
batch statistics; read and written by BN-ReLU (with the residual sum); read by the next convolution.
Backward 10: the next convolution's weight gradient reads its input and the gradient (2), its input
gradient reads one and writes one (2); batch norm reads the gradient and its input for the sums (2),
then again, and writes (3); the residual sum's gradient is read once more (1). The same number
serves a block that normalises after its convolutions.
"""


def training_bytes(shapes: list[KernelShape], bytes_per_value: int = 2) -> int:
    """Modelled memory traffic of a training step, in bytes per image.

    Every convolution's output passes `ACTIVATION_PASSES` times.
    """
    size, values = IMAGE_SIZE, shapes[0].in_channels * IMAGE_SIZE**2
    for shape in shapes:
        size //= shape.stride
        values += shape.out_channels * size**2
    return ACTIVATION_PASSES * bytes_per_value * values


def nearest_size(count: Callable[[int], int], wanted: int) -> int:
    """The size, from 1 on, whose count is nearest; of two that are as near, the smaller.

    `count` grows with the size, and is at least the size.
    """
    size = bisect_left(range(1, wanted + 1), wanted, key=count) + 1  # the first with enough
    if size > 1 and wanted - count(size - 1) <= abs(count(size) - wanted):
        size -= 1
    return size
