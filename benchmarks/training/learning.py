"""What differs between the tasks in training: batches, the objective, the evaluation."""

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

from torch import Tensor, nn

from benchmarks.tasks import IMAGES, TEXT
from benchmarks.training.compiling import Compiler
from benchmarks.training.recipes import Recipe
from benchmarks.training.settings import Settings

Batch = tuple[Tensor, ...]


class OtherTask(TypeError):
    """A module that cannot read what a task's models read; the message is one line."""


class Evaluated(NamedTuple):
    """Mean cross-entropy, the task's metric, and which items were wrong: bool (N,), on the CPU.

    `wrong` is None where the metric is no share of the items.
    """

    loss: float
    error: float
    wrong: Tensor | None


class Evaluator(Protocol):
    """Evaluates one model, compiled as its settings say; the model is in evaluation mode."""

    def evaluate(self, split: Any, images: int) -> Evaluated:
        """What the model does on a whole split.

        `images`: at a time; a text has its own number of streams.
        """
        ...

    def example(self, split: Any, batch_size: int) -> tuple[Batch, int]:
        """One batch of a split for `call`, and its items: for timing."""
        ...

    def call(self, *batch: Tensor) -> object:
        """Evaluate one batch."""
        ...


class Learning(Protocol):
    """How one run reads its data and what it minimises.

    `steps_per_epoch`; `items`: images, or characters, of a step. `clip`: the largest norm of the
    gradient, or None.
    """

    steps_per_epoch: int
    items: int
    clip: float | None

    def epoch(self, seed: int, epoch: int, first: int) -> Iterator[Batch]:
        """The batches of an epoch from step `first` on, fixed by (seed, epoch) and the device."""
        ...

    def objective(self, *batch: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of a batch, and its mistakes: wrong answers, or nats."""
        ...

    def carry(self) -> None:
        """After the backward pass: keep what the next step goes on from."""
        ...

    def state(self) -> dict:
        """What a checkpoint must hold of it, tensors or nothing."""
        ...

    def restore(self, state: dict) -> None:
        """Go on from `state`."""
        ...

    def error(self, mistakes: float, items: int) -> float:
        """The task's metric in training, of the mistakes in so many items."""
        ...


def _module(task: str) -> Any:
    """The module of a task, which has all that is called below."""
    from benchmarks.training import image_learning, text_learning

    return {IMAGES.name: image_learning, TEXT.name: text_learning}[task]


def learning_of(
    model: nn.Module, data: Any, recipe: Recipe, l2: float, settings: Settings, compiler: Compiler
) -> Learning:
    """How a model on the settings' device learns from data there."""
    return _module(data.task.name).Learning(model, data, recipe, l2, settings, compiler)


def evaluator_of(model: nn.Module, data: Any, settings: Settings, compiler: Compiler) -> Evaluator:
    """What evaluates a model on splits of `data`."""
    return _module(data.task.name).Evaluator(model, data, settings, compiler)


def repeated(data: Any, recipe: Recipe, images: int) -> Any:
    """The data with the training items of an epoch of timing: `images`, or as much text."""
    return _module(data.task.name).repeated(data, recipe, images)


def probes(model: nn.Module, data: Any) -> tuple[nn.Module, Iterator[Batch]]:
    """The objective without L2, eager, and small batches of the training data without end."""
    return _module(data.task.name).probes(model, data)


def example(task: str, model: nn.Module, batch: int) -> tuple[Any, ...]:
    """What the model is called with: `batch` equal items, the same at every call."""
    return _module(task).example(model, batch)


def answers(task: str, model: nn.Module, size: int, classes: int) -> object:
    """What the model gives for made-up items: logits (size, classes), if it is right."""
    return _module(task).answers(model, size, classes)


def evaluated(task: str, model: nn.Module, classes: int) -> float:
    """The cross-entropy of made-up items that are evaluated as in a run."""
    return _module(task).evaluated(model, classes)


def trial(task: str, model: nn.Module, size: int, classes: int) -> tuple[Tensor, Tensor]:
    """The loss of made-up items without L2, and the number of wrong answers."""
    return _module(task).trial(model, size, classes)
