"""Training: the objective, the loop over epochs, save and restore, and the one reading of the test set.

It takes a module, data and a recipe and returns plain values; who builds and who records is the runner's business.
"""

import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.training.checkpoints import CHECKPOINT_VERSION, CheckpointError, write_checkpoint
from benchmarks.training.optimizers import kind_of, make_optimizer, restore_optimizer, ruled
from benchmarks.training.recipes import Recipe
from models.kernels.protocol import KernelNetwork, dense


class Interrupted(Exception):
    """Stopped, by a signal or the time limit, with a checkpoint of the step; running again goes on from there."""


@dataclass(frozen=True)
class Settings:
    """How the arithmetic is done.

    `precision`: "fp32" or "bf16". `compile`: "off", a mode of torch.compile, or "graph": compiled, and on CUDA the whole step
    (forward, backward, optimizer) replayed as one graph. `parallel_seeds`: how many runs take turns on the device.
    """

    device: torch.device
    precision: str = "fp32"
    compile: str = "off"
    fallbacks: tuple[str, ...] = ()
    deterministic: bool = False
    parallel_seeds: int = 1

    def autocast(self):
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    @property
    def captures(self) -> bool:
        """Whether training steps are captured as CUDA graphs."""
        return self.compile == "graph" and self.device.type == "cuda"

    def new_stream(self) -> "torch.cuda.Stream | None":
        """A stream of its own for a run whose steps are captured; None where there is none to take."""
        return torch.cuda.Stream(self.device) if self.captures else None

    def compiled(self, module: nn.Module, whole: bool) -> nn.Module:
        """The module, compiled if so set; `whole`: into one graph or with an error, since a break is slow and silent."""
        if self.compile == "off":
            return module
        mode = "default" if self.compile == "graph" else self.compile
        return torch.compile(module, mode=mode, dynamic=False, fullgraph=whole)


@dataclass
class History:
    """One entry an epoch, all plain numbers: errors in percent, seconds of training without evaluation."""

    epochs: list[dict] = field(default_factory=list)
    images: int = 0
    seconds: float = 0.0
    begun: dict | None = None
    """Of an epoch that was stopped: `losses` and `wrong` of its steps, and its `seconds` so far."""
    resumed: list[dict] = field(default_factory=list)
    """Where the run went on from a checkpoint that was not of this code or recipe, or not the last: step and what differs."""

    @property
    def steps_done(self) -> int:
        return (self.epochs[-1]["step"] if self.epochs else 0) + (
            len(self.begun["losses"]) if self.begun else 0
        )

    @property
    def images_per_s(self) -> float | None:
        return self.images / self.seconds if self.seconds else None


@dataclass(frozen=True)
class Result:
    """`status` is "ok" or "diverged"; `test_error` in percent, read once, after the last epoch, or not at all."""

    status: str
    reason: str | None
    history: History
    test_error: float | None


class Normalize(nn.Module):
    """uint8 images (B, 3, 32, 32) to floats with the data set's mean and standard deviation (of the 0..1 scale)."""

    def __init__(self, mean: Iterable[float], std: Iterable[float]):
        super().__init__()
        self.register_buffer(
            "mean", torch.tensor(tuple(mean)).view(1, 3, 1, 1) * 255, persistent=False
        )
        self.register_buffer(
            "std", torch.tensor(tuple(std)).view(1, 3, 1, 1) * 255, persistent=False
        )

    def forward(self, x: Tensor) -> Tensor:
        return (x.float() - self.mean) / self.std


class Objective(nn.Module):
    """What is minimised: cross-entropy + (l2 / 2) sum of squares of the weights as used + the source's penalty, in fp32.

    The kernels are generated once a step and every one counts, stored or generated, per use; so do stem, shortcut and
    classifier weights. Biases, batch norms, embeddings and generator parameters never do. In a foreign `nn.Module` the
    parameters of two or more dimensions take the place of kernels. Gives (loss, number of wrong answers).
    """

    def __init__(self, model: nn.Module, normalize: Normalize, l2: float):
        super().__init__()
        self.model, self.normalize, self.l2 = model, normalize, l2

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        x = self.normalize(x)
        if isinstance(self.model, KernelNetwork):
            kernels = self.model.generate()
            logits = self.model.classify(x, kernels)
            penalty = self.model.kernels.penalty(kernels)
            weights = [*map(dense, kernels), *self.model.stored_weights()]
        else:
            logits, penalty = self.model(x), 0.0
            weights = [p for p in self.model.parameters() if p.ndim > 1]
        loss = F.cross_entropy(logits.float(), y) + penalty
        if self.l2:
            loss = loss + 0.5 * self.l2 * sum(w.float().square().sum() for w in weights)
        return loss, wrong_answers(logits, y)


class Evaluation(nn.Module):
    """Per image: cross-entropy and whether the answer is wrong."""

    def __init__(self, model: nn.Module, normalize: Normalize):
        super().__init__()
        self.model, self.normalize = model, normalize

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.model(self.normalize(x)).float()
        return F.cross_entropy(logits, y, reduction="none"), logits.argmax(1) != y


