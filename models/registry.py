"""The registry: a frozen spec per model, the paper's rows as data, and names that build.

Importing this module does not import torch; `build` does. A plugin adds to it with `@register_model` and
`@register_kernels` (docs/adding-a-model.md).
"""

import difflib
import re
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib import import_module
from inspect import signature
from typing import Any

from models import ledger

NAME = re.compile(r"[A-Za-z0-9._-]+")


class RegistryError(ValueError):
    """A name or spec that is not allowed; the message is one line for the user."""


def _load(target: str) -> type:
    """The class of "module:name"."""
    module, name = target.split(":")
    return getattr(import_module(module), name)


@dataclass(frozen=True)
class KernelEntry:
    """A kernel source: where its class is, and its closed forms (torch-free; `macs` may be unknown).

    `size` names the whole-number option that a budget of parameters sets; `layer_macs` is of sources with factored kernels.
    """

    target: str | type
    parameters: Callable[..., dict[str, int]]
    macs: Callable[..., int] | None = None
    size: str | None = None
    layer_macs: Callable[..., ledger.LayerMacs] | None = None

    def load(self) -> type:
        return _load(self.target) if isinstance(self.target, str) else self.target


@dataclass(frozen=True)
class BackboneEntry:
    """A backbone: where its class is, its closed forms (torch-free), and the `arguments` that make a variant of both.

    `kernel_shapes` is of (depth, channels) and refuses what is not allowed; `parameters` of (shapes, classes), without the
    kernel source's; `macs` of (shapes, classes, MACs of a kernel that is not applied as it stands).
    """

    target: str
    kernel_shapes: Callable[..., list[ledger.KernelShape]]
    parameters: Callable[..., dict[str, int]]
    arguments: dict[str, Any] = field(default_factory=dict)
    macs: Callable[..., int] = ledger.backbone_macs

    def load(self) -> type:
        return _load(self.target)


@dataclass(frozen=True)
class ModelSpec:
    """One model: a backbone with a kernel source, or a builder that gives a foreign `nn.Module`."""

    name: str
    kernels: str = "stored"
    depth: int = 0
    channels: tuple[int, int, int] = (0, 0, 0)
    backbone: str = "wide_resnet"
    options: dict[str, Any] = field(default_factory=dict)
    pair: str | None = None
    builder: Callable[[int], Any] | None = None
    frozen: str | None = None
    """A component of the kernel source that stays as drawn: a control."""

    @property
    def closed_form(self) -> bool:
        """Whether parameters and MACs are known without building."""
        return self.builder is None and KERNELS[self.kernels].macs is not None

    def parameters(self, num_classes: int = 10) -> dict[str, int]:
        """Trainable parameters by component, all components named; needs `closed_form`."""
        return self._all_parameters(num_classes) | ({self.frozen: 0} if self.frozen else {})

    def frozen_parameters(self) -> int:
        """Parameters that are not trained; needs `closed_form`."""
        return self._all_parameters(10)[self.frozen] if self.frozen else 0

    def _all_parameters(self, num_classes: int) -> dict[str, int]:
        backbone, shapes = BACKBONES[self.backbone], self.kernel_shapes()
        parts = backbone.parameters(shapes, num_classes, **backbone.arguments)
        parts |= KERNELS[self.kernels].parameters(shapes, **self.options)
        return {name: parts.get(name, 0) for name in ledger.COMPONENTS}

    def macs(self, num_classes: int = 10) -> tuple[int, int]:
        """(MACs per image, generator MACs per forward pass); needs `closed_form`."""
        backbone, source, shapes = (
            BACKBONES[self.backbone],
            KERNELS[self.kernels],
            self.kernel_shapes(),
        )
        layer_macs = source.layer_macs(shapes, **self.options) if source.layer_macs else None
        per_image = backbone.macs(shapes, num_classes, layer_macs, **backbone.arguments)
        return per_image, source.macs(shapes, **self.options)

    def kernel_shapes(self) -> list[ledger.KernelShape]:
        """The 3x3 kernels that the backbone asks its source for, in forward order; a foreign module has none to tell.

        Raises:
            ValueError: if the backbone has no such depth.
        """
        return BACKBONES[self.backbone].kernel_shapes(self.depth, self.channels)


_WIDE_RESNET = BackboneEntry(
    "models.wide_resnet:WideResNet", ledger.kernel_shapes, ledger.wide_resnet_parameters
)
BACKBONES: dict[str, BackboneEntry] = {
    "wide_resnet": _WIDE_RESNET,
    "wide_resnet_projection": replace(_WIDE_RESNET, arguments={"shortcut": "projection"}),
    "resnet": BackboneEntry(
        "models.resnet:ResNet", ledger.resnet_kernel_shapes, ledger.resnet_parameters
    ),
}

