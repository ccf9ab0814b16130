"""The built-in families: what a name such as `hyper_resnet40_2_150k` says, as a spec."""

import re
from dataclasses import replace
from inspect import signature

from models import ledger
from models.recurrent import named
from models.spec import KERNELS, ModelSpec, RegistryError

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


def parsed(name: str) -> ModelSpec | None:
    """The spec of a built-in family's name; None if it has the form of none.

    Raises:
        RegistryError: for a size or an option that is not allowed.
    """
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


def forms() -> str:
    """The forms of names, as a message lists them."""
    wide = ", ".join(f"{family}{{depth}}_{{width}}" for family in WIDE_FAMILIES)
    recurrent = ", ".join(f"{family}_{{units}}" for family in named.PREFIXES)
    return (
        f"{wide}, resnet{{depth}} and {{source}}_resnet{{depth}}, "
        "with _tile{n}, _{budget}k, _projection and _frozen_{generator|embeddings}, "
        f"{recurrent} with _z{{n}}, _m{{n}}, _x{{layers}} and _forget{{bias}}"
    )


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