def wrong_answers(logits: Tensor, y: Tensor) -> Tensor:
    return (logits.detach().argmax(1) != y).sum()


def channels_last(model: nn.Module) -> nn.Module:
    """The model with its four-dimensional parameters in channels_last memory, as the images are."""
    for parameter in model.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return model


def evaluate(evaluation: Callable, batches: Iterable, settings: Settings) -> tuple[float, float]:
    """(mean cross-entropy, error in percent) over batches (x, y, count) of which the first `count` images are real."""
    losses, wrong, images = [], [], 0
    with torch.inference_mode(), settings.autocast():
        for x, y, count in batches:
            loss, mistakes = evaluation(x, y)
            losses.append(loss[:count].double().sum())
            wrong.append(mistakes[:count].sum())
            images += count
    return float(torch.stack(losses).sum()) / images, 100 * float(torch.stack(wrong).sum()) / images


class CapturedStep:
    """A training step as one CUDA graph: forward, backward and optimizer are one launch.

    The first `WARM_UP` steps run as they are, because compilation and the optimizer's state must be there before a capture.
    Must be called on a stream that is not the default one.
    """

    WARM_UP = 3

    def __init__(self, step: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]):
        self.step, self.calls, self.graph = step, 0, None

    def __call__(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        if self.calls < self.WARM_UP:
            self.calls += 1
            return self.step(x, y)
        if self.graph is None:
            self._capture(x, y)
        self.x.copy_(x)
        self.y.copy_(y)
        self.graph.replay()
        return tuple(
            value.clone() for value in self.out
        )  # the next replay writes in the same place

    def _capture(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x.clone(memory_format=torch.preserve_format), y.clone()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.out = self.step(self.x, self.y)


class Trainer:
    """One run: a module, its data and recipe, from the first step or from a checkpoint to the last epoch."""

    def __init__(
        self,
        model: nn.Module,
        data,
        batches,
        recipe: Recipe,
        settings: Settings,
        seed: int,
        identity: dict,
    ):
        self.model = channels_last(model.to(settings.device))
        self.data, self.batches, self.recipe, self.settings, self.seed = (
            data,
            batches,
            recipe,
            settings,
            seed,
        )
        self.kind = kind_of(model, recipe)
        self.block = recipe.block(self.kind)
        self.total = recipe.total_steps(self.kind, batches.steps_per_epoch)
        self.epochs = math.ceil(self.total / batches.steps_per_epoch)
        self.identity = identity | {"recipe": recipe.hash, "seed": seed}
        normalize = Normalize(data.mean, data.std).to(settings.device)
        whole = isinstance(model, KernelNetwork)
        self.objective = settings.compiled(Objective(self.model, normalize, self.block.l2), whole)
        self.evaluation = settings.compiled(Evaluation(self.model, normalize), whole)
        rules = ruled(self.model, self.block)
        self.optimizers = [
            make_optimizer(parameters, rule, settings.device) for rule, parameters in rules
        ]
        self._rates = [
            (optimizer.param_groups[0]["lr"], rule.learning_rate / self.block.learning_rate)
            for optimizer, (rule, _) in zip(self.optimizers, rules, strict=True)
        ]
        self._optimize = CapturedStep(self._plain_step) if settings.captures else self._plain_step
        self.history = History()

    def train(self, *arguments, **options) -> Result:
        """`training`, driven to its end on a stream of its own."""
        return drive(self.training(*arguments, **options), self.settings.new_stream())

    def training(
        self,
        evaluation_batches: Callable,
        checkpoint: Path | None = None,
        should_stop: Callable[[], str | None] = lambda: None,
        on_epoch: Callable[[dict, int], None] = lambda entry, epochs: None,
        on_step: Callable[[int, int], None] = lambda step, steps: None,
        test: bool = True,
    ) -> Generator[None, None, Result]:
        """Train to the end, pausing after each step so that several runs may take turns; the test set is read here, once, or
        if not `test`, never.

        Raises:
            Interrupted: with the reason that `should_stop` gave after a step; the checkpoint holds that step.
        """
        while len(self.history.epochs) < self.epochs:
            entry = yield from self._epoch(
                len(self.history.epochs), evaluation_batches, checkpoint, should_stop, on_step
            )
            if not math.isfinite(entry["train_loss"]) or not math.isfinite(entry["val_loss"]):
                return Result(
                    "diverged", f"loss is not finite in epoch {entry['epoch']}", self.history, None
                )
            self.history.epochs.append(entry)
            if checkpoint is not None:
                self.save(checkpoint)
            on_epoch(entry, self.epochs)
        if not test:
            return Result("ok", None, self.history, None)
        _, error = self._evaluate(evaluation_batches(self.data.read_test(), self.recipe.batch_size))
        return Result("ok", None, self.history, error)

    def _epoch(
        self, epoch, evaluation_batches, checkpoint, should_stop, on_step
    ) -> Generator[None, None, dict]:
        for entry in self.train_epoch(epoch, on_step):
            if entry is not None:
                break
            if reason := should_stop():
                if checkpoint is not None:
                    self.save(checkpoint)
                raise Interrupted(f"{reason} in epoch {epoch + 1} of {self.epochs}")
            yield
        val_loss, val_error = self._evaluate(
            evaluation_batches(self.data.validation, self.recipe.batch_size)
        )
        return entry | {"val_loss": val_loss, "val_error": val_error}

    def train_epoch(
        self, epoch: int, on_step: Callable = lambda step, steps: None
    ) -> Iterator[dict | None]:
        """The steps of an epoch and their bookkeeping, without evaluation: None after each step, last the history's entry.

        Until that, `history.begun` holds what the entry will be made of, so that an epoch can be gone on with.
        """
        self.model.train()
        first = epoch * self.batches.steps_per_epoch
        steps = min(self.batches.steps_per_epoch, self.total - first)
        begun = self.history.begun = self.history.begun or {
            "losses": [],
            "wrong": [],
            "seconds": 0.0,
        }
        done, begin = len(begun["losses"]), time.perf_counter() - begun["seconds"]
        timed_from, timed = None, 0
        for i, (x, y) in zip(range(steps), self.batches.epoch(self.seed, epoch), strict=False):
            if i < done:
                continue
            loss, mistakes = self.step(x, y, first + i)
            begun["losses"].append(loss)
            begun["wrong"].append(mistakes)
            on_step(i + 1, steps)
            if (
                timed_from is None
            ):  # The first step compiles: it counts in the epoch, not in the rate.
                self.synchronize()
                timed_from = time.perf_counter()
            else:
                timed += 1
            begun["seconds"] = time.perf_counter() - begin
            yield None
        entry = {
            "epoch": epoch + 1,
            "step": first + steps,
            "train_loss": float(torch.stack(begun["losses"]).double().mean()),
            "train_error": 100
            * float(torch.stack(begun["wrong"]).sum())
            / (steps * self.recipe.batch_size),
            "learning_rate": self.block.learning_rate_at(first + steps - 1, self.total),
        }
        end = time.perf_counter()
        self.history.images += timed * self.recipe.batch_size
        self.history.seconds += end - timed_from if timed_from is not None else 0.0
        self.history.begun = None
        yield entry | {"seconds": round(end - begin, 3)}

    def step(self, x: Tensor, y: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """One step of the optimizer; gives the loss and the number of wrong answers, still on the device."""
        learning_rate = self.block.learning_rate_at(step, self.total)
        for rate, factor in self._rates:
            rate.fill_(learning_rate * factor)
        return self._optimize(x, y)

    def _plain_step(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        with self.settings.autocast():
            loss, mistakes = self.objective(x, y)
        loss.backward()
        if self.kind == "scaled":
            self.model.kernels.scale_gradients()
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        # A copy: CUDA graphs reuse the memory of what they return.
        return loss.detach().clone(), mistakes.clone()

    def _evaluate(self, batches: Iterable) -> tuple[float, float]:
        self.model.eval()
        return evaluate(self.evaluation, batches, self.settings)

    def synchronize(self) -> None:
        if self.settings.device.type == "cuda":
            torch.cuda.synchronize(self.settings.device)

    def save(self, path: Path) -> None:
        """Write model, optimizer and history, a SHA-256 in front, atomically; the one before stays beside it."""
        begun = self.history.begun
        history = asdict(replace(self.history, begun=None))
        if begun:
            history["begun"] = begun | {
                key: torch.stack(begun[key]).cpu() for key in ("losses", "wrong")
            }
        state = {
            "version": CHECKPOINT_VERSION,
            "identity": self.identity,
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "history": history,
        }
        write_checkpoint(path, state)

    def restore(self, state: dict) -> None:
        """Go on from a checkpoint's state.

        Raises:
            CheckpointError: if its weights or its optimizer's state do not fit.
        """
        try:
            self.model.load_state_dict(state["model"])
            for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
                restore_optimizer(optimizer, saved)
            history = dict(state["history"])
            if begun := history["begun"]:
                kept = {
                    key: list(begun[key].to(self.settings.device).unbind())
                    for key in ("losses", "wrong")
                }
                history["begun"] = kept | {"seconds": float(begun["seconds"])}
            self.history = History(**history)
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(
                f"checkpoint does not fit {self.identity['model']}: {' '.join(str(error).split())}"
            ) from None


def drive(steps: Generator[None, None, Any], stream: "torch.cuda.Stream | None" = None) -> Any:
    """Run a generator to its end on a CUDA stream, if one is given; gives what it returns."""
    if stream is not None:
        stream.wait_stream(torch.cuda.current_stream(stream.device))
    while True:
        try:
            advance(steps, stream)
        except StopIteration as end:
            return end.value


def advance(steps: Generator, stream: "torch.cuda.Stream | None") -> None:
    """One step of a generator on a CUDA stream, if one is given."""
    with torch.cuda.stream(stream) if stream is not None else nullcontext():
        next(steps)
