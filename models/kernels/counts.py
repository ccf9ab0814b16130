"""The table of kernel sources: the closed forms of each, followed by its row. No torch here.

A new source is its class, in a file beside this one, and a section here. `parameters` functions
give trainable parameters by component, `macs` functions the MACs of one generation of all kernels,
whatever the batch.
"""

import math

from models.entries import KernelEntry
from models.ledger import KERNEL_SIZE, KernelShape, LayerMacs

KERNELS: dict[str, KernelEntry] = {}
"""The built-in kernel sources by name."""


def no_macs(shapes: list[KernelShape], **options: int) -> int:
    """Kernels that are stored, looked up or applied factor by factor cost no products to make."""
    return 0


# Stored: every weight.


def stored_parameters(shapes: list[KernelShape]) -> dict[str, int]:
    """Every weight is a parameter."""
    return {"kernels": sum(shape.numel for shape in shapes)}


KERNELS["stored"] = KernelEntry(
    "models.kernels.stored:StoredKernels", stored_parameters, macs=no_macs
)


# Tiles: what the sources share that make kernels of tiles.


def tile_counts(shapes: list[KernelShape], tile: int = 16) -> list[int]:
    """How many tiles each kernel has.

    Raises:
        ValueError: if a channel count is not a multiple of `tile`.
    """
    counts = []
    for shape in shapes:
        for channels in (shape.in_channels, shape.out_channels):
            if channels % tile:
                raise ValueError(
                    f"{channels} channels in {shape.name} are not a multiple of the tile, {tile}"
                )
        counts.append((shape.in_channels // tile) * (shape.out_channels // tile))
    return counts


def tile_numel(tile: int) -> int:
    """How many weights a tile has."""
    return tile**2 * KERNEL_SIZE**2


# Hyper: the static hypernetwork, N_z = d = `embedding`.


def hyper_parameters(
    shapes: list[KernelShape], embedding: int = 64, tile: int = 16
) -> dict[str, int]:
    """d(N_z + 1)n + n f^2 (d + 1) shared by all tiles, n = `tile`, and N_z a tile."""
    out_features = tile * KERNEL_SIZE**2
    generator = tile * embedding * (embedding + 1) + out_features * (embedding + 1)
    return {"generator": generator, "embeddings": embedding * sum(tile_counts(shapes, tile))}


def hyper_macs(shapes: list[KernelShape], embedding: int = 64, tile: int = 16) -> int:
    """Two products a tile."""
    per_tile = tile * embedding * embedding + tile * (tile * KERNEL_SIZE**2) * embedding
    return per_tile * sum(tile_counts(shapes, tile))


KERNELS["hyper"] = KernelEntry(
    "models.kernels.hyper:HyperKernels", hyper_parameters, hyper_macs, size="embedding"
)


# Template: a bank of whole tiles.


def template_parameters(
    shapes: list[KernelShape], templates: int = 32, tile: int = 16
) -> dict[str, int]:
    """K templates of a whole tile, and K coefficients a tile."""
    return {
        "generator": templates * tile_numel(tile),
        "embeddings": templates * sum(tile_counts(shapes, tile)),
    }


def template_macs(shapes: list[KernelShape], templates: int = 32, tile: int = 16) -> int:
    """K products with a whole tile, a tile."""
    return templates * tile_numel(tile) * sum(tile_counts(shapes, tile))


KERNELS["template"] = KernelEntry(
    "models.kernels.template:TemplateKernels",
    template_parameters,
    template_macs,
    size="templates",
)


# Chunked: a perceptron of the tile's embedding.

CHUNK_EMBEDDING = 32


def chunked_parameters(
    shapes: list[KernelShape], hidden: int = 37, tile: int = 16
) -> dict[str, int]:
    """A perceptron with one hidden layer, and an embedding a tile."""
    generator = hidden * (CHUNK_EMBEDDING + 1) + tile_numel(tile) * (hidden + 1)
    return {"generator": generator, "embeddings": CHUNK_EMBEDDING * sum(tile_counts(shapes, tile))}


def chunked_macs(shapes: list[KernelShape], hidden: int = 37, tile: int = 16) -> int:
    """Both layers of the perceptron, a tile."""
    return hidden * (CHUNK_EMBEDDING + tile_numel(tile)) * sum(tile_counts(shapes, tile))


KERNELS["chunked"] = KernelEntry(
    "models.kernels.chunked:ChunkedKernels", chunked_parameters, chunked_macs, size="hidden"
)


# Subspace: coefficients of one frozen random basis.


def subspace_parameters(
    shapes: list[KernelShape], dimension: int = 390, tile: int = 16
) -> dict[str, int]:
    """`dimension` coefficients a tile; the basis is frozen."""
    return {"embeddings": dimension * sum(tile_counts(shapes, tile))}


def subspace_macs(shapes: list[KernelShape], dimension: int = 390, tile: int = 16) -> int:
    """`dimension` products with a whole tile, a tile."""
    return dimension * tile_numel(tile) * sum(tile_counts(shapes, tile))


KERNELS["subspace"] = KernelEntry(
    "models.kernels.subspace:SubspaceKernels",
    subspace_parameters,
    subspace_macs,
    size="dimension",
)


# Hashed: weights that share their values at random.


def hashed_parameters(shapes: list[KernelShape], values: int = 90_000) -> dict[str, int]:
    """One vector of `values` numbers."""
    return {"generator": values}


KERNELS["hashed"] = KernelEntry(
    "models.kernels.hashed:HashedKernels", hashed_parameters, macs=no_macs, size="values"
)


# Multihash: all weights are one square matrix of low rank.


def square_side(shapes: list[KernelShape]) -> int:
    """The side of the smallest square matrix that holds all weights."""
    return math.isqrt(sum(shape.numel for shape in shapes) - 1) + 1


def multihash_parameters(shapes: list[KernelShape], rank: int = 60) -> dict[str, int]:
    """Two factors of the matrix."""
    return {"generator": 2 * rank * square_side(shapes)}


def multihash_macs(shapes: list[KernelShape], rank: int = 60) -> int:
    """The product of the two factors."""
    return rank * square_side(shapes) ** 2


KERNELS["multihash"] = KernelEntry(
    "models.kernels.multihash:MultihashKernels",
    multihash_parameters,
    multihash_macs,
    size="rank",
)


# Tucker: low rank in each layer, applied factor by factor.


def tucker_ranks(shapes: list[KernelShape], ranks: int) -> list[int]:
    """The rank of each layer, at least one.

    Ranks grow with the channels of a layer and, layer by layer, with `ranks`, which is their sum
    where all layers have 64 channels.
    """
    return [
        max(1, (ranks * shape.out_channels // 64 + number) // len(shapes))
        for number, shape in enumerate(shapes)
    ]


def tucker_parameters(shapes: list[KernelShape], ranks: int = 600) -> dict[str, int]:
    """r (C_in + C_out) + f^2 r^2 a layer of rank r."""
    total = 0
    for shape, rank in zip(shapes, tucker_ranks(shapes, ranks), strict=True):
        total += rank * (shape.in_channels + shape.out_channels) + (rank * shape.size) ** 2
    return {"generator": total}


def tucker_layer_macs(shapes: list[KernelShape], ranks: int = 600) -> LayerMacs:
    """1x1 before the stride, then f x f and 1x1 on the output."""
    names = [shape.name for shape in shapes]
    rank_of = dict(zip(names, tucker_ranks(shapes, ranks), strict=True))

    def macs(shape: KernelShape, size: int) -> int:
        rank = rank_of[shape.name]
        before = rank * shape.in_channels * (size * shape.stride) ** 2
        return before + ((rank * shape.size) ** 2 + rank * shape.out_channels) * size**2

    return macs


KERNELS["tucker"] = KernelEntry(
    "models.kernels.tucker:TuckerKernels",
    tucker_parameters,
    macs=no_macs,
    size="ranks",
    layer_macs=tucker_layer_macs,
)


# Stages: what the sources share that make the kernels of a stage together.


def keeps_channels(shape: KernelShape) -> bool:
    """Whether a kernel has as many output as input channels."""
    return shape.in_channels == shape.out_channels


def stages(shapes: list[KernelShape]) -> list[tuple[int, int]]:
    """By stage: its channels, and how many layers keep them."""
    channels: dict[int, int] = {}
    layers: dict[int, int] = {}
    for shape in shapes:
        if keeps_channels(shape):
            channels[shape.stage] = shape.out_channels
            layers[shape.stage] = layers.get(shape.stage, 0) + 1
    return [(channels[stage], layers[stage]) for stage in sorted(layers)]


def changing_numel(shapes: list[KernelShape]) -> int:
    """How many weights the kernels have that change the channels; these are stored."""
    return sum(shape.numel for shape in shapes if not keeps_channels(shape))


# Basis: the filters of a layer are combinations of a basis of its stage and of its own filters.

BASIS_OWN = 1
"""How many filters of its own a layer has."""


def basis_filters(channels: int, filters: int) -> int:
    """How many filters the basis of a stage has."""
    return max(1, filters * channels // 64)


def basis_parameters(shapes: list[KernelShape], filters: int = 16) -> dict[str, int]:
    """A basis a stage; a layer has filters of its own, an output channel coefficients of both."""
    generator = embeddings = 0
    for channels, layers in stages(shapes):
        shared = basis_filters(channels, filters)
        generator += KERNEL_SIZE**2 * channels * (shared + BASIS_OWN * layers)
        embeddings += layers * channels * (shared + BASIS_OWN)
    return {"kernels": changing_numel(shapes), "generator": generator, "embeddings": embeddings}


def basis_macs(shapes: list[KernelShape], filters: int = 16) -> int:
    """Every output channel's product of its coefficients with the filters of its layer."""
    total = 0
    for channels, layers in stages(shapes):
        used = basis_filters(channels, filters) + BASIS_OWN
        total += layers * channels * used * KERNEL_SIZE**2 * channels
    return total


KERNELS["basis"] = KernelEntry(
    "models.kernels.basis:BasisKernels", basis_parameters, basis_macs, size="filters"
)


# Stage template: a bank of whole kernels for every stage.


def stage_templates(shapes: list[KernelShape], templates: int) -> list[int]:
    """How many templates each stage has: `templates` in the first.

    The others have as many as weigh no more, and at least one.
    """
    channels_of_stages = [channels for channels, _ in stages(shapes)]
    first = channels_of_stages[0]
    return [max(1, templates * first**2 // channels**2) for channels in channels_of_stages]


def stage_template_parameters(shapes: list[KernelShape], templates: int = 2) -> dict[str, int]:
    """A bank a stage, and for every layer a coefficient of each template of its stage."""
    generator = embeddings = 0
    chosen = stage_templates(shapes, templates)
    for bank, (channels, layers) in zip(chosen, stages(shapes), strict=True):
        generator += bank * (KERNEL_SIZE * channels) ** 2
        embeddings += bank * layers
    return {"kernels": changing_numel(shapes), "generator": generator, "embeddings": embeddings}


def stage_template_macs(shapes: list[KernelShape], templates: int = 2) -> int:
    """For every layer a product with each template of its stage."""
    total = 0
    chosen = stage_templates(shapes, templates)
    for bank, (channels, layers) in zip(chosen, stages(shapes), strict=True):
        total += bank * layers * (KERNEL_SIZE * channels) ** 2
    return total


KERNELS["stage_template"] = KernelEntry(
    "models.kernels.stage_template:StageTemplateKernels",
    stage_template_parameters,
    stage_template_macs,
    size="templates",
)


# Separable: depthwise, then pointwise.


def separable_parameters(shapes: list[KernelShape]) -> dict[str, int]:
    """f^2 C_in + C_in C_out a layer."""
    total = sum(shape.in_channels * (shape.size**2 + shape.out_channels) for shape in shapes)
    return {"kernels": total}


def separable_layer_macs(shapes: list[KernelShape]) -> LayerMacs:
    """f x f a channel and 1x1, both on the output."""

    def macs(shape: KernelShape, size: int) -> int:
        return shape.in_channels * (shape.size**2 + shape.out_channels) * size**2

    return macs


KERNELS["separable"] = KernelEntry(
    "models.kernels.separable:SeparableKernels",
    separable_parameters,
    macs=no_macs,
    layer_macs=separable_layer_macs,
)


# Shared: one kernel for the same place of every block of a stage but the first.


def shared_key(shape: KernelShape) -> str:
    """The name of the kernel that a shape uses under hard sharing."""
    block = "later" if shape.block else "first"
    return f"stage{shape.stage}_{block}_conv{shape.index}"


def shared_parameters(shapes: list[KernelShape]) -> dict[str, int]:
    """The weights of every kernel that is distinct."""
    distinct = {shared_key(shape): shape.numel for shape in shapes}
    return {"kernels": sum(distinct.values())}


KERNELS["shared"] = KernelEntry(
    "models.kernels.shared:SharedKernels", shared_parameters, macs=no_macs
)
