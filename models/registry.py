"""The registry: a frozen spec per model, and names that build.

Importing this module does not import torch; `build` does. A plugin adds to it with
`@register_model` and `@register_kernels` (docs/adding-a-model.md).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from inspect import signature
from typing import Any

from models import ledger, naming
from models.entries import BackboneEntry, KernelEntry
from models.kernels import counts
from models.listed import PAPER_TABLE, SOURCES, TEXT_TABLE, listed
from models.recurrent import counts as recurrent_counts
from models.recurrent import named

__all__ = [
    "BACKBONES",
    "KERNELS",
    "PAPER_TABLE",
    "SOURCES",
    "TABLES",
    "TEXT_TABLE",
    "ModelSpec",
    "RegistryError",
    "build",
    "get",
    "load_plugin",
    "names",
    "register",
    "register_kernels",
    "register_model",
]

TABLES = {"images": PAPER_TABLE, "text": TEXT_TABLE}
"""What `reproduce` makes where no models are named, by task."""
NAME = re.compile(r"[A-Za-z0-9._-]+")
USUAL_CLASSES = {"images": 10, "text": named.SYMBOLS}
"""By task: those of CIFAR-10, and of the Penn Treebank characters."""


class RegistryError(ValueError):
    """A name or spec that is not allowed; the message is one line for the user."""


@dataclass(frozen=True)
class ModelSpec:
    """One model: a backbone with a kernel source, a recurrent network, or a builder that gives a
    foreign `nn.Module`.

    `task`: what it reads, "images" or "text". `recurrent`: the size of a recurrent network, which
    has `kernels` "stored", or "hyper" if a hyper cell scales its weights.

    `frozen` is a component of the kernel source that stays as drawn: a control. `builder_macs`
    gives a foreign module's MACs where its plugin knows them: (classes) -> (per image, generator).
    """

    name: str
    kernels: str = "stored"
    depth: int = 0
    channels: tuple[int, int, int] = (0, 0, 0)
    backbone: str = "wide_resnet"
    options: dict[str, Any] = field(default_factory=dict)
    pair: str | None = None
    builder: Callable[[int], Any] | None = None
    frozen: str | None = None
    builder_macs: Callable[[int], tuple[int, int]] | None = None
    task: str = "images"
    recurrent: named.Row | None = None

    @property
    def usual_classes(self) -> int:
        """For how many classes, or symbols, its counts are told where no data set is named."""
        return USUAL_CLASSES[self.task]

    def training_kind(self) -> tuple[bool, bool]:
        """Whether its kernels are generated, and whether their source scales its gradients.

        Of what a builder makes, only the module knows.
        """
        assert self.builder is None
        if self.recurrent is not None:
            return self.recurrent.hyper_units > 0, False
        source: Any = KERNELS[self.kernels].load()
        return source.generated, source.scales_gradients

    @property
    def closed_form(self) -> bool:
        """Whether parameters and MACs are known without building."""
        return self.builder is None and KERNELS[self.kernels].macs is not None

    def parameters(self, num_classes: int | None = None) -> dict[str, int]:
        """Trainable parameters by component, all components named; needs `closed_form`.

        `num_classes`: `usual_classes` if it is not given.
        """
        num_classes = num_classes or self.usual_classes
        if self.recurrent is not None:
            return recurrent_counts.parameters(self.recurrent.shape(num_classes))
        return self._all_parameters(num_classes) | ({self.frozen: 0} if self.frozen else {})

    def frozen_parameters(self) -> int:
        """Parameters that are not trained; needs `closed_form`."""
        return self._all_parameters(10)[self.frozen] if self.frozen else 0

    def _all_parameters(self, num_classes: int) -> dict[str, int]:
        backbone, shapes = BACKBONES[self.backbone], self.kernel_shapes()
        parts = backbone.parameters(shapes, num_classes, **backbone.arguments)
        parts |= KERNELS[self.kernels].parameters(shapes, **self.options)
        return {name: parts.get(name, 0) for name in ledger.COMPONENTS}

    def macs(self, num_classes: int | None = None) -> tuple[int, int]:
        """MACs per item, and the generator's per forward pass; needs `closed_form`.

        A hyper cell works anew for each character: all its MACs are the item's.

        Raises:
            ValueError: if the source has no closed form of its MACs.
        """
        num_classes = num_classes or self.usual_classes
        if self.recurrent is not None:
            return recurrent_counts.macs(self.recurrent.shape(num_classes)), 0
        backbone, source = BACKBONES[self.backbone], KERNELS[self.kernels]
        if source.macs is None:
            raise ValueError(f"the MACs of {self.kernels} kernels have no closed form")
        shapes = self.kernel_shapes()
        layer_macs = source.layer_macs(shapes, **self.options) if source.layer_macs else None
        per_image = backbone.macs(shapes, num_classes, layer_macs, **backbone.arguments)
        return per_image, source.macs(shapes, **self.options)

    def given_macs(self, num_classes: int | None = None) -> tuple[int, int] | None:
        """MACs per item and the generator's that are known without counting; None if unknown.

        Raises:
            RegistryError: if what a plugin gives is not two whole numbers from 0 on.
        """
        if self.closed_form:
            macs = self.macs(num_classes)
        elif self.builder_macs is not None:
            macs = self.builder_macs(num_classes or self.usual_classes)
        else:
            return None
        if not (
            isinstance(macs, tuple) and [type(n) for n in macs] == [int, int] and min(macs) >= 0
        ):
            raise RegistryError(
                f"the MACs of {self.name!r} are {macs!r}; needed are two whole numbers from 0 on, "
                "(per image, of the generator)"
            )
        return macs

    def kernel_shapes(self) -> list[ledger.KernelShape]:
        """The 3x3 kernels that the backbone asks its source for, in forward order.

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

