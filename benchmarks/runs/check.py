"""The contract of a model, in plain words.

`check` holds one model against it, the tests hold every registered one.
"""

import copy
import math
import traceback
from collections.abc import Callable, Iterator

import torch
from torch import nn

from benchmarks.measuring import costs
from benchmarks.runs.building import build
from benchmarks.runs.counting import component_differences, count
from benchmarks.system import generators
from benchmarks.system.faults import described, is_fault, one_line
from benchmarks.tasks import TASKS
from benchmarks.training.checkpoints import (
    buffer_shapes,
    load_weights,
    unsaved_buffers,
    weights_of,
)
from benchmarks.training.learning import answers, evaluated, trial
from benchmarks.training.probing import PROBES
from models import registry
from models.kernels.protocol import KernelNetwork

CLASSES = 7
"""Not ten on purpose: a model takes the number of classes from the data set."""
OTHER_CLASSES = 12


class Broken(Exception):
    """What is wrong with the model, in plain words."""


def output_shape(name: str, model: nn.Module) -> None:
    """One item or more give as many rows of finite numbers, one for each class or symbol.

    In training there is always more than one.
    """
    task = TASKS[registry.get(name).task]
    for size, training in ((1, False), (3, False), (3, True)):
        model.train(training)
        out = answers(task.name, model, size, CLASSES)
        when = " in training" if training else ""
        if not isinstance(out, torch.Tensor) or tuple(out.shape) != (size, CLASSES):
            shape = tuple(out.shape) if isinstance(out, torch.Tensor) else type(out).__name__
            raise Broken(
                f"{size} {task.items} and {CLASSES} {task.outputs} give {shape}{when}, "
                f"not ({size}, {CLASSES})"
            )
        if not out.isfinite().all():
            raise Broken(f"the output is not finite{when}")


def other_classes(name: str, model: nn.Module) -> None:
    """What a user's code builds has as many outputs as it is asked for, whatever that is."""
    spec = registry.get(name)
    if spec.builder is None:
        return
    model = build(name, OTHER_CLASSES, seed=0).eval()
    out = answers(spec.task, model, 2, OTHER_CLASSES)
    shape = tuple(out.shape) if isinstance(out, torch.Tensor) else type(out).__name__
    if shape != (2, OTHER_CLASSES):
        task = TASKS[spec.task]
        raise Broken(f"2 {task.items} and {OTHER_CLASSES} {task.outputs} give {shape}")


def evaluation(name: str, model: nn.Module) -> None:
    """A made-up split is evaluated as in a run, to a finite loss."""
    model.eval()
    with generators.kept():
        loss = evaluated(registry.get(name).task, model, CLASSES)
    if not math.isfinite(loss):
        raise Broken(f"the cross-entropy of an evaluation is {loss}")


def gradients(name: str, model: nn.Module) -> None:
    """Every trained parameter has a finite gradient that is not zero, at least in some passes."""
    model.train()
    task = registry.get(name).task
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not trained:
        raise Broken("no parameter is trained")
    wrong = _wrong_gradients(task, model, trained)
    for _ in range(NUDGES):
        if "has a gradient of zero" not in wrong.values():
            break
        _nudge([value for parameter, value in trained.items() if parameter not in wrong])
        wrong = _wrong_gradients(task, model, trained)
    if wrong:
        first, *rest = wrong.items()
        more = f" (and {len(rest)} more parameters)" if rest else ""
        raise Broken(f"{' '.join(first)}{more}")


def _wrong_gradients(
    task: str, model: nn.Module, trained: dict[str, nn.Parameter]
) -> dict[str, str]:
    """The parameters without a gradient, or with one of zero, in all of some passes; and which."""
    wrong = dict.fromkeys(trained, "gets no gradient")
    for _ in range(PROBES):  # a layer may be skipped by chance
        if not wrong:
            break
        model.zero_grad(set_to_none=True)
        loss, _ = trial(task, model, 8, CLASSES)
        if loss.requires_grad:
            loss.backward()
        for parameter, value in trained.items():
            if value.grad is None:
                continue
            if not value.grad.isfinite().all():
                raise Broken(f"the gradient of {parameter} is not finite")
            if value.grad.any() or _may_be_zero(model, parameter):
                wrong.pop(parameter, None)
            elif parameter in wrong:
                wrong[parameter] = "has a gradient of zero"
    return wrong


