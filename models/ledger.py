"""Closed-form counts of the backbones and the kernel sources: kernel shapes, parameters and MACs by component.

Nothing here imports torch, so that `list` answers at once; the tests hold every count against `numel()` and against the
operators that were run.
"""

import math
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

    @property
    def deviation(self) -> float:
        """Standard deviation of the kernel's weights as drawn: sqrt(2 / fan-in) (He et al. 2015)."""
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
    return min(16, channels[0])


def kernel_shapes(depth: int, channels: tuple[int, ...], outside: int = 4) -> list[KernelShape]:
    """The 3x3 kernels of all residual blocks in forward order; the stem's is not among them. `outside`: `blocks_per_stage`."""
    shapes, in_channels = [], stem_channels(channels)
    for stage, out_channels in enumerate(channels, start=1):
        for block in range(blocks_per_stage(depth, outside)):
            for index in (1, 2):
                stride = 2 if stage > 1 and block == 0 and index == 1 else 1
                name = f"stage{stage}_block{block}_conv{index}"
                shapes.append(
                    KernelShape(
                        name, stage, block, index, out_channels, in_channels, KERNEL_SIZE, stride
                    )
                )
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
    """Trainable parameters of everything but the kernel source, by component; a batch norm precedes each kernel."""
    stem, last, pad = shapes[0].in_channels, shapes[-1].out_channels, shortcut == "pad"
    changing = [s for s in shapes if s.index == 1 and changes_shape(s)]
    return {
        "stem": 3 * KERNEL_SIZE**2 * stem + (stem if pad else 0),
        "biases": sum(s.out_channels for s in shapes) if pad else 0,
        "batch_norms": sum(2 * s.in_channels for s in shapes) + 2 * last + (2 * stem if pad else 0),
        "shortcuts": 0 if pad else sum(s.in_channels * s.out_channels for s in changing),
        "classifier": (last + 1) * num_classes,
    }


def resnet_parameters(shapes: list[KernelShape], num_classes: int) -> dict[str, int]:
    """The same of a ResNet: a batch norm follows the stem and each kernel; shortcuts and biases have no parameters."""
    stem, last = shapes[0].in_channels, shapes[-1].out_channels
    return {
        "stem": 3 * KERNEL_SIZE**2 * stem,
        "batch_norms": 2 * stem + sum(2 * s.out_channels for s in shapes),
        "classifier": (last + 1) * num_classes,
    }


LayerMacs = Callable[[KernelShape, int], int]
"""MACs of one kernel on an output of `size` x `size` pixels."""


