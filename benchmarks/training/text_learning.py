"""Text: streams of symbols with carried state, truncated backpropagation, bits per character."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import cycle
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.data.batches import epoch_seed
from benchmarks.data.text import Streams, Text
from benchmarks.training.compiling import Compiler, Gradients
from benchmarks.training.learning import Evaluated, OtherTask
from benchmarks.training.recipes import Recipe, Sequences
from benchmarks.training.settings import Settings
from models.recurrent.network import Dropout, RecurrentNetwork
from models.recurrent.protocol import State

WARM_UP = 200
"""Symbols that a stream of an evaluation reads before those that count."""
STREAMS = 32
"""Streams of an evaluation at most, whatever the recipe: its numbers are to be of one kind."""
CHUNK = 100
"""Steps of an evaluation at a time."""
TIMED = 10
"""Characters of an epoch of timing, for each image of one."""
CHECKED_STEPS = 3
"""Steps whose gradients are compared: in more, rounding grows with the gradients of a fresh
network."""
PROBE_STREAMS = 4
PROBE_STEPS = 8


def _mapped(function: Callable[..., Tensor], *states: State) -> State:
    """The state of what a function makes of the parts of states of one kind."""
    parts = [function(*same) for same in zip(*states, strict=True)]
    kind: Any = type(states[0])
    return kind(*parts) if hasattr(kind, "_fields") else tuple(parts)


def recurrent(model: nn.Module) -> RecurrentNetwork:
    """The model, if it reads text.

    Raises:
        OtherTask: if it does not.
    """
    if not isinstance(model, RecurrentNetwork):
        raise OtherTask(f"{type(model).__name__} is no RecurrentNetwork, which reads text")
    return model


class Learning:
    """`benchmarks.training.learning.Learning` of text.

    The state of each stream goes on from step to step and begins anew with each epoch. Dropout's
    masks are drawn from (seed, epoch, step), so that a run that resumes draws the same.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Text,
        recipe: Recipe,
        l2: float,
        settings: Settings,
        compiler: Compiler,
    ):
        assert recipe.sequences is not None
        self.sequences: Sequences = recipe.sequences
        self.clip = self.sequences.clip
        self.model, self.l2 = recurrent(model), l2
        self.model.compile_steps(compiler)
        self.streams = Streams(data.train, recipe.batch_size, self.sequences.length)
        self.steps_per_epoch = len(self.streams)
        self.items = recipe.items_per_step
        self.carried = self._fresh()
        self._ends: list[State] = []
        self.compiler = compiler
        # A foreign cell may draw numbers in its step, and then no two calls are alike.
        self.unchecked = compiler.compiles and not compiler.foreign

    def _check(self) -> None:
        """Compare the gradients of compiled steps with those of the same steps as they are.

        Raises:
            WrongGradientError: if they are not the same but for rounding.
        """
        settings = self.compiler.settings
        compiled = self._gradients(settings)
        self.model.compile_steps(lambda step: step)
        plain = self._gradients(settings)
        exact = self._gradients(replace(settings, precision="fp32"))
        self.model.compile_steps(self.compiler)
        self.compiler.compare(exact, plain, compiled)
        self.unchecked = False

    def _gradients(self, settings: Settings) -> Gradients:
        """Of the first steps, from states that are drawn: from zeros, layer norms divide by 0."""
        generator = torch.Generator().manual_seed(0)

        def drawn(part: Tensor) -> Tensor:
            return torch.empty(part.shape).uniform_(-0.5, 0.5, generator=generator).to(part)

        fresh, self.carried = self.carried, [_mapped(drawn, state) for state in self.carried]
        x, y = (part[:CHECKED_STEPS] for part in self.streams.chunk(0))
        with settings.autocast():
            loss, _ = self.objective(x, y, *self._masks(0, *x.shape))
        self.carried, self._ends = fresh, []
        named = {n: p for n, p in self.model.named_parameters() if p.requires_grad}
        found = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
        return {n: grad for n, grad in zip(named, found, strict=True) if grad is not None}

    def epoch(self, seed: int, epoch: int, first: int) -> Iterator[tuple[Tensor, ...]]:
        """Symbols (T, B), those that follow (T, B), and the masks of dropout, flat, if any."""
        if self.unchecked:
            self._check()
        if first == 0:
            self._set(self._fresh())
        for step in range(first, self.steps_per_epoch):
            x, y = self.streams.chunk(step)
            yield x, y, *self._masks(epoch_seed(seed, epoch, step), *x.shape)

    def _masks(self, seed: int, steps: int, batch: int) -> tuple[Tensor, ...]:
        keep = self.sequences.keep
        if keep == 1.0:
            return ()
        generator = torch.Generator(self.streams.symbols.device).manual_seed(seed)
        masks = self.model.dropout(steps, batch, keep, generator)
        return (masks.inputs, *masks.recurrent, *masks.outputs)

    def objective(self, x: Tensor, y: Tensor, *masks: Tensor) -> tuple[Tensor, Tensor]:
        """Mean cross-entropy in nats, + (l2 / 2) sum of squares of matrices; its sum in nats."""
        layers, dropout = len(self.carried), None
        if masks:
            dropout = Dropout(masks[0], list(masks[1 : layers + 1]), list(masks[layers + 1 :]))
        logits, self._ends = self.model(x, self.carried, dropout)
        logits = logits.flatten(0, 1).float()
        loss = mean = F.cross_entropy(logits, y.flatten())
        if self.l2:
            squares = [weight.float().square().sum() for weight in self.model.weights()]
            loss = loss + 0.5 * self.l2 * torch.stack(squares).sum()
        return loss, mean.detach() * y.numel()

    def carry(self) -> None:
        """The next step goes on from the states that this one ended in; no gradient flows there."""
        self._set(self._ends)
        self._ends = []

    def _fresh(self) -> list[State]:
        states = self.model.initial(self.streams.batch)
        return [_mapped(lambda part: part.detach().clone(), state) for state in states]

    def _set(self, states: list[State]) -> None:
        """In place, because a captured step reads the same memory each time."""
        for state, new in zip(self.carried, states, strict=True):
            for part, value in zip(state, new, strict=True):
                part.copy_(value.detach())

    def state(self) -> dict:
        """The carried states."""
        return {"carried": [[part.cpu() for part in state] for state in self.carried]}

    def restore(self, state: dict) -> None:
        """Go on from carried states."""
        self._set([tuple(parts) for parts in state["carried"]])

    def error(self, mistakes: float, items: int) -> float:
        """Bits per character, of the nats of all characters."""
        return mistakes / items / math.log(2)


