"""What can be known of runs before the first of them begins."""

from collections.abc import Iterable

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from benchmarks.data import datasets
from benchmarks.data.datasets import Data
from benchmarks.runs.building import build
from benchmarks.runs.progress import RunSpec
from benchmarks.runs.settings import RunError
from benchmarks.system import generators
from benchmarks.system.faults import is_fault, one_line
from benchmarks.tasks import TASKS
from benchmarks.training import probing, recipes
from benchmarks.training.learning import OtherTask, answers
from models import plugins, registry

SHOWN = 3
"""How many parameters a note names."""


def refuse_other_task(specs: Iterable[RunSpec], dataset: str) -> None:
    """Refuse unknown models, and models and recipes of another task than the data set's.

    Raises:
        ValueError: naming the first of them.
    """
    task = datasets.task_of(dataset)
    for spec in specs:
        if registry.get(spec.model).task != task.name:
            other = TASKS[registry.get(spec.model).task]
            built_in = registry.is_built_in(spec.model)
            hint = "" if built_in else f", or its plugin registers it with task={task.name!r}"
            raise RunError(
                f"model {spec.model!r} is of {other.name}, data set {dataset} of {task.name}; its "
                f"data sets are {', '.join(datasets.ALLOWED_OF[other.name])}{hint}"
            )
        if spec.recipe.task is not task:
            raise RunError(
                f"recipe {spec.recipe.name!r} is of {spec.recipe.task.name}, {dataset} of "
                f"{task.name}, whose default is {recipes.default_name(dataset, task)}"
            )


def refuse(specs: Iterable[RunSpec], data: Data) -> None:
    """Refuse runs that cannot be made: batches larger than the split, outputs of a wrong shape.

    Raises:
        RunError: naming each of them, in one line.
    """
    specs = list(specs)
    recipes = {spec.recipe.name: spec.recipe for spec in specs}
    problems = [
        f"{recipe.step_told} of recipe {name} is not allowed; {data.name} has {len(data.train)} "
        f"training {data.task.items}"
        for name, recipe in recipes.items()
        if recipe.steps_per_epoch(len(data.train)) < 1
    ]
    for model in dict.fromkeys(spec.model for spec in specs):
        problem = wrong_output(model, data)
        if problem is not None:
            problems.append(problem)
    if problems:
        raise RunError("; ".join(problems))


def refuse_without_file(specs: Iterable[RunSpec]) -> None:
    """Refuse models that were registered by no plugin's file, which no other process can have.

    Raises:
        RunError: naming them.
    """
    names = {spec.model for spec in specs if not plugins.has_file(spec.model)}
    if names:
        raise RunError(
            f"model {', '.join(sorted(names))} is registered by no file, so only this process can "
            "make it; load a file with --plugin or models.registry.load_plugin"
        )


def wrong_output(name: str, data: Data) -> str | None:
    """What is wrong with a plugin's model: the shape of its output, or its parameters.

    It is asked in evaluation and in training. A model that raises is not refused: that is a fault
    of its run, for its record.
    """
    if registry.get(name).closed_form:
        return None
    task, wanted = data.task, (2, data.num_classes)
    try:
        with generators.kept(), torch.no_grad():
            model = build(name, data.num_classes, seed=0)
            parameters = probing.trained(model)
            if problem := _shared(name, model, build(name, data.num_classes, seed=0)):
                return problem
            for training in (False, True):
                model.train(training)
                out = answers(task.name, model, *wanted)
                shape = tuple(out.shape) if isinstance(out, torch.Tensor) else type(out).__name__
                if shape != wanted:
                    when = " in training" if training else ""
                    return (
                        f"model {name!r} makes {shape} of 2 {task.items} and {data.num_classes} "
                        f"{task.outputs}{when}, not {wanted}; see `check`"
                    )
            late = sorted(probing.trained(model) - parameters)
            if late:
                return (
                    f"model {name!r} makes or unfreezes {one_line(late[0], 80)} in its first pass, "
                    "where no optimizer would train it; do so when it is built"
                )
    except OtherTask as error:
        return f"model {name!r}: {error}"
    except BaseException as error:
        if not is_fault(error):
            raise
    return None


def _shared(name: str, model: nn.Module, other: nn.Module) -> str | None:
    """Which trained parameter two builds share, so that a run would begin where another ended."""
    made = [p for p in other.parameters() if not is_lazy(p)]
    places = {p.untyped_storage().data_ptr() for p in made} - {0}
    for parameter, value in model.named_parameters():
        if is_lazy(value) or not value.requires_grad:
            continue
        if value.untyped_storage().data_ptr() in places:
            return (
                f"model {name!r} has the same {one_line(parameter, 80)} in every build, so that a "
                "run would begin where another ended; make its modules in the function"
            )
    return None


def untrained(name: str, data: Data, seed: int) -> tuple[str, ...]:
    """The parameters of a plugin's model that get no gradient (`probing.untrained`).

    A built-in model has none, by its contract tests. The model is built for this alone.
    """
    if registry.is_built_in(name):
        return ()
    try:
        with generators.kept():
            model = build(name, data.num_classes, seed)
    except BaseException as error:
        if not is_fault(error):
            raise
        return ()  # its run will say what is wrong
    return probing.untrained(model, data)


def note_of(name: str, parameters: tuple[str, ...]) -> str:
    """A note that a model has parameters without a gradient; a few of them by name."""
    shown = ", ".join(one_line(parameter, 80) for parameter in parameters[:SHOWN])
    more = f" and {len(parameters) - SHOWN} more" if len(parameters) > SHOWN else ""
    return f"{name}: {len(parameters)} parameters get no gradient: {shown}{more}"
