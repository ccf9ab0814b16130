"""The contract of a model, in plain words.

`check` holds one model against it, the tests hold every registered one.
"""

import copy
from collections.abc import Callable, Iterator

import torch
from torch import nn

from benchmarks.measuring import costs
from benchmarks.runs.building import build
from benchmarks.runs.counting import component_differences, count
from benchmarks.training.objective import Normalize, Objective
from models import registry
from models.kernels.protocol import KernelNetwork

CLASSES = 7
"""Not ten on purpose: a model takes the number of classes from the data set."""


class Broken(Exception):
    """What is wrong with the model, in plain words."""


def _batch(size: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (size, 3, 32, 32), generator=generator, dtype=torch.uint8)
    return x, torch.arange(size) % CLASSES


def _normalized(size: int = 4) -> torch.Tensor:
    return Normalize((0.5,) * 3, (0.25,) * 3)(_batch(size)[0])


def output_shape(name: str, model: nn.Module) -> None:
    """One image or more give as many rows of finite numbers, one for each class."""
    for size in (1, 3):
        out = model.eval()(_normalized(size))
        if not isinstance(out, torch.Tensor) or tuple(out.shape) != (size, CLASSES):
            shape = tuple(out.shape) if isinstance(out, torch.Tensor) else type(out).__name__
            raise Broken(
                f"{size} images and {CLASSES} classes give {shape}, not ({size}, {CLASSES})"
            )
        if not out.isfinite().all():
            raise Broken("the output is not finite")


def gradients(name: str, model: nn.Module) -> None:
    """Every trained parameter has a finite gradient that is not zero."""
    objective = Objective(model.train(), Normalize((0.5,) * 3, (0.25,) * 3), l2=5e-4)
    objective(*_batch(8))[0].backward()
    for parameter, value in model.named_parameters():
        if not value.requires_grad:
            continue
        if value.grad is None:
            raise Broken(f"{parameter} gets no gradient")
        if not value.grad.isfinite().all():
            raise Broken(f"the gradient of {parameter} is not finite")
        if not value.grad.any() and not _feeds_batch_norm(model, parameter):
            raise Broken(f"the gradient of {parameter} is zero")


def _feeds_batch_norm(model: nn.Module, parameter: str) -> bool:
    """A convolution's bias right before a batch norm has zero gradient in exact arithmetic."""
    return isinstance(model, KernelNetwork) and (
        parameter == "stem.bias" or parameter.startswith("biases.")
    )


def save_and_load(name: str, model: nn.Module) -> None:
    """Another instance with the same weights gives the same outputs."""
    other = build(name, CLASSES, seed=1)
    other.load_state_dict(copy.deepcopy(model.state_dict()))
    x = _normalized()
    if not torch.equal(model.eval()(x), other.eval()(x)):
        raise Broken("another instance with the same state_dict gives other outputs")


def same_seed(name: str, model: nn.Module) -> None:
    """One seed gives the same weights, another one others."""
    again, other = (build(name, CLASSES, seed).state_dict() for seed in (0, 1))
    first = build(name, CLASSES, 0).state_dict()
    if any(not torch.equal(first[key], again[key]) for key in first):
        raise Broken("two builds from seed 0 differ")
    if all(torch.equal(first[key], other[key]) for key in first):
        raise Broken("builds from seeds 0 and 1 are equal")


def exact_count(name: str, model: nn.Module) -> None:
    """Components sum to the parameters, and the closed form, if there is one, has the same."""
    spec, parts = registry.get(name), costs.count_parameters(model)
    counted = sum(parts.values())
    trained = [p for p in model.parameters() if p.requires_grad]
    real = sum(p.numel() * (2 if p.is_complex() else 1) for p in trained)
    if counted != real:
        raise Broken(f"the components sum to {counted}, the parameters to {real}")
    if spec.builder is not None:
        return
    differing = component_differences(name, parts, CLASSES)
    if differing:
        raise Broken(
            f"closed form and module differ, (closed form, module) by component: {differing}"
        )


def macs(name: str, model: nn.Module) -> str | None:
    """MACs are those that closed form or plugin give; gives why there are none."""
    counts = count(name, CLASSES)
    given = registry.get(name).given_macs(CLASSES)
    if given and counts.counted and costs.Macs(*given) != counts.counted:
        found = (counts.counted.per_image, counts.counted.generator)
        raise Broken(f"the closed form has {given}, the module {found}")
    return f"not counted: {counts.reason}" if counts.macs is None else counts.difference


CHECKS: dict[str, Callable[[str, nn.Module], str | None]] = {
    "output has shape (images, classes) and is finite": output_shape,
    "every parameter gets a gradient": gradients,
    "weights can be saved and loaded": save_and_load,
    "the seed decides the weights": same_seed,
    "parameters are counted exactly": exact_count,
    "MACs agree where they are counted": macs,
}


def run(name: str) -> Iterator[tuple[str, str | None]]:
    """Each check's title, with a remark where there is one, and what is wrong or None."""
    for title, check in CHECKS.items():
        try:
            remark = check(name, build(name, CLASSES, seed=0))
            yield f"{title} ({remark})" if remark else title, None
        except Exception as error:  # noqa: BLE001 - any fault of the model is what this reports
            kind = "" if isinstance(error, Broken) else f"{type(error).__name__}: "
            message = f"{kind}{error}"
            yield title, " ".join(message.split())