class Evaluator:
    """`benchmarks.training.learning.Evaluator` of text.

    Every symbol but the first is predicted once, with all symbols before it in its stream and the
    `WARM_UP` before these.
    """

    def __init__(self, model: nn.Module, data: Text | None, settings: Settings, compiler: Compiler):
        self.model, self.settings = recurrent(model), settings
        self.model.compile_steps(compiler)

    def evaluate(self, split: Tensor, images: int = 0) -> Evaluated:
        """The mean cross-entropy in nats, and in bits."""
        count = len(split) - 1
        streams = max(1, min(STREAMS, count // WARM_UP))
        length = -(-count // streams)
        begins = torch.arange(streams, device=split.device) * length
        total = torch.zeros((), dtype=torch.float64, device=split.device)
        with torch.inference_mode(), self.settings.autocast():
            states = self._warm(split, begins)
            for first in range(0, length, CHUNK):
                steps = torch.arange(first, min(first + CHUNK, length), device=split.device)
                places = steps[:, None] + begins
                losses, states = self._losses(split, places.clamp(max=count - 1), states)
                total += losses[places < count].double().sum()
        loss = float(total) / count
        return Evaluated(loss, loss / math.log(2), None)

    def _warm(self, split: Tensor, begins: Tensor) -> list[State]:
        """The states before `begins`; the first stream begins with the text, as untouched."""
        fresh = states = self.model.initial(len(begins))
        if len(begins) == 1:
            return fresh
        for first in range(0, WARM_UP, CHUNK):
            last = min(first + CHUNK, WARM_UP)
            steps = torch.arange(first, last, device=split.device) - WARM_UP
            places = (steps[:, None] + begins).clamp(0, len(split) - 1)
            _, states = self.model(split[places], states)
        at_begin = begins == 0

        def chosen(new: Tensor, warm: Tensor) -> Tensor:
            return torch.where(at_begin.view(-1, *[1] * (warm.ndim - 1)), new, warm)

        return [_mapped(chosen, *both) for both in zip(fresh, states, strict=True)]

    def _losses(
        self, split: Tensor, places: Tensor, states: list[State]
    ) -> tuple[Tensor, list[State]]:
        """Cross-entropies (T, B) of the symbols after `places`."""
        logits, states = self.model(split[places], states)
        losses = F.cross_entropy(
            logits.flatten(0, 1).float(), split[places + 1].flatten(), reduction="none"
        )
        return losses.view(places.shape), states

    def example(self, split: Tensor, batch_size: int) -> tuple[tuple[Tensor, ...], int]:
        """The places of a chunk of each stream."""
        length = min(CHUNK, len(split) // batch_size - 1)
        begins = torch.arange(batch_size, device=split.device) * (len(split) // batch_size)
        places = torch.arange(length, device=split.device)[:, None] + begins
        return (split, places), places.numel()

    def call(self, *batch: Tensor) -> object:
        """The losses of a chunk, from the first state on."""
        split, places = batch
        with torch.inference_mode(), self.settings.autocast():
            return self._losses(split, places, self.model.initial(places.shape[1]))


def repeated(data: Text, recipe: Recipe, images: int) -> Text:
    """The text with training symbols for `TIMED` times as many characters, a step at least."""
    steps = max(1, images * TIMED // recipe.items_per_step)
    count = recipe.items_per_step * steps + recipe.batch_size
    return replace(data, train=data.train[torch.arange(count) % len(data.train)])


def probes(model: nn.Module, data: Text) -> tuple[nn.Module, Iterator[tuple[Tensor, ...]]]:
    """Short chunks of a few streams, each from the first state on, again and again."""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    streams = Streams(data.train, PROBE_STREAMS, PROBE_STEPS)

    def batches() -> Iterator[tuple[Tensor, ...]]:
        for number in cycle(range(len(streams))):
            x, y = streams.chunk(number)
            yield x.to(device), y.to(device)

    return _Probe(recurrent(model)), batches()


class _Probe(nn.Module):
    """The cross-entropy from the first state on."""

    def __init__(self, model: RecurrentNetwork):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        # Detached, as in training, which has no gradient for a parameter of the initial state.
        states = [_mapped(Tensor.detach, state) for state in self.model.initial(x.shape[1])]
        logits, _ = self.model(x, states)
        logits = logits.flatten(0, 1)
        return F.cross_entropy(logits, y.flatten()), (logits.argmax(1) != y.flatten()).sum()


def example(model: nn.Module, batch: int) -> tuple[Tensor, list[State]]:
    """One step of `batch` streams, all with symbol 0: symbols (1, batch) and the first states."""
    return torch.zeros(1, batch, dtype=torch.int64), recurrent(model).initial(batch)


def made_up(size: int, symbols: int) -> tuple[Tensor, Tensor]:
    """A chunk of random symbols, (`PROBE_STEPS`, size), and those that follow."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(symbols, (PROBE_STEPS + 1, size), generator=generator)
    return drawn[:-1], drawn[1:]


def answers(model: nn.Module, size: int, symbols: int) -> object:
    """The logits (size, symbols) after a made-up chunk of so many streams."""
    network = recurrent(model)
    logits, _ = network(made_up(size, symbols)[0], network.initial(size))
    return logits[-1]


def evaluated(model: nn.Module, symbols: int) -> float:
    """The cross-entropy of a made-up text that is evaluated as in a run, in two streams."""
    generator = torch.Generator().manual_seed(0)
    split = torch.randint(symbols, (2 * WARM_UP + 10,), generator=generator)
    settings = Settings(torch.device("cpu"))
    return Evaluator(model, None, settings, Compiler(settings)).evaluate(split).loss


def trial(model: nn.Module, size: int, symbols: int) -> tuple[Tensor, Tensor]:
    """The cross-entropy of a made-up chunk, and the number of wrong answers."""
    return _Probe(recurrent(model))(*made_up(size, symbols))
