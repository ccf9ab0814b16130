"""The registry: a frozen spec per model, and names that build.

Importing this module does not import torch; `build` does. A plugin adds to it with
`@register_model` and `@register_kernels` (docs/adding-a-model.md).
"""

import re
from collections.abc import Callable
from typing import Any

from models import families, naming
from models.entries import KernelEntry
from models.listed import PAPER_TABLE, SOURCES, TEXT_TABLE, listed
from models.recurrent import named
from models.spec import BACKBONES, KERNELS, USUAL_CLASSES, ModelSpec, RegistryError

__all__ = [
    "BACKBONES",
    "KERNELS",
    "PAPER_TABLE",
    "PLUGIN_MODELS",
    "SOURCES",
    "TABLES",
    "TEXT_TABLE",
    "USUAL_CLASSES",
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
PLUGIN_MODELS: dict[str, ModelSpec] = {}
"""What plugins have registered, by name; their kernel sources are in `KERNELS`."""


def names(task: str | None = None) -> list[str]:
    """The listed models, or those of one task.

    Every other valid size of a family builds too.
    """
    every = [*listed(), *named.listed(), *PLUGIN_MODELS]
    return [name for name in every if task is None or get(name).task == task]


def is_built_in(name: str) -> bool:
    """Whether a model is of this suite, not of a plugin."""
    return name not in PLUGIN_MODELS


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
    return PLUGIN_MODELS.get(name) or families.parsed(name)


def _hint(name: str) -> str:
    meant = naming.plain(name)
    known = meant != name and _is_taken(meant)
    near = [meant] if known else naming.near(name, [*_beginnings(meant), *names()])
    nearest = f"nearest: {', '.join(near)}; " if near else ""
    return f"{nearest}allowed are {families.forms()}, and models of a --plugin"


def _beginnings(name: str) -> list[str]:
    """What a name is without its last few characters, where that is a model."""
    return [name[:-cut] for cut in (1, 2, 3) if _is_taken(name[:-cut])]


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
    PLUGIN_MODELS[spec.name] = spec
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
        before = dict(PLUGIN_MODELS)
        KERNELS[name] = KernelEntry(source, source.count, getattr(source, "macs", None))
        try:
            for row, plain in (rows or {}).items():
                register(_row_of_kernels(row, name, get(plain), options))
        except RegistryError:
            del KERNELS[name]
            PLUGIN_MODELS.clear()
            PLUGIN_MODELS.update(before)
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