NUDGES = 4
"""How often parameters are moved: as many layers in a row may begin at zero."""


def _nudge(parameters: list[nn.Parameter]) -> None:
    """Move parameters a little, each in its size, as training would.

    What begins at zero leaves others without a say: a hyper cell, the last batch norm of a residual
    branch, an adapter.
    """
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in parameters:
            noise = 0.05 * torch.randn(parameter.shape, generator=generator)
            noise = noise.to(parameter.dtype)
            parameter.add_(torch.where(parameter == 0, noise, parameter * noise))


def _may_be_zero(model: nn.Module, parameter: str) -> bool:
    """A convolution's bias right before a batch norm has zero gradient in exact arithmetic."""
    return isinstance(model, KernelNetwork) and (
        parameter == "stem.bias" or parameter.startswith("biases.")
    )


def save_and_load(name: str, model: nn.Module) -> None:
    """Another instance of the seed with the weights of a checkpoint gives the same outputs.

    What neither `state_dict` nor the buffers have, it has from the seed.
    """
    task, built = registry.get(name).task, buffer_shapes(model)
    with torch.no_grad(), generators.kept():
        answers(task, model.train(), 4, CLASSES)  # buffers may be made, or grow, in the first pass
    other = build(name, CLASSES, seed=0)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1)
    load_weights(other, copy.deepcopy(weights_of(model, built)))
    if not torch.equal(_output(name, model), _output(name, other)):
        raise Broken("another instance with the same state_dict gives other outputs")


def same_seed(name: str, model: nn.Module) -> None:
    """One seed gives the same weights, buffers and outputs, another one others."""
    first, again, other = (_drawn(name, build(name, CLASSES, seed)) for seed in (0, 0, 1))
    differing = [key for key in first if not _equal(first[key], again.get(key))]
    if differing or first.keys() != again.keys():
        raise Broken(f"two builds from seed 0 differ{f' in {differing[0]}' if differing else ''}")
    if all(_equal(first[key], other.get(key)) for key in first):
        raise Broken("builds from seeds 0 and 1 are equal")


def _output(name: str, model: nn.Module) -> torch.Tensor:
    """What a model gives in evaluation, the global generators being seeded."""
    model.eval()
    generators.seed_all(0)
    with torch.no_grad():
        output = answers(registry.get(name).task, model, 4, CLASSES)
    assert isinstance(output, torch.Tensor)
    return output


def _drawn(name: str, model: nn.Module) -> dict[str, object]:
    """All that a seed decides: what is saved, the buffers that are not, and the outputs."""
    return model.state_dict() | unsaved_buffers(model) | {"the output": _output(name, model)}


def _equal(one: object, other: object) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        pairs = zip(one, other, strict=False)
        return len(one) == len(other) and all(_equal(*pair) for pair in pairs)
    return type(one) is type(other) and bool(one == other)


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
    "output has shape (items, outputs) and is finite": output_shape,
    "the data set decides the number of outputs": other_classes,
    "a split can be evaluated": evaluation,
    "every parameter gets a gradient": gradients,
    "weights can be saved and loaded": save_and_load,
    "the seed decides the weights": same_seed,
    "parameters are counted exactly": exact_count,
    "MACs agree where they are counted": macs,
}


def run(name: str, show_traceback: bool = False) -> Iterator[tuple[str, str | None]]:
    """Each check's title, with a remark where there is one, and what is wrong or None.

    `show_traceback`: that of an error, on stderr.
    """
    for title, check in CHECKS.items():
        try:
            remark = check(name, build(name, CLASSES, seed=0))
            yield f"{title} ({remark})" if remark else title, None
        except Broken as broken:
            yield title, one_line(str(broken))
        except BaseException as error:
            if not is_fault(error):
                raise
            if show_traceback:
                traceback.print_exception(error)
            yield title, described(error)
