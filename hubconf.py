"""Every model of `list` for torch.hub, with trained weights where there are some.

model = torch.hub.load(PATH, "hyper_resnet40_2", weights="cifar10-9980/epochs30", source="local")
"""

import functools

import torch

from models import pretrained, registry

dependencies = ["torch", "safetensors"]


def _model(
    name: str, weights: str | None = None, num_classes: int | None = None
) -> torch.nn.Module:
    """A model by its registry name, drawn from torch's generator or with `weights`.

    `weights`: data set and recipe, such as "cifar10-9980/epochs30", for their number of
    classes. Without either the model is for 10 classes, or for 50 symbols.
    """
    if weights is None:
        return registry.build(name, num_classes)
    if num_classes is not None:
        raise ValueError("num_classes is not allowed beside weights, which are for their own")
    return pretrained.load(name, weights)


def __getattr__(name: str) -> functools.partial:
    if name.startswith("_"):
        raise AttributeError(name)
    return functools.partial(_model, name)


def __dir__() -> list[str]:
    return [*globals(), *registry.names()]
