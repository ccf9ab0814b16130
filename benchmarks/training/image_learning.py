"""Images: shuffled and augmented batches, cross-entropy, the percentage of wrong answers."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle, islice

import torch
from torch import Tensor, nn

from benchmarks.data.batches import Batches, equal_images, evaluation_batches
from benchmarks.data.splits import IMAGE_SIZE, DataSet, Split
from benchmarks.training.compiling import Compiler
from benchmarks.training.learning import Evaluated, OtherTask
from benchmarks.training.objective import Evaluation, Normalize, Objective, evaluate
from benchmarks.training.recipes import Recipe
from benchmarks.training.settings import Settings
from models.recurrent.network import RecurrentNetwork

PROBE_BATCH = 4


class Learning:
    """`benchmarks.training.learning.Learning` of images."""

    clip = None

    def __init__(
        self,
        model: nn.Module,
        data: DataSet,
        recipe: Recipe,
        l2: float,
        settings: Settings,
        compiler: Compiler,
    ):
        flip = bool(recipe.flips(data.flip))
        self.batches = Batches(data.train, recipe.batch_size, recipe.crop_padding, flip)
        self.steps_per_epoch = self.batches.steps_per_epoch
        self.items = recipe.batch_size
        normalize = Normalize(data.mean, data.std).to(settings.device)
        self.objective = compiler(Objective(model, normalize, l2))

    def epoch(self, seed: int, epoch: int, first: int) -> Iterator[tuple[Tensor, ...]]:
        """Images (uint8, B x 3 x H x W) and labels (B)."""
        return islice(self.batches.epoch(seed, epoch), first, None)

    def carry(self) -> None:
        """Nothing."""

    def state(self) -> dict:
        """Nothing."""
        return {}

    def restore(self, state: dict) -> None:
        """Nothing."""

    def error(self, mistakes: float, items: int) -> float:
        """Percent of the images, of the wrong answers."""
        return 100 * mistakes / items


class Evaluator:
    """`benchmarks.training.learning.Evaluator` of images."""

    def __init__(self, model: nn.Module, data: DataSet, settings: Settings, compiler: Compiler):
        self.settings = settings
        normalize = Normalize(data.mean, data.std).to(settings.device)
        self.evaluation = compiler(Evaluation(model, normalize))

    def evaluate(self, split: Split, images: int) -> Evaluated:
        """The mean cross-entropy and the percentage of wrong answers."""
        return evaluate(self.evaluation, evaluation_batches(split, images), self.settings)

    def example(self, split: Split, batch_size: int) -> tuple[tuple[Tensor, ...], int]:
        """The first images with their labels."""
        x, y, _ = next(evaluation_batches(split, batch_size))
        return (x, y), batch_size

    def call(self, *batch: Tensor) -> object:
        """Losses and answers of uint8 images."""
        with torch.inference_mode(), self.settings.autocast():
            return self.evaluation(*batch)


def repeated(data: DataSet, recipe: Recipe, images: int) -> DataSet:
    """The data with so many training images, a batch at least; repeated as often as needed."""
    index = torch.arange(max(images, recipe.batch_size)) % len(data.train)
    return replace(data, train=Split(data.train.images[index], data.train.labels[index]))


def probes(model: nn.Module, data: DataSet) -> tuple[nn.Module, Iterator[tuple[Tensor, ...]]]:
    """Batches of training images as they are, from the first on, again and again."""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    objective = Objective(model, Normalize(data.mean, data.std).to(device), l2=0.0)

    def batches() -> Iterator[tuple[Tensor, ...]]:
        for x, y, _ in cycle(evaluation_batches(data.train, PROBE_BATCH)):
            yield x.to(device), y.to(device)

    return objective, batches()


def example(model: nn.Module, batch: int) -> tuple[Tensor]:
    """Equal images, normalised: (batch, 3, 32, 32)."""
    return (equal_images(batch),)


def made_up(size: int, classes: int) -> tuple[Tensor, Tensor]:
    """A batch of random images (uint8, size x 3 x 32 x 32, channels_last) with labels."""
    generator = torch.Generator().manual_seed(0)
    shape = (size, 3, IMAGE_SIZE, IMAGE_SIZE)
    x = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    return x.contiguous(memory_format=torch.channels_last), torch.arange(size) % classes


def answers(model: nn.Module, size: int, classes: int) -> object:
    """What the model gives for so many made-up images: logits (size, classes), if it is right.

    Raises:
        OtherTask: if it reads text.
    """
    if isinstance(model, RecurrentNetwork):
        raise OtherTask("a RecurrentNetwork reads text; register it with task='text'")
    return model(_MADE_UP(made_up(size, classes)[0]))


def evaluated(model: nn.Module, classes: int) -> float:
    """The cross-entropy of made-up images that are evaluated as in a run."""
    settings = Settings(torch.device("cpu"))
    x, y = made_up(6, classes)
    split = Split(x.permute(0, 2, 3, 1), y)
    evaluation = Evaluation(model, _MADE_UP)
    return evaluate(evaluation, evaluation_batches(split, 4), settings).loss


def trial(model: nn.Module, size: int, classes: int) -> tuple[Tensor, Tensor]:
    """The loss of a made-up batch without L2, and the number of wrong answers."""
    return Objective(model, _MADE_UP, l2=0.0)(*made_up(size, classes))


_MADE_UP = Normalize((0.5,) * 3, (0.25,) * 3)