KERNELS: dict[str, KernelEntry] = {
    "stored": KernelEntry(
        "models.kernels.stored:StoredKernels", ledger.stored_parameters, ledger.no_macs
    ),
    "hyper": KernelEntry(
        "models.kernels.hyper:HyperKernels", ledger.hyper_parameters, ledger.hyper_macs, "embedding"
    ),
    "template": KernelEntry(
        "models.kernels.template:TemplateKernels",
        ledger.template_parameters,
        ledger.template_macs,
        "templates",
    ),
    "chunked": KernelEntry(
        "models.kernels.chunked:ChunkedKernels",
        ledger.chunked_parameters,
        ledger.chunked_macs,
        "hidden",
    ),
    "subspace": KernelEntry(
        "models.kernels.subspace:SubspaceKernels",
        ledger.subspace_parameters,
        ledger.subspace_macs,
        "dimension",
    ),
    "hashed": KernelEntry(
        "models.kernels.hashed:HashedKernels", ledger.hashed_parameters, ledger.no_macs, "values"
    ),
    "multihash": KernelEntry(
        "models.kernels.multihash:MultihashKernels",
        ledger.multihash_parameters,
        ledger.multihash_macs,
        "rank",
    ),
    "stage_template": KernelEntry(
        "models.kernels.stage_template:StageTemplateKernels",
        ledger.stage_template_parameters,
        ledger.stage_template_macs,
        "templates",
    ),
    "basis": KernelEntry(
        "models.kernels.basis:BasisKernels", ledger.basis_parameters, ledger.basis_macs, "filters"
    ),
    "tucker": KernelEntry(
        "models.kernels.tucker:TuckerKernels",
        ledger.tucker_parameters,
        ledger.no_macs,
        "ranks",
        ledger.tucker_layer_macs,
    ),
    "separable": KernelEntry(
        "models.kernels.separable:SeparableKernels",
        ledger.separable_parameters,
        ledger.no_macs,
        layer_macs=ledger.separable_layer_macs,
    ),
    "shared": KernelEntry(
        "models.kernels.shared:SharedKernels", ledger.shared_parameters, ledger.no_macs
    ),
}

_SOURCE_FAMILIES = {f"{name}_resnet": name for name in KERNELS if name != "stored"}
WIDE_FAMILIES = {"wide_resnet": "stored", "narrow_resnet": "stored"} | _SOURCE_FAMILIES
"""The kernel source of each family of Wide ResNets, {family}{depth}_{width}."""
RESNET_FAMILIES = {"resnet": "stored"} | _SOURCE_FAMILIES
"""The same of the ResNets, {family}{depth}: they have one width."""
# Few digits: a name from a record must not make anything of a size that no machine could hold.
_OPTIONS = (
    r"(?:_tile(?P<tile>\d{1,2}))?(?:_(?P<budget>\d{1,6})k)?(?P<projection>_projection)?"
    r"(?:_frozen_(?P<frozen>generator|embeddings))?"
)
_WIDE_NAME = re.compile(rf"({'|'.join(WIDE_FAMILIES)})(\d{{1,4}})_(\d{{1,3}}){_OPTIONS}")
_RESNET_NAME = re.compile(rf"({'|'.join(RESNET_FAMILIES)})(\d{{1,4}}){_OPTIONS}")

PAPER_TABLE = ("wide_resnet40_1", "hyper_resnet40_1", "wide_resnet40_2", "hyper_resnet40_2")
"""The rows of Ha et al. 2017, Table 2, in its order."""

SOURCES = (
    "template",
    "chunked",
    "subspace",
    "hashed",
    "multihash",
    "tucker",
    "basis",
    "stage_template",
)
"""Other sources, at the hypernetwork's number of parameters unless a name says its own."""

_LISTED = (
    *PAPER_TABLE,
    "wide_resnet16_1",
    "hyper_resnet16_1",
    "wide_resnet28_10",
    "hyper_resnet28_10",
    *(
        f"{source}_resnet{backbone}"
        for source in SOURCES
        for backbone in ("16_1", "40_1_100k", "40_2_150k")
        if (source, backbone) != ("stage_template", "40_2_150k")
    ),  # one template of its last stage has 147,456 weights
    "shared_resnet22_1",
    "shared_resnet40_1",
    "shared_resnet40_2",
    "separable_resnet16_1",
    "separable_resnet40_1",
    "separable_resnet40_2",
    "wide_resnet10_1",
    "wide_resnet22_1",
    "narrow_resnet16_11",
    "narrow_resnet40_6",
    "narrow_resnet40_8",
    *(
        f"{source}_resnet40_1_{budget}k"
        for source in ("hyper", "template")
        for budget in (25, 50, 100, 200)
    ),
    "hyper_resnet40_1_tile8_50k",
    "hyper_resnet40_1_tile8_100k",
    "subspace_resnet40_1_20k",
    "hyper_resnet16_1_frozen_generator",
    "hyper_resnet16_1_frozen_embeddings",
    *(f"{family}{depth}" for family in ("resnet", "hyper_resnet") for depth in (20, 32, 44, 56)),
)
_LISTED = tuple(dict.fromkeys(_LISTED))
_PLUGINS: dict[str, ModelSpec] = {}


