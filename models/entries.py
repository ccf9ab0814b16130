"""Rows of the registry: what is known of a source or a backbone without loading torch."""

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from models.ledger import KernelShape, LayerMacs, backbone_macs


def load_class(target: str) -> type:
    """The class of "module:name"."""
    module, name = target.split(":")
    return getattr(import_module(module), name)


@dataclass(frozen=True)
class KernelEntry:
    """A kernel source: its class (a plugin's) or where it is, and its closed forms.

    The closed forms take (shapes, **options) and do not import torch. `parameters` gives trainable
    parameters by component, `macs` the MACs of one generation of all kernels (None: unknown),
    `layer_macs` the MACs of a kernel that is applied factor by factor. `size` names the option, a
    whole number, that a budget of parameters sets.
    """

    target: str | type
    parameters: Callable[..., dict[str, int]]
    macs: Callable[..., int] | None = None
    size: str | None = None
    layer_macs: Callable[..., LayerMacs] | None = None

    def load(self) -> type:
        """The class; this loads torch."""
        return load_class(self.target) if isinstance(self.target, str) else self.target


@dataclass(frozen=True)
class BackboneEntry:
    """A backbone: where its class is, its closed forms, and the `arguments` of a variant of both.

    `kernel_shapes` takes (depth, channels) and refuses what is not allowed; `parameters` takes
    (shapes, classes) and leaves out the kernel source's; `macs` takes (shapes, classes, MACs of a
    kernel that is not applied as it stands).
    """

    target: str
    kernel_shapes: Callable[..., list[KernelShape]]
    parameters: Callable[..., dict[str, int]]
    arguments: dict[str, Any] = field(default_factory=dict)
    macs: Callable[..., int] = backbone_macs

    def load(self) -> type:
        """The class; this loads torch."""
        return load_class(self.target)