def backbone_macs(
    shapes: list[KernelShape],
    num_classes: int,
    layer_macs: LayerMacs | None = None,
    shortcut: str = "pad",
) -> int:
    """MACs per 32x32 image of any of the backbones: convolutions and products only, no batch norm, bias or pooling.

    `layer_macs` is of kernels that are not applied as they stand.
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


def stored_parameters(shapes: list[KernelShape]) -> dict[str, int]:
    """Parameters of stored kernels: every weight."""
    return {"kernels": sum(s.numel for s in shapes)}


def no_macs(shapes: list[KernelShape], **options: int) -> int:
    """Kernels that are stored, looked up or applied factor by factor cost no products to obtain."""
    return 0


def tile_counts(shapes: list[KernelShape], tile: int = 16) -> list[int]:
    """Tiles per kernel.

    Raises:
        ValueError: if a channel count is not a multiple of `tile`.
    """
    for shape in shapes:
        for channels in (shape.in_channels, shape.out_channels):
            if channels % tile:
                raise ValueError(
                    f"{channels} channels in {shape.name} are not a multiple of the tile, {tile}"
                )
    return [(s.in_channels // tile) * (s.out_channels // tile) for s in shapes]


def hyper_parameters(
    shapes: list[KernelShape], embedding: int = 64, tile: int = 16
) -> dict[str, int]:
    """The static hypernetwork: d(N_z + 1)n + n f^2 (d + 1) shared, N_z a tile, with d = N_z and n = `tile`."""
    out_features = tile * KERNEL_SIZE**2
    generator = tile * embedding * (embedding + 1) + out_features * (embedding + 1)
    return {"generator": generator, "embeddings": embedding * sum(tile_counts(shapes, tile))}


def hyper_macs(shapes: list[KernelShape], embedding: int = 64, tile: int = 16) -> int:
    """MACs of one generation of all kernels, whatever the batch: two products a tile."""
    per_tile = tile * embedding * embedding + tile * (tile * KERNEL_SIZE**2) * embedding
    return per_tile * sum(tile_counts(shapes, tile))


def tile_numel(tile: int) -> int:
    return tile**2 * KERNEL_SIZE**2


def template_parameters(
    shapes: list[KernelShape], templates: int = 32, tile: int = 16
) -> dict[str, int]:
    """K templates of a whole tile, K coefficients a tile."""
    return {
        "generator": templates * tile_numel(tile),
        "embeddings": templates * sum(tile_counts(shapes, tile)),
    }


def template_macs(shapes: list[KernelShape], templates: int = 32, tile: int = 16) -> int:
    return templates * tile_numel(tile) * sum(tile_counts(shapes, tile))


CHUNK_EMBEDDING = 32


def chunked_parameters(
    shapes: list[KernelShape], hidden: int = 37, tile: int = 16
) -> dict[str, int]:
    """A perceptron with one hidden layer, and an embedding a tile."""
    generator = hidden * (CHUNK_EMBEDDING + 1) + tile_numel(tile) * (hidden + 1)
    return {"generator": generator, "embeddings": CHUNK_EMBEDDING * sum(tile_counts(shapes, tile))}


def chunked_macs(shapes: list[KernelShape], hidden: int = 37, tile: int = 16) -> int:
    return hidden * (CHUNK_EMBEDDING + tile_numel(tile)) * sum(tile_counts(shapes, tile))


def subspace_parameters(
    shapes: list[KernelShape], dimension: int = 390, tile: int = 16
) -> dict[str, int]:
    """`dimension` coefficients a tile; the basis is frozen."""
    return {"embeddings": dimension * sum(tile_counts(shapes, tile))}


def subspace_macs(shapes: list[KernelShape], dimension: int = 390, tile: int = 16) -> int:
    return dimension * tile_numel(tile) * sum(tile_counts(shapes, tile))


def hashed_parameters(shapes: list[KernelShape], values: int = 90_000) -> dict[str, int]:
    return {"generator": values}


def multihash_parameters(shapes: list[KernelShape], rank: int = 60) -> dict[str, int]:
    """Two factors of a square matrix that holds all weights."""
    return {"generator": 2 * rank * _square_side(shapes)}


def multihash_macs(shapes: list[KernelShape], rank: int = 60) -> int:
    return rank * _square_side(shapes) ** 2


def _square_side(shapes: list[KernelShape]) -> int:
    return math.isqrt(sum(s.numel for s in shapes) - 1) + 1


def shared_key(shape: KernelShape) -> str:
    """The name of the kernel that a shape uses under hard sharing."""
    return f"stage{shape.stage}_{'later' if shape.block else 'first'}_conv{shape.index}"


def shared_parameters(shapes: list[KernelShape]) -> dict[str, int]:
    return {"kernels": sum({shared_key(s): s.numel for s in shapes}.values())}


def tucker_ranks(shapes: list[KernelShape], ranks: int) -> list[int]:
    """Ranks that grow with a layer's channels and, layer by layer, with `ranks`, their sum if all layers had 64 channels."""
    return [max(1, (ranks * s.out_channels // 64 + i) // len(shapes)) for i, s in enumerate(shapes)]


def tucker_parameters(shapes: list[KernelShape], ranks: int = 600) -> dict[str, int]:
    chosen = zip(shapes, tucker_ranks(shapes, ranks), strict=True)
    return {
        "generator": sum(
            r * (s.in_channels + s.out_channels) + (r * s.size) ** 2 for s, r in chosen
        )
    }


def tucker_layer_macs(shapes: list[KernelShape], ranks: int = 600) -> LayerMacs:
    """1x1 before the stride, then f x f and 1x1 on the output."""
    chosen = dict(zip((s.name for s in shapes), tucker_ranks(shapes, ranks), strict=True))

    def macs(shape: KernelShape, size: int) -> int:
        rank = chosen[shape.name]
        before = rank * shape.in_channels * (size * shape.stride) ** 2
        return before + ((rank * shape.size) ** 2 + rank * shape.out_channels) * size**2

    return macs


def separable_parameters(shapes: list[KernelShape]) -> dict[str, int]:
    return {"kernels": sum(s.in_channels * (s.size**2 + s.out_channels) for s in shapes)}


def separable_layer_macs(shapes: list[KernelShape]) -> LayerMacs:
    return lambda shape, size: shape.in_channels * (shape.size**2 + shape.out_channels) * size**2


def dense_layer_macs(shape: KernelShape, size: int) -> int:
    return shape.numel * size**2


def keeps_channels(shape: KernelShape) -> bool:
    return shape.in_channels == shape.out_channels


def _stages(shapes: list[KernelShape]) -> list[tuple[int, int]]:
    """(channels, layers that keep them) by stage."""
    kept = [s for s in shapes if keeps_channels(s)]
    return [
        (group[0].out_channels, len(group))
        for stage in sorted({s.stage for s in kept})
        if (group := [s for s in kept if s.stage == stage])
    ]


def _changing(shapes: list[KernelShape]) -> int:
    return sum(s.numel for s in shapes if not keeps_channels(s))


def stage_templates(shapes: list[KernelShape], templates: int) -> list[int]:
    """Templates of each stage: `templates` in the first, elsewhere as many as have no more weights, and at least one."""
    first, *_ = stages = [channels for channels, _ in _stages(shapes)]
    return [max(1, templates * first**2 // channels**2) for channels in stages]


def stage_template_parameters(shapes: list[KernelShape], templates: int = 2) -> dict[str, int]:
    """A bank a stage, a coefficient a layer for each template of its stage."""
    chosen = list(zip(stage_templates(shapes, templates), _stages(shapes), strict=True))
    banks = sum(k * (KERNEL_SIZE * channels) ** 2 for k, (channels, _) in chosen)
    return {
        "kernels": _changing(shapes),
        "generator": banks,
        "embeddings": sum(k * layers for k, (_, layers) in chosen),
    }


def stage_template_macs(shapes: list[KernelShape], templates: int = 2) -> int:
    chosen = zip(stage_templates(shapes, templates), _stages(shapes), strict=True)
    return sum(k * layers * (KERNEL_SIZE * channels) ** 2 for k, (channels, layers) in chosen)


BASIS_OWN = 1


def basis_filters(channels: int, filters: int) -> int:
    """Filters of a stage's basis."""
    return max(1, filters * channels // 64)


def basis_parameters(shapes: list[KernelShape], filters: int = 16) -> dict[str, int]:
    """Per stage a basis; per layer own filters and, for every output channel, coefficients of both."""
    generator = embeddings = 0
    for channels, layers in _stages(shapes):
        shared = basis_filters(channels, filters)
        generator += KERNEL_SIZE**2 * channels * (shared + BASIS_OWN * layers)
        embeddings += layers * channels * (shared + BASIS_OWN)
    return {"kernels": _changing(shapes), "generator": generator, "embeddings": embeddings}


def basis_macs(shapes: list[KernelShape], filters: int = 16) -> int:
    return sum(
        n * c * (basis_filters(c, filters) + BASIS_OWN) * KERNEL_SIZE**2 * c
        for c, n in _stages(shapes)
    )


ACTIVATION_PASSES = 15
"""Reads and writes of a convolution's output in a training step that fuses what can be fused, weights and kernels left out.

Forward 5: written by the convolution; read for the batch statistics; read and written by BN-ReLU (with the residual sum);
read by the next convolution. Backward 10: the next convolution's weight gradient reads its input and the gradient (2), its
input gradient reads one and writes one (2); batch norm reads the gradient and its input for the sums (2), then again, and
writes (3); the residual sum's gradient is read once more (1). The same figure serves a block
that normalises after its convolutions.
"""


def training_bytes(shapes: list[KernelShape], bytes_per_value: int = 2) -> int:
    """Modelled memory traffic of a training step, bytes per image: every convolution's output, `ACTIVATION_PASSES` times."""
    size, values = IMAGE_SIZE, shapes[0].in_channels * IMAGE_SIZE**2
    for shape in shapes:
        size //= shape.stride
        values += shape.out_channels * size**2
    return ACTIVATION_PASSES * bytes_per_value * values