KERNELS: dict[str, KernelEntry] = dict(counts.KERNELS)
"""The kernel sources by name: the built-in ones and those of plugins."""

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

_PLUGINS: dict[str, ModelSpec] = {}


def names(task: str | None = None) -> list[str]:
    """The listed models, or those of one task.

    Every other valid size of a family builds too.
    """
    every = [*listed(), *named.listed(), *_PLUGINS]
    return [name for name in every if task is None or get(name).task == task]


def is_built_in(name: str) -> bool:
    """Whether a model is of this suite, not of a plugin."""
    return name not in _PLUGINS


def get(name: str) -> ModelSpec:
    """The spec of a name.

    Raises:
        RegistryError: for an unknown name (with near matches) or a depth or width that is not
            allowed.
    """
    spec = _found(name)
    if spec is None:
        raise RegistryError(f"unknown model {name!r}; {_hint(name)}")
    return spec


def _found(name: str) -> ModelSpec | None:
    """The spec of a name; None if it has the form of none."""
    if name in _PLUGINS:
        return _PLUGINS[name]
    try:
        if (row := named.parsed(name)) is not None:
            kernels = "hyper" if row.hyper_units else "stored"
            return ModelSpec(name, kernels, pair=row.pair(), task="text", recurrent=row)
    except ValueError as error:
        raise RegistryError(f"model {name!r}: {error}") from None
    wide, resnet = _WIDE_NAME.fullmatch(name), _RESNET_NAME.fullmatch(name)
    match = wide or resnet
    if match is None:
        return None
    try:
        spec = _wide_resnet(match) if wide else _resnet(match)
        spec.kernel_shapes()
    except ValueError as error:
        raise RegistryError(f"model {name!r}: {error}") from None
    budget = int(match["budget"]) * 1000 if match["budget"] else None
    return _frozen(_sized(spec, budget), match["frozen"])


