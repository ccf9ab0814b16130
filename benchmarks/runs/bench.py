"""What is timed: a model under a recipe, with its training step, training epoch and inference."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import torch

from benchmarks.data import datasets
from benchmarks.data.datasets import Data
from benchmarks.measuring.timing import Call, Protocol, protocol_of
from benchmarks.runs.options import RunOptions
from benchmarks.runs.progress import QUIET, Progress
from benchmarks.runs.settings import set_switches, settings_of, with_overrides
from benchmarks.tasks import IMAGES, TASKS, Task
from benchmarks.training import recipes
from benchmarks.training.learning import Batch, Learning, evaluator_of, repeated
from benchmarks.training.loop import Trainer, drive
from benchmarks.training.recipes import Recipe
from benchmarks.training.settings import Settings
from models import registry


@dataclass(frozen=True)
class TimingSetup:
    """What models are timed with: data on the device, a recipe, settings and the protocol.

    `traceback`: whether that of a model that cannot be timed is printed.
    """

    data: Data
    recipe: Recipe
    settings: Settings
    protocol: Protocol
    traceback: bool = False


def task_of(models: Iterable[str]) -> Task:
    """The task of models that are timed together.

    Raises:
        ValueError: for an unknown model, or models of several tasks.
    """
    tasks = {registry.get(name).task for name in models}
    if len(tasks) > 1:
        raise ValueError("models of images and of text are not timed together: name one kind")
    return TASKS[tasks.pop()]


def timing_setup(
    options: RunOptions,
    batch_size: int | None = None,
    progress: Progress = QUIET,
    task: Task = IMAGES,
) -> TimingSetup:
    """The setup of `throughput` and `compare`: the default recipe of the task.

    Images are digits, repeated to a whole epoch; text is pydoc.

    Raises:
        RunError: for a device that is not there.
    """
    recipe = with_overrides(recipes.load(recipes.default_name("", task)), options)
    recipe = replace(recipe, batch_size=batch_size or recipe.batch_size)
    settings = settings_of(options, recipe, progress.note)
    protocol = protocol_of(settings.device)
    data = datasets.load(task.bundled, Path(options.data_dir))
    data = repeated(data, recipe, protocol.epoch_images).to(settings.device)
    return TimingSetup(data, recipe, settings, protocol, options.traceback)


def _endless(learning: Learning) -> Iterator[Batch]:
    """The batches of one epoch after the other."""
    for epoch in count():
        yield from learning.epoch(0, epoch, 0)


class Bench:
    """A module on a device, with the calls that are timed."""

    def __init__(
        self,
        model: torch.nn.Module,
        data: Data,
        recipe: Recipe,
        settings: Settings,
        foreign: bool = False,
    ):
        self.data, self.recipe, self.settings = data, recipe, settings
        self.trainer = Trainer(model, data, recipe, settings, 0, {}, foreign)
        self.model = self.trainer.model
        self.batches = _endless(self.trainer.learning)

    def _train_step(self) -> None:
        switch(self.settings)
        self.model.train()
        self.trainer.step(next(self.batches), 0)

    def _train_epoch(self) -> None:
        switch(self.settings)
        drive(self.trainer.train_epoch(0))

    @property
    def step(self) -> Call:
        """The making of a batch, forward, backward and optimizer."""
        return Call(self._train_step, self.trainer.learning.items)

    @property
    def epoch(self) -> Call:
        """All steps of an epoch with its permutation and its bookkeeping."""
        learning = self.trainer.learning
        return Call(self._train_epoch, learning.steps_per_epoch * learning.items)

    def inference(self, model: torch.nn.Module) -> Call:
        """A batch to losses, in evaluation mode: uint8 images, or a chunk of symbols."""
        trainer = self.trainer
        evaluator = evaluator_of(model, self.data, self.settings, trainer.compiler)
        batch, items = evaluator.example(self.data.train, self.recipe.batch_size)

        def infer() -> object:
            model.eval()
            return evaluator.call(*batch)

        return Call(infer, items)


def switch(settings: Settings) -> None:
    """Deterministic or not, whatever ran before in this process."""
    if torch.are_deterministic_algorithms_enabled() != settings.deterministic:
        set_switches(settings.deterministic)