def names() -> list[str]:
    """The listed models; every other valid depth, width and budget of a family builds too."""
    return [*_LISTED, *(f"{name}_projection" for name in _LISTED[:8]), *_PLUGINS]


def get(name: str) -> ModelSpec:
    """The spec of a name.

    Raises:
        RegistryError: for an unknown name (with near matches) or a depth or width that is not allowed.
    """
    if name in _PLUGINS:
        return _PLUGINS[name]
    for pattern, spec_of in ((_WIDE_NAME, _wide_resnet), (_RESNET_NAME, _resnet)):
        if match := pattern.fullmatch(name):
            try:
                spec = spec_of(match)
                spec.kernel_shapes()
            except ValueError as error:
                raise RegistryError(f"model {name!r}: {error}") from None
            return _frozen(
                _sized(spec, int(match["budget"]) * 1000 if match["budget"] else None),
                match["frozen"],
            )
    raise RegistryError(f"unknown model {name!r}; {_hint(name)}")


def _wide_resnet(match: re.Match) -> ModelSpec:
    source, depth, width, projection = (
        WIDE_FAMILIES[match[1]],
        int(match[2]),
        int(match[3]),
        match["projection"] or "",
    )
    channels = (ledger.narrow_channels if match[1] == "narrow_resnet" else ledger.stage_channels)(
        width
    )
    pair = None if source == "stored" else f"wide_resnet{depth}_{width}{projection}"
    return ModelSpec(
        match[0], source, depth, channels, f"wide_resnet{projection}", _tile(match, source), pair
    )


def _resnet(match: re.Match) -> ModelSpec:
    if match["projection"]:
        raise ValueError(
            "_projection is a shortcut of the Wide ResNets; those of a ResNet have no parameters"
        )
    source, depth = RESNET_FAMILIES[match[1]], int(match[2])
    pair = None if source == "stored" else f"resnet{depth}"
    return ModelSpec(
        match[0], source, depth, ledger.stage_channels(1), "resnet", _tile(match, source), pair
    )


def _tile(match: re.Match, source: str) -> dict[str, int]:
    """The option of a name with another tile than the paper's."""
    if match["tile"] is None:
        return {}
    if "tile" not in signature(KERNELS[source].parameters).parameters:
        raise ValueError(f"{source} kernels are not made of tiles")
    if int(match["tile"]) not in (1, 2, 4, 8, 16):
        raise ValueError(f"tile {match['tile']} is not allowed; choose from 1, 2, 4, 8, 16")
    return {"tile": int(match["tile"])}


def _frozen(spec: ModelSpec, component: str | None) -> ModelSpec:
    """The spec with one component of its source frozen.

    Raises:
        RegistryError: if the source has none of it, or has nothing else.
    """
    if component is None:
        return spec
    parts = {name: spec.parameters()[name] for name in ("kernels", "generator", "embeddings")}
    if not parts[component] or not sum(parts.values()) - parts[component]:
        raise RegistryError(
            f"model {spec.name!r}: {spec.kernels} kernels have no {component} that could be frozen beside the rest"
        )
    return replace(spec, frozen=component)


def _sized(spec: ModelSpec, budget: int | None) -> ModelSpec:
    """The spec with the size of its source that comes nearest to the budget; without one, to the hypernetwork's own count.

    Raises:
        RegistryError: if the source has no size, or not even the nearest is within 3 % of the budget.
    """
    size = KERNELS[spec.kernels].size
    if size is None and budget is not None:
        raise RegistryError(
            f"model {spec.name!r}: {spec.kernels} kernels have no size that a budget could set"
        )
    if size is None or (budget is None and spec.kernels == "hyper"):
        return spec
    wanted = budget or sum(replace(spec, kernels="hyper").parameters().values())

    def count(value: int) -> int:
        return sum(replace(spec, options=spec.options | {size: value}).parameters().values())

    above = bisect_left(range(1, wanted + 1), wanted, key=count) + 1
    value = min((v for v in (above - 1, above) if v >= 1), key=lambda v: abs(count(v) - wanted))
    if budget and abs(count(value) - wanted) > 0.03 * wanted:
        raise RegistryError(
            f"model {spec.name!r}: {count(value):,} parameters are the nearest to {wanted:,} that there are"
        )
    return replace(spec, options=spec.options | {size: value})