def _wide_resnet(match: re.Match) -> ModelSpec:
    family, depth, width = match[1], int(match[2]), int(match[3])
    source, projection = WIDE_FAMILIES[family], match["projection"] or ""
    narrow = family == "narrow_resnet"
    channels = ledger.narrow_channels(width) if narrow else ledger.stage_channels(width)
    return ModelSpec(
        name=match[0],
        kernels=source,
        depth=depth,
        channels=channels,
        backbone=f"wide_resnet{projection}",
        options=_tile(match, source),
        pair=None if source == "stored" else f"wide_resnet{depth}_{width}{projection}",
    )


def _resnet(match: re.Match) -> ModelSpec:
    if match["projection"]:
        raise ValueError(
            "_projection is a shortcut of the Wide ResNets; those of a ResNet have no parameters"
        )
    family, depth = match[1], int(match[2])
    source = RESNET_FAMILIES[family]
    return ModelSpec(
        name=match[0],
        kernels=source,
        depth=depth,
        channels=ledger.stage_channels(1),
        backbone="resnet",
        options=_tile(match, source),
        pair=None if source == "stored" else f"resnet{depth}",
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
    parameters = spec.parameters()
    of_source = sum(parameters[name] for name in ("kernels", "generator", "embeddings"))
    if not 0 < parameters[component] < of_source:
        raise RegistryError(
            f"model {spec.name!r}: {spec.kernels} kernels have no {component} that could be frozen "
            "beside the rest"
        )
    return replace(spec, frozen=component)


def _sized(spec: ModelSpec, budget: int | None) -> ModelSpec:
    """The spec with the size of its source that brings the model nearest to the budget.

    Without a budget: to as many parameters as with the hypernetwork.

    Raises:
        RegistryError: if the source has no size, or not even the nearest is within 3 % of the
            budget.
    """
    option = KERNELS[spec.kernels].size
    if option is None:
        if budget is not None:
            raise RegistryError(
                f"model {spec.name!r}: {spec.kernels} kernels have no size that a budget could set"
            )
        return spec
    if budget is None and spec.kernels == "hyper":
        return spec
    wanted = budget or sum(replace(spec, kernels="hyper").parameters().values())

    def with_size(size: int) -> ModelSpec:
        return replace(spec, options=spec.options | {option: size})

    def count(size: int) -> int:
        return sum(with_size(size).parameters().values())

    size = ledger.nearest_size(count, wanted)
    if budget and abs(count(size) - wanted) > 0.03 * wanted:
        raise RegistryError(
            f"model {spec.name!r}: {count(size):,} parameters are the nearest to {wanted:,} "
            "that there are"
        )
    return with_size(size)


def _hint(name: str) -> str:
    meant = naming.plain(name)
    known = meant != name and _is_taken(meant)
    near = [meant] if known else naming.near(name, names())
    nearest = f"nearest: {', '.join(near)}; " if near else ""
    wide = ", ".join(f"{family}{{depth}}_{{width}}" for family in WIDE_FAMILIES)
    return (
        f"{nearest}allowed are {wide}, resnet{{depth}} and {{source}}_resnet{{depth}}, "
        "with _tile{n}, _{budget}k, _projection and _frozen_{generator|embeddings}, "
        f"{', '.join(f'{family}_{{units}}' for family in named.PREFIXES)} with _z{{n}}, _m{{n}}, "
        "_x{layers} and _forget{bias}, and plugins' models"
    )


def build(name: str, num_classes: int | None = None):
    """The network of a name, drawn from torch's global generator (seed it for reproducibility).

    `num_classes`: classes or symbols; `usual_classes` if it is not given.

    Raises:
        RegistryError: for an unknown name or a builder that does not give an `nn.Module`.
    """
    from torch import nn

    spec = get(name)
    num_classes = num_classes or spec.usual_classes
    if spec.recurrent is not None:
        from models.recurrent.network import RecurrentNetwork

        row = spec.recurrent
        return RecurrentNetwork.of_shape(row.shape(num_classes), row.forget_bias)
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
    for name_of_parameter, parameter in model.named_parameters():
        parameter.requires_grad_(model.component_of(name_of_parameter) != spec.frozen)
    return model


def register(spec: ModelSpec) -> ModelSpec:
    """Add a row.

    Raises:
        RegistryError: for a name that is taken or not allowed, or an unknown backbone, kernel
            source or pair.
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
            f"model {spec.name!r}: unknown kernels {spec.kernels!r}; "
            f"allowed are {', '.join(KERNELS)}"
        )
    if spec.backbone not in BACKBONES:
        raise RegistryError(
            f"model {spec.name!r}: unknown backbone {spec.backbone!r}; "
            f"allowed are {', '.join(BACKBONES)}"
        )
    if spec.pair is not None:
        pair = get(spec.pair)
        if pair.task != spec.task:
            raise RegistryError(
                f"model {spec.name!r} is of {spec.task}, its pair {spec.pair!r} of {pair.task}"
            )
    if spec.builder is None:
        spec.kernel_shapes()
    _PLUGINS[spec.name] = spec
    return spec


def _is_taken(name: str) -> bool:
    """Whether the name is a model's; `resnet18` is free, because no backbone has that depth."""
    try:
        return _found(name) is not None
    except RegistryError:
        return False


def register_model(
    name: str,
    pair: str | None = None,
    macs: Callable[[int], tuple[int, int]] | None = None,
    task: str = "images",
) -> Callable:
    """Decorator: a function `(num_classes) -> nn.Module` becomes the model `name`.

    `macs`: (num_classes) -> (MACs per image, MACs once a batch), for a module that cannot be
    counted. `task`: "images", or "text" for a function of the number of symbols that gives a
    `models.recurrent.network.RecurrentNetwork`.

    Raises:
        RegistryError: for a task that there is not, and as `register` does.
    """
    if task not in USUAL_CLASSES:
        allowed = ", ".join(USUAL_CLASSES)
        raise RegistryError(
            f"task {task!r} of model {name!r} is not allowed; choose from {allowed}"
        )

    def decorate(builder: Callable[[int], Any]) -> Callable[[int], Any]:
        register(ModelSpec(name, pair=pair, builder=builder, builder_macs=macs, task=task))
        return builder

    return decorate


def register_kernels(name: str, rows: dict[str, str] | None = None, **options: Any) -> Callable:
    """Decorator: a `KernelSource` class becomes the kernel source `name`.

    `rows` maps new model names to the plain model whose backbone each one takes, which is then its
    pair; `options` go to the class and to its `count`. A class may have a static method
    `macs(shapes, **options)`, the MACs of one generation of all kernels.

    Raises:
        RegistryError: if the name is taken, or a row is not allowed; nothing is registered then.
    """
    if name in KERNELS:
        raise RegistryError(f"kernel source {name!r} is registered already")

    def decorate(source: Any) -> Any:
        before = dict(_PLUGINS)
        KERNELS[name] = KernelEntry(source, source.count, getattr(source, "macs", None))
        try:
            for row, plain in (rows or {}).items():
                register(_row_of_kernels(row, name, get(plain), options))
        except RegistryError:
            del KERNELS[name]
            _PLUGINS.clear()
            _PLUGINS.update(before)
            raise
        return source

    return decorate


def _row_of_kernels(row: str, kernels: str, plain: ModelSpec, options: dict) -> ModelSpec:
    return ModelSpec(
        name=row,
        kernels=kernels,
        depth=plain.depth,
        channels=plain.channels,
        backbone=plain.backbone,
        options=dict(options),
        pair=plain.name,
    )


def load_plugin(path: str) -> str:
    """Import a user's Python file, which registers models; gives the SHA-256 of its code.

    Raises:
        RegistryError: if the file is missing, raises, or registers nothing.
    """
    from models import plugins

    return plugins.load(path).sha256
