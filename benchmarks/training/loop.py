"""The loop of training: epochs, checkpoints, and the one reading of the test set.

It takes a module, data and a recipe and returns plain values. The runner builds models and writes
records.
"""

import math
import time
from collections.abc import Callable, Generator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.data.datasets import Data
from benchmarks.training.checkpoints import (
    CHECKPOINT_VERSION,
    CheckpointError,
    buffer_shapes,
    load_weights,
    weights_of,
    write_checkpoint,
)
from benchmarks.training.compiling import Compiler
from benchmarks.training.learning import Batch, Evaluated, evaluator_of, learning_of
from benchmarks.training.optimizers import kind_of, make_optimizer, restore_optimizer, ruled
from benchmarks.training.recipes import Recipe
from benchmarks.training.settings import Settings
from models.kernels.protocol import KernelNetwork, KernelSource

Step = Callable[..., tuple[Tensor, Tensor]]
"""A training step on the tensors of a batch; gives the loss and the number of wrong answers."""


class Interrupted(Exception):
    """A run that was stopped after a step, by a signal or the time limit, and can be resumed."""


@dataclass
class History:
    """What happened so far, one entry an epoch, in plain numbers.

    Errors are in the task's metric; `seconds` and `images` (or characters) are of training, without
    evaluation. `begun` is of
    an epoch that is not over: `losses` and `wrong` of its steps, and its `seconds` so far.
    `resumed`: the steps after which the run went on from a checkpoint that was not the last, or not
    of this code or recipe, each with what differs.
    """

    epochs: list[dict] = field(default_factory=list)
    images: int = 0
    seconds: float = 0.0
    begun: dict | None = None
    resumed: list[dict] = field(default_factory=list)

    @property
    def steps_done(self) -> int:
        """How many steps the run has taken."""
        of_epochs = self.epochs[-1]["step"] if self.epochs else 0
        of_begun = len(self.begun["losses"]) if self.begun else 0
        return of_epochs + of_begun

    @property
    def images_per_s(self) -> float | None:
        """Items of training a second; None as long as nothing was timed."""
        return self.images / self.seconds if self.seconds else None


@dataclass(frozen=True)
class Result:
    """What a run ended with.

    `status` is "ok" or "diverged". `test_error` is in the task's metric, `test_wrong` (bool, a test
    image each) says which were wrong: read once, after the last epoch, or not at all.
    """

    status: str
    reason: str | None
    history: History
    test_error: float | None = None
    test_wrong: Tensor | None = None


class CapturedStep:
    """A training step as one CUDA graph: forward, backward and optimizer are one launch.

    The first `WARM_UP` steps run as they are, because a capture needs the compiled code and the
    optimizer's state. Must be called on a stream that is not the default one, and of no other run:
    the graph is captured on it, because cuBLAS has one workspace a stream, and on torch's own
    stream for captures the graphs of runs side by side would write into the same.
    """

    WARM_UP = 3

    def __init__(self) -> None:
        self.calls = 0
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, step: Step, *batch: Tensor) -> tuple[Tensor, Tensor]:
        """One step on a batch; gives what `step`, the same at each call, gives.

        It is not kept: an owner that has it as a method would never be freed, nor would the graph.
        """
        if self.calls < self.WARM_UP:
            self.calls += 1
            return step(*batch)
        if self.graph is None:
            self.graph = self._capture(step, *batch)
        for place, values in zip(self.batch, batch, strict=True):
            place.copy_(values)
        self.graph.replay()
        loss, mistakes = self.out
        # Copies: the next replay writes in the same place.
        return loss.clone(), mistakes.clone()

    def _capture(self, step: Step, *batch: Tensor) -> torch.cuda.CUDAGraph:
        self.batch = [values.clone(memory_format=torch.preserve_format) for values in batch]
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
            self.out = step(*self.batch)
        return graph


