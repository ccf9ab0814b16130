"""Closed-form counts of the Wide ResNet: kernel shapes, parameters and MACs by component.

Nothing here imports torch, so that `list` answers at once; the tests hold every count against `numel()` and against the
operators that were run.
"""

from dataclasses import dataclass

COMPONENTS = ("stem", "kernels", "generator", "embeddings", "biases", "batch_norms", "shortcuts", "classifier")
SHORTCUTS = ("pad", "projection")
KERNEL_SIZE = 3
IMAGE_SIZE = 32


@dataclass(frozen=True)
class KernelShape:
    """One 3x3 kernel of a backbone: its name, its place (stage, block, index in the block) and its shape."""

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
        return self.out_channels * self.in_channels * self.size**2

    @property
    def fan_in(self) -> int:
        return self.in_channels * self.size**2


def blocks_per_stage(depth: int) -> int:
    """n of depth = 6n + 4 (two convolutions a block, three stages).

    Raises:
        ValueError: if `depth` is not of that form.
    """
    if depth < 10 or (depth - 4) % 6:
        near = max(10, 6 * round((depth - 4) / 6) + 4)
        raise ValueError(f"depth {depth} is not 6n + 4; allowed are 10, 16, 22, 28, 34, 40, ... (nearest: {near})")
    return (depth - 4) // 6


def stage_channels(width: int) -> tuple[int, int, int]:
    """Channels of the three stages, (16w, 32w, 64w).

    Raises:
        ValueError: if `width` is less than 1.
    """
    if width < 1:
        raise ValueError(f"width {width} is not allowed; it is at least 1")
    return 16 * width, 32 * width, 64 * width


def stem_channels(channels: tuple[int, ...]) -> int:
    return min(16, channels[0])


def kernel_shapes(depth: int, channels: tuple[int, ...]) -> list[KernelShape]:
    """The 3x3 kernels of all residual blocks in forward order; the stem's is not among them."""
    shapes, in_channels = [], stem_channels(channels)
    for stage, out_channels in enumerate(channels, start=1):
        for block in range(blocks_per_stage(depth)):
            for index in (1, 2):
                stride = 2 if stage > 1 and block == 0 and index == 1 else 1
                name = f"stage{stage}_block{block}_conv{index}"
                shapes.append(KernelShape(name, stage, block, index, out_channels, in_channels, KERNEL_SIZE, stride))
                in_channels = out_channels
    return shapes


def changes_shape(conv1: KernelShape) -> bool:
    """Whether the block that begins with `conv1` changes channels or resolution."""
    return conv1.stride != 1 or conv1.in_channels != conv1.out_channels


def backbone_parameters(depth: int, channels: tuple[int, ...], shortcut: str, num_classes: int) -> dict[str, int]:
    """Trainable parameters of everything but the kernel source, by component."""
    shapes, stem, pad = kernel_shapes(depth, channels), stem_channels(channels), shortcut == "pad"
    changing = [s for s in shapes if s.index == 1 and changes_shape(s)]
    norms = sum(2 * s.in_channels for s in shapes) + 2 * channels[-1] + (2 * stem if pad else 0)
    return {
        "stem": 3 * KERNEL_SIZE**2 * stem + (stem if pad else 0),
        "biases": sum(s.out_channels for s in shapes) if pad else 0,
        "batch_norms": norms,
        "shortcuts": 0 if pad else sum(s.in_channels * s.out_channels for s in changing),
        "classifier": (channels[-1] + 1) * num_classes,
    }


def backbone_macs(depth: int, channels: tuple[int, ...], shortcut: str, num_classes: int) -> int:
    """MACs per 32x32 image: convolutions and products only, no batch norm, bias or pooling."""
    size = IMAGE_SIZE
    macs = 3 * KERNEL_SIZE**2 * stem_channels(channels) * size**2
    for shape in kernel_shapes(depth, channels):
        size //= shape.stride
        macs += shape.numel * size**2
        if shortcut == "projection" and shape.index == 1 and changes_shape(shape):
            macs += shape.in_channels * shape.out_channels * size**2
    return macs + channels[-1] * num_classes


def stored_parameters(shapes: list[KernelShape]) -> dict[str, int]:
    """Parameters of stored kernels: every weight."""
    return {"kernels": sum(s.numel for s in shapes)}


def stored_macs(shapes: list[KernelShape]) -> int:
    """Stored kernels cost nothing to obtain."""
    return 0


def tile_counts(shapes: list[KernelShape], tile: int = 16) -> list[int]:
    """Tiles per kernel.

    Raises:
        ValueError: if a channel count is not a multiple of `tile`.
    """
    for shape in shapes:
        for channels in (shape.in_channels, shape.out_channels):
            if channels % tile:
                raise ValueError(f"{channels} channels in {shape.name} are not a multiple of the tile, {tile}")
    return [(s.in_channels // tile) * (s.out_channels // tile) for s in shapes]


def hyper_parameters(shapes: list[KernelShape], embedding: int = 64, tile: int = 16) -> dict[str, int]:
    """The static hypernetwork: d(N_z + 1)n + n f^2 (d + 1) shared, N_z a tile, with d = N_z and n = `tile`."""
    out_features = tile * KERNEL_SIZE**2
    generator = tile * embedding * (embedding + 1) + out_features * (embedding + 1)
    return {"generator": generator, "embeddings": embedding * sum(tile_counts(shapes, tile))}


def hyper_macs(shapes: list[KernelShape], embedding: int = 64, tile: int = 16) -> int:
    """MACs of one generation of all kernels, whatever the batch: two products a tile."""
    per_tile = tile * embedding * embedding + tile * (tile * KERNEL_SIZE**2) * embedding
    return per_tile * sum(tile_counts(shapes, tile))


ACTIVATION_PASSES = 15
"""Reads and writes of a convolution's output in a training step that fuses what can be fused, weights and kernels left out.

Forward 5: written by the convolution; read for the batch statistics; read and written by BN-ReLU (with the residual sum);
read by the next convolution. Backward 10: the next convolution's weight gradient reads its input and the gradient (2), its
input gradient reads one and writes one (2); batch norm reads the gradient and its input for the sums (2), then again, and
writes (3); the residual sum's gradient is read once more (1).
"""


def training_bytes(depth: int, channels: tuple[int, ...], bytes_per_value: int = 2) -> int:
    """Modelled memory traffic of a training step, bytes per image: every convolution's output, `ACTIVATION_PASSES` times."""
    size, values = IMAGE_SIZE, stem_channels(channels) * IMAGE_SIZE**2
    for shape in kernel_shapes(depth, channels):
        size //= shape.stride
        values += shape.out_channels * size**2
    return ACTIVATION_PASSES * bytes_per_value * values
