"""What a registered model costs, and who says so; a count that cannot be had has its reason."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from benchmarks.measuring import costs
from benchmarks.measuring.costs import Macs
from benchmarks.measuring.products import CountError
from benchmarks.measuring.second_opinion import second_opinion
from benchmarks.records import validation
from benchmarks.runs.building import build
from benchmarks.system.faults import described, is_fault
from benchmarks.training.learning import example
from models import registry


@dataclass(frozen=True)
class Counts:
    """Trainable parameters by component, frozen ones, and MACs.

    `macs` is None where they cannot be had, and then `reason` says why. `by`: "dispatcher" (counted
    on the module) or "plugin" (given by the model's plugin; `counted` is what the dispatcher says).
    `second`: fvcore's count, or None and perhaps `second_reason`.
    """

    parts: dict[str, int]
    frozen: int
    macs: Macs | None
    by: str | None
    reason: str | None
    counted: Macs | None
    second: Macs | None
    second_reason: str | None

    @property
    def difference(self) -> str | None:
        """What another counter says otherwise, in a line."""
        if self.macs is None:
            return None
        others = {"torch's dispatcher": self.counted, "fvcore": self.second}
        told = [
            f"{who} counts {_told(macs)}"
            for who, macs in others.items()
            if macs is not None and macs != self.macs
        ]
        return f"{' and '.join(told)}, not {_told(self.macs)}" if told else None

    def as_dict(self) -> dict:
        """The keys of a record."""
        macs = (self.macs.per_image, self.macs.generator) if self.macs else (None, None)
        return {
            "params": sum(self.parts.values()),
            "params_by_component": self.parts,
            "macs_per_image": macs[0],
            "generator_macs": macs[1],
            "flops_per_image": validation.doubled(macs[0]),
            "generator_flops": validation.doubled(macs[1]),
            "counting": {"by": self.by, "reason": self.reason, "second_opinion": self._second()},
        }

    def _second(self) -> dict | None:
        if self.second is None and self.second_reason is None:
            return None
        second = (self.second.per_image, self.second.generator) if self.second else (None, None)
        names = ("macs_per_image", "generator_macs")
        return dict(zip(names, second, strict=True)) | {"reason": self.second_reason}


def _told(macs: Macs) -> str:
    generator = f" and {macs.generator:,} a batch" if macs.generator else ""
    return f"{macs.per_image:,} MACs an item{generator}"


def count(name: str, num_classes: int | None = None, seed: int = 0) -> Counts:
    """The counts of a model, on modules that are built for it; torch's generators are kept.

    A built-in model's closed form is the second count. Others are counted by fvcore too.

    Raises:
        CountError: if a built-in model's closed form differs from what is counted.
    """
    spec = registry.get(name)
    num_classes = num_classes or spec.usual_classes
    given = spec.given_macs(num_classes)
    second = second_reason = None
    with torch.random.fork_rng(devices=[]):
        model = build(name, num_classes, seed)
        parts, frozen = costs.count_parameters(model), costs.count_frozen(model)
        counted, reason = _attempt(
            lambda: costs.count_macs(model, partial(example, spec.task, model))
        )
        if given is None or not registry.is_built_in(name):
            other = build(name, num_classes, seed)
            second, second_reason = _attempt(
                lambda: second_opinion(other, partial(example, spec.task, other))
            )
    macs, by = counted, "dispatcher" if counted else None
    if given is not None and registry.is_built_in(name):
        _refuse_difference(name, (parts, counted), (spec.parameters(num_classes), Macs(*given)))
    elif given is not None:
        macs, by, reason = Macs(*given), "plugin", None
    return Counts(parts, frozen, macs, by, reason, counted, second, second_reason)


def component_differences(
    name: str, parts: dict[str, int], num_classes: int
) -> dict[str, tuple[int, int]]:
    """Components whose closed form is not what the module has: (closed form, module) by name."""
    closed = registry.get(name).parameters(num_classes)
    both = {key: (closed.get(key, 0), parts.get(key, 0)) for key in closed | parts}
    return {key: pair for key, pair in both.items() if pair[0] != pair[1]}


def closed_form_differs(name: str, counts: Counts, num_classes: int) -> str | None:
    """How the closed form or the plugin's count differs from the module; None if it does not."""
    if registry.get(name).builder is None:
        differing = component_differences(name, counts.parts, num_classes)
        if differing:
            told = [f"{key} {form:,}, not {real:,}" for key, (form, real) in differing.items()]
            return f"the closed form has {'; '.join(told)}"
    given_differs = counts.by == "plugin" and counts.counted not in (None, counts.macs)
    return counts.difference if given_differs else None


def _attempt(counter: Callable[[], Macs]) -> tuple[Macs | None, str | None]:
    """The count, or why there is none: also what the model raises."""
    try:
        return counter(), None
    except CountError as error:
        return None, " ".join(str(error).split())
    except BaseException as error:
        if not is_fault(error):
            raise
        return None, described(error)  # a count that cannot be had stops nothing


def _refuse_difference(name: str, counted: tuple, closed_form: tuple) -> None:
    if counted != closed_form:
        raise CountError(f"{name}: counted {counted}, closed form {closed_form}")