class Trainer:
    """One run, from its first step or from a checkpoint to the last epoch.

    `identity` says whose checkpoint it is; the recipe's hash and the seed are added. `foreign`: the
    model is not of this suite; `note` is called with what becomes of it where it cannot be
    compiled.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Data,
        recipe: Recipe,
        settings: Settings,
        seed: int,
        identity: dict,
        foreign: bool = False,
        note: Callable[[str], None] = lambda text: None,
    ):
        self.model = channels_last(model.to(settings.device))
        self.built = buffer_shapes(model) if foreign else None
        self.data = data
        self.recipe = recipe
        self.settings = settings
        self.seed = seed
        self.identity = identity | {"recipe": recipe.hash, "seed": seed}
        self.history = History()
        self.kind = kind_of(model, recipe)
        self.block = recipe.block(self.kind)
        self.compiler = Compiler(settings, foreign, note)
        self.learning = learning_of(
            self.model, data, recipe, self.block.l2, settings, self.compiler
        )
        self.evaluator = evaluator_of(self.model, data, settings, self.compiler)
        self.total = recipe.total_steps(self.kind, self.learning.steps_per_epoch)
        self.epochs = math.ceil(self.total / self.learning.steps_per_epoch)
        self.optimizers: list[torch.optim.Optimizer] = []
        self._rates: list[tuple[Tensor, float]] = []  # each a part of the block's learning rate
        for rule, parameters in ruled(self.model, self.block):
            optimizer = make_optimizer(parameters, rule, settings.device)
            share = rule.learning_rate / self.block.learning_rate
            self.optimizers.append(optimizer)
            self._rates.append((optimizer.param_groups[0]["lr"], share))
        self._scaling_source: KernelSource | None = None
        if self.kind == "scaled" and isinstance(model, KernelNetwork):
            self._scaling_source = model.kernels
        self._captured: CapturedStep | None = None
        if self.compiler.captures:
            self._captured = CapturedStep()

    def train(self, *arguments, **options) -> Result:
        """Run `training` to its end, on its own stream."""
        return drive(self.training(*arguments, **options), self.settings.new_stream())

    def training(
        self,
        checkpoint: Path | None = None,
        should_stop: Callable[[], str | None] = lambda: None,
        on_epoch: Callable[[dict, int], None] = lambda entry, epochs: None,
        on_step: Callable[[int, int], None] = lambda step, steps: None,
        test: bool = True,
    ) -> Generator[None, None, Result]:
        """Train to the end, with a pause after each step, so that several runs may be interleaved.

        The test set is read here, once, after the last epoch; or never, if not `test`.

        Raises:
            Interrupted: with the reason that `should_stop` gave after a step; the checkpoint holds
                that step.
        """

        def after_step(step: int, steps: int) -> None:
            on_step(step, steps)
            reason = should_stop()
            if reason:
                if checkpoint is not None:
                    self.save(checkpoint)
                epoch = len(self.history.epochs) + 1
                raise Interrupted(f"{reason} in epoch {epoch} of {self.epochs}")

        while len(self.history.epochs) < self.epochs:
            entry = yield from self.train_epoch(len(self.history.epochs), after_step)
            entry["val_loss"], entry["val_error"], _ = self._evaluate(self.data.validation)
            if not math.isfinite(entry["train_loss"]) or not math.isfinite(entry["val_loss"]):
                reason = f"loss is not finite in epoch {entry['epoch']}"
                return Result("diverged", reason, self.history)
            self.history.epochs.append(entry)
            if checkpoint is not None:
                self.save(checkpoint)
            on_epoch(entry, self.epochs)
        if not test:
            return Result("ok", None, self.history)
        tested = self._evaluate(self.data.read_test())
        return Result("ok", None, self.history, tested.error, tested.wrong)

    def train_epoch(
        self, epoch: int, after_step: Callable[[int, int], None] = lambda step, steps: None
    ) -> Generator[None, None, dict]:
        """Take the steps of an epoch, with a pause after each; gives the history's entry.

        Until the end `history.begun` holds what the entry is made of, so that the epoch can be
        resumed. The first step compiles: its time counts in the epoch, not in the rate.
        """
        self.model.train()
        first = epoch * self.learning.steps_per_epoch
        steps = min(self.learning.steps_per_epoch, self.total - first)
        if self.history.begun is None:
            self.history.begun = {"losses": [], "wrong": [], "seconds": 0.0}
        begun = self.history.begun
        done = len(begun["losses"])
        begin = time.perf_counter() - begun["seconds"]
        timed_from, timed_steps = None, 0
        batches = self.learning.epoch(self.seed, epoch, done)
        for number, batch in zip(range(done, steps), batches, strict=False):
            loss, mistakes = self.step(batch, first + number)
            begun["losses"].append(loss)
            begun["wrong"].append(mistakes)
            if timed_from is None:
                self.synchronize()
                timed_from = time.perf_counter()
            else:
                timed_steps += 1
            begun["seconds"] = time.perf_counter() - begin
            after_step(number + 1, steps)
            yield
        wrong = float(torch.stack(begun["wrong"]).double().sum())
        mean = float(torch.stack(begun["losses"]).double().mean())
        entry = {
            "epoch": epoch + 1,
            "step": first + steps,
            "train_loss": mean,
            "train_error": self.learning.error(wrong, steps * self.learning.items),
            "learning_rate": self.block.learning_rate_at(first + steps - 1, self.total),
        }
        end = time.perf_counter()
        self.history.begun = None
        if timed_from is not None:
            self.history.images += timed_steps * self.learning.items
            self.history.seconds += end - timed_from
        return entry | {"seconds": round(end - begin, 3)}

    def step(self, batch: Batch, step: int) -> tuple[Tensor, Tensor]:
        """Take step `step` of the optimizers on a batch.

        Gives the loss and the mistakes, wrong answers or nats, both still on the device.
        """
        learning_rate = self.block.learning_rate_at(step, self.total)
        for rate, share in self._rates:
            rate.fill_(learning_rate * share)
        if self._captured is None:
            return self._plain_step(*batch)
        return self._captured(self._plain_step, *batch)

    def _plain_step(self, *batch: Tensor) -> tuple[Tensor, Tensor]:
        with self.settings.autocast():
            loss, mistakes = self.learning.objective(*batch)
        loss.backward()
        self.learning.carry()
        if self.learning.clip is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.learning.clip)
        if self._scaling_source is not None:
            self._scaling_source.scale_gradients()
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        # Copies: CUDA graphs reuse the memory of what they return.
        return loss.detach().clone(), mistakes.clone()

    def _evaluate(self, split: Any) -> Evaluated:
        self.model.eval()
        return self.evaluator.evaluate(split, self.recipe.batch_size)

    def synchronize(self) -> None:
        """Wait until the device has done what it was given."""
        if self.settings.device.type == "cuda":
            torch.cuda.synchronize(self.settings.device)

    def save(self, path: Path) -> None:
        """Write a checkpoint of the model, the optimizers and the history."""
        history = asdict(replace(self.history, begun=None))
        begun = self.history.begun
        if begun:
            history["begun"] = {
                "losses": torch.stack(begun["losses"]).cpu(),
                "wrong": torch.stack(begun["wrong"]).cpu(),
                "seconds": begun["seconds"],
            }
        state = {
            "version": CHECKPOINT_VERSION,
            "identity": self.identity,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "history": history,
            **weights_of(self.model, self.built),
            "fallback": self.compiler.fallback,
            "learning": self.learning.state(),
        }
        write_checkpoint(path, state)

    def restore(self, state: dict) -> None:
        """Resume from the state that a checkpoint holds.

        Raises:
            CheckpointError: if its weights or its optimizers' states do not fit.
        """
        try:
            load_weights(self.model, state)
            self.compiler.fallback = state.get("fallback")
            self.learning.restore(state.get("learning", {}))
            for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
                restore_optimizer(optimizer, saved)
            history = dict(state["history"])
            begun = history["begun"]
            if begun:
                history["begun"] = {
                    "losses": list(begun["losses"].to(self.settings.device).unbind()),
                    "wrong": list(begun["wrong"].to(self.settings.device).unbind()),
                    "seconds": float(begun["seconds"]),
                }
            self.history = History(**history)
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(
                f"checkpoint does not fit {self.identity['model']}: {' '.join(str(error).split())}"
            ) from None


def channels_last(model: nn.Module) -> nn.Module:
    """The model with its four-dimensional parameters in channels_last memory, as the images are."""
    for parameter in model.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return model


def drive(steps: Generator[None, None, Any], stream: torch.cuda.Stream | None = None) -> Any:
    """Run a generator to its end, on a CUDA stream if one is given; gives what it returns."""
    if stream is not None:
        stream.wait_stream(torch.cuda.current_stream(stream.device))
    while True:
        try:
            advance(steps, stream)
        except StopIteration as end:
            return end.value


def advance(steps: Generator[None, None, Any], stream: torch.cuda.Stream | None) -> None:
    """Take one step of a generator, on a CUDA stream if one is given."""
    with torch.cuda.stream(stream) if stream is not None else nullcontext():
        next(steps)
