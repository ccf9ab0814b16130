"""What is timed: a model under a recipe, with its training step, training epoch and inference."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from benchmarks.data import datasets
from benchmarks.data.batches import Batches
from benchmarks.data.splits import DataSet, Split
from benchmarks.measuring.timing import Call, Protocol, protocol_of
from benchmarks.runs.options import RunOptions
from benchmarks.runs.progress import QUIET, Progress
from benchmarks.runs.settings import set_switches, settings_of, with_overrides
from benchmarks.training import recipes
from benchmarks.training.loop import Trainer, drive
from benchmarks.training.objective import Evaluation, Normalize
from benchmarks.training.recipes import Recipe
from benchmarks.training.settings import Settings


@dataclass(frozen=True)
class TimingSetup:
    """What models are timed with: images on the device, a recipe, settings and the protocol.

    `traceback`: whether that of a model that cannot be timed is printed.
    """

    data: DataSet
    recipe: Recipe
    settings: Settings
    protocol: Protocol
    traceback: bool = False


def timing_setup(
    options: RunOptions, batch_size: int | None = None, progress: Progress = QUIET
) -> TimingSetup:
    """The setup of `throughput` and `compare`: `epochs10` on digits, repeated to a whole epoch.

    Raises:
        RunError: for a device that is not there.
    """
    recipe = with_overrides(recipes.load(recipes.DEFAULT), options)
    recipe = replace(recipe, batch_size=batch_size or recipe.batch_size)
    settings = settings_of(options, recipe, progress.note)
    protocol = protocol_of(settings.device)
    digits = datasets.load("digits", Path(options.data_dir))
    images = max(protocol.epoch_images, recipe.batch_size)
    data = timing_data(digits, images, settings)
    return TimingSetup(data, recipe, settings, protocol, options.traceback)


def timing_data(data: DataSet, images: int, settings: Settings) -> DataSet:
    """The data set with `images` training images, repeated as often as needed, on the device."""
    index = torch.arange(images) % len(data.train)
    train = Split(data.train.images[index], data.train.labels[index])
    return replace(data, train=train).to(settings.device)


class Bench:
    """A module on a device, with the calls that are timed."""

    def __init__(
        self,
        model: torch.nn.Module,
        data: DataSet,
        recipe: Recipe,
        settings: Settings,
        foreign: bool = False,
    ):
        self.data, self.recipe, self.settings = data, recipe, settings
        batches = Batches(
            data.train,
            recipe.batch_size,
            crop_padding=recipe.crop_padding,
            flip=recipe.flips(data.flip),
        )
        self.trainer = Trainer(model, data, batches, recipe, settings, 0, {}, foreign)
        self.model = self.trainer.model
        self.batches = self._stream()

    def _stream(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        epoch = 0
        while True:
            yield from self.trainer.batches.epoch(0, epoch)
            epoch += 1

    def _train_step(self) -> None:
        switch(self.settings)
        self.model.train()
        x, y = next(self.batches)
        self.trainer.step(x, y, 0)

    def _train_epoch(self) -> None:
        switch(self.settings)
        drive(self.trainer.train_epoch(0))

    @property
    def step(self) -> Call:
        """Augmentation, forward, backward and optimizer."""
        return Call(self._train_step, self.recipe.batch_size)

    @property
    def epoch(self) -> Call:
        """All steps of an epoch with its permutation and its bookkeeping."""
        images = self.trainer.batches.steps_per_epoch * self.recipe.batch_size
        return Call(self._train_epoch, images)

    def inference(self, model: torch.nn.Module) -> Call:
        """A batch of uint8 images to losses and answers, in evaluation mode."""
        normalize = Normalize(self.data.mean, self.data.std).to(self.settings.device)
        evaluation = self.trainer.compiler(Evaluation(model, normalize))
        x, y = next(self.trainer.batches.epoch(0, 0))

        def infer() -> object:
            model.eval()
            with torch.inference_mode(), self.settings.autocast():
                return evaluation(x, y)

        return Call(infer, self.recipe.batch_size)


def switch(settings: Settings) -> None:
    """Deterministic or not, whatever ran before in this process."""
    if torch.are_deterministic_algorithms_enabled() != settings.deterministic:
        set_switches(settings.deterministic)