def _hint(name: str) -> str:
    near = difflib.get_close_matches(name, names(), n=3)
    nearest = f"nearest: {', '.join(near)}; " if near else ""
    wide = ", ".join(f"{family}{{depth}}_{{width}}" for family in WIDE_FAMILIES)
    return (
        f"{nearest}allowed are {wide}, resnet{{depth}} and {{source}}_resnet{{depth}}, with _tile{{n}}, _{{budget}}k, _projection "
        "and _frozen_{generator|embeddings}, and plugins' models"
    )


def build(name: str, num_classes: int = 10):
    """The network of a name, drawn from torch's global generator (seed it for reproducibility).

    Raises:
        RegistryError: for an unknown name or a builder that does not give an `nn.Module`.
    """
    from torch import nn

    spec = get(name)
    if spec.builder is not None:
        model = spec.builder(num_classes)
        if not isinstance(model, nn.Module):
            raise RegistryError(
                f"the builder of {name!r} gave {type(model).__name__}, not an nn.Module"
            )
        return model
    backbone, source = BACKBONES[spec.backbone], KERNELS[spec.kernels].load()
    model = backbone.load()(
        spec.depth,
        channels=spec.channels,
        num_classes=num_classes,
        kernels=lambda shapes: source(shapes, **spec.options),
        **backbone.arguments,
    )
    for parameter, value in model.named_parameters():
        value.requires_grad_(model.component_of(parameter) != spec.frozen)
    return model


def register(spec: ModelSpec) -> ModelSpec:
    """Add a row.

    Raises:
        RegistryError: for a name that is taken or not allowed, or an unknown backbone, kernel source or pair.
        ValueError: for a depth that the backbone does not have.
    """
    if not NAME.fullmatch(spec.name):
        raise RegistryError(
            f"model name {spec.name!r} is not allowed; use letters, digits, '.', '_' and '-'"
        )
    if _is_taken(spec.name):
        raise RegistryError(f"model {spec.name!r} is registered already")
    if spec.kernels not in KERNELS:
        raise RegistryError(
            f"model {spec.name!r}: unknown kernels {spec.kernels!r}; allowed are {', '.join(KERNELS)}"
        )
    if spec.backbone not in BACKBONES:
        raise RegistryError(
            f"model {spec.name!r}: unknown backbone {spec.backbone!r}; allowed are {', '.join(BACKBONES)}"
        )
    if spec.pair is not None:
        get(spec.pair)
    if spec.builder is None:
        spec.kernel_shapes()
    _PLUGINS[spec.name] = spec
    return spec


def _is_taken(name: str) -> bool:
    """Whether the name is a model's; `resnet18` is free, because no backbone has that depth."""
    try:
        get(name)
    except RegistryError:
        return False
    return True


def register_model(name: str, pair: str | None = None) -> Callable:
    """Decorator: a function `(num_classes) -> nn.Module` becomes the model `name`."""

    def decorate(builder: Callable[[int], Any]) -> Callable[[int], Any]:
        register(ModelSpec(name, pair=pair, builder=builder))
        return builder

    return decorate


def register_kernels(name: str, rows: dict[str, str] | None = None, **options: Any) -> Callable:
    """Decorator: a `KernelSource` class becomes the kernel source `name`.

    `rows` maps new model names to the plain model whose backbone each one takes, which is then its pair; `options` go to
    the class and to its `count`.

    Raises:
        RegistryError: if the name is taken.
    """
    if name in KERNELS:
        raise RegistryError(f"kernel source {name!r} is registered already")

    def decorate(source: type) -> type:
        KERNELS[name] = KernelEntry(source, source.count)
        for row, plain in (rows or {}).items():
            base = get(plain)
            register(
                ModelSpec(
                    row, name, base.depth, base.channels, base.backbone, dict(options), pair=plain
                )
            )
        return source

    return decorate


def load_plugin(path: str) -> str:
    """Run a user's Python file, which registers models, and give the SHA-256 of the file.

    Raises:
        RegistryError: if the file is missing, raises, or registers nothing.
    """
    import hashlib
    import importlib.util
    from pathlib import Path

    file, before = Path(path), len(_PLUGINS)
    if not file.is_file():
        raise RegistryError(f"plugin {path!r} is not a file")
    spec = importlib.util.spec_from_file_location(f"plugin_{len(_PLUGINS)}", file)
    if spec is None or spec.loader is None:
        raise RegistryError(f"plugin {path!r} is not a Python file (.py)")
    try:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    except Exception as error:
        raise RegistryError(f"plugin {path!r} raised {type(error).__name__}: {error}") from error
    if len(_PLUGINS) == before:
        raise RegistryError(f"plugin {path!r} registered no model")
    return hashlib.sha256(file.read_bytes()).hexdigest()
