"""What is minimised and what is measured: the objective of training, and evaluation."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.training.learning import Evaluated
from benchmarks.training.settings import Settings
from models.kernels.protocol import KernelNetwork, dense


class Normalize(nn.Module):
    """uint8 images (B, 3, 32, 32) to floats, by the data set's mean and standard deviation.

    Both are of images on the scale from 0 to 1.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Iterable[float], std: Iterable[float]):
        super().__init__()
        for name, values in (("mean", mean), ("std", std)):
            scaled = torch.tensor(tuple(values)).view(1, 3, 1, 1) * 255
            self.register_buffer(name, scaled, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, 3, H, W) as uint8 to floats of mean 0 and deviation 1."""
        return (x.float() - self.mean) / self.std


class Objective(nn.Module):
    """Cross-entropy + (l2 / 2) sum of squares of the weights as used + the source's penalty, fp32.

    The kernels are generated once a step. Every one of them counts, stored or generated, once per
    use; so do the weights of stem, shortcuts and classifier. Biases, batch norms, embeddings and
    generator parameters never do. In a foreign `nn.Module` the parameters of two or more
    dimensions take the place of kernels.

    Gives the loss and the number of wrong answers.
    """

    def __init__(self, model: nn.Module, normalize: nn.Module, l2: float):
        super().__init__()
        self.model = model
        self.normalize = normalize
        self.l2 = l2

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """(loss, number of wrong answers) of a batch."""
        x = self.normalize(x)
        penalty: Tensor | float
        if isinstance(self.model, KernelNetwork):
            kernels = self.model.generate()
            logits = self.model.classify(x, kernels)
            with torch.autocast(x.device.type, enabled=False):  # as the kernels are generated
                penalty = self.model.kernels.penalty(kernels)
                weights = [dense(kernel) for kernel in kernels] + self.model.stored_weights()
        else:
            logits = self.model(x)
            penalty = 0.0
            weights = [parameter for parameter in self.model.parameters() if parameter.ndim > 1]
        loss = F.cross_entropy(logits.float(), y) + penalty
        if self.l2:
            squares = sum(as_real(weight).float().square().sum() for weight in weights)
            loss = loss + 0.5 * self.l2 * squares
        return loss, wrong_answers(logits, y)


def as_real(weight: Tensor) -> Tensor:
    """The weight; a complex one as its real and imaginary parts."""
    return torch.view_as_real(weight) if weight.is_complex() else weight


class Evaluation(nn.Module):
    """Per image: its cross-entropy and whether the answer is wrong."""

    def __init__(self, model: nn.Module, normalize: Normalize):
        super().__init__()
        self.model = model
        self.normalize = normalize

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """(cross-entropy, whether the answer is wrong), each (B,)."""
        logits = self.model(self.normalize(x)).float()
        return F.cross_entropy(logits, y, reduction="none"), logits.argmax(1) != y


def wrong_answers(logits: Tensor, y: Tensor) -> Tensor:
    """How many of the largest logits (B, classes) are not those of the labels (B)."""
    return (logits.detach().argmax(1) != y).sum()


def evaluate(evaluation: Callable, batches: Iterable, settings: Settings) -> Evaluated:
    """What a model does on all images of `batches`.

    A batch is (x, y, count); its first `count` images are real, the others fill it up.
    """
    losses, wrong = [], []
    with torch.inference_mode(), settings.autocast():
        for x, y, count in batches:
            loss, mistakes = evaluation(x, y)
            losses.append(loss[:count].double().sum())
            wrong.append(mistakes[:count])
    of_images = torch.cat(wrong).cpu()
    images = len(of_images)
    loss = float(torch.stack(losses).sum()) / images
    return Evaluated(loss, 100 * int(of_images.sum()) / images, of_images)
