"""What a model is: the frozen spec behind a name, and the parts that a spec may name."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from models import ledger
from models.entries import BackboneEntry, KernelEntry
from models.kernels import counts
from models.recurrent import counts as recurrent_counts
from models.recurrent import named

USUAL_CLASSES = {"images": 10, "text": named.SYMBOLS}
"""By task: those of CIFAR-10, and of the Penn Treebank characters."""


class RegistryError(ValueError):
    """A name or spec that is not allowed; the message is one line for the user."""


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
        for name in parts:
            if name not in ledger.COMPONENTS:
                allowed = ", ".join(ledger.COMPONENTS)
                raise ValueError(
                    f"component {name!r}, which kernel source {self.kernels!r} counts, is not "
                    f"allowed; choose from {allowed}"
                )
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
