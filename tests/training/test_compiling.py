"""What the compiler cannot take: an error of a built-in model, an eager run of a foreign one."""

import contextlib
import dataclasses
import random
import threading

import numpy as np
import pytest
import torch
from torch import nn
from torch._dynamo.backends.common import aot_autograd
from torch._functorch.aot_autograd import make_boxed_func

from benchmarks.system import generators
from benchmarks.training.checkpoints import load_checkpoint
from benchmarks.training.compiling import MOST_COMPILATIONS, Compiler
from benchmarks.training.loop import Interrupted, Trainer
from benchmarks.training.settings import Settings
from tests.training.test_loop import without_times

DEVICE = torch.device("cpu")
COMPILED = Settings(DEVICE, compile="default")


class Parts(nn.Module):
    """With what a step changes: weights, buffers and torch's generator. It compiles."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3072, 8), nn.Linear(8, 10)
        self.norm, self.drop = nn.BatchNorm1d(8), nn.Dropout()

    def between(self, x):
        return x

    def forward(self, x):
        x = self.drop(self.norm(self.first(x.flatten(1))))
        return self.second(self.between(x))


class Prints(Parts):
    def between(self, x):
        print("", end="")
        return x


class Branches(Parts):
    def between(self, x):
        return x if x.sum() > 0 else -x


class Locked(Parts):
    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()

    def between(self, x):
        with self.lock:
            return x


class Draws(Parts):
    def __init__(self):
        super().__init__()
        self.generator = torch.Generator().manual_seed(1)

    def between(self, x):
        return x + torch.rand(8, generator=self.generator)


class Skips(Parts):
    def between(self, x):
        return 2 * x if random.random() < 0.5 else x


class Noisy(Parts):
    def between(self, x):
        return x * random.random() + np.random.rand()


class NotInEvaluation(Parts):
    def forward(self, x):
        x = self.second(self.norm(self.first(x.flatten(1))))
        if not self.training and x.sum() > 0:
            return -x
        return x


class Counts(nn.Sequential):
    """An attribute that changes from step to step."""

    steps = 0

    def forward(self, x):
        self.steps += 1
        return super().forward(x) * self.steps


def counts():
    return Counts(nn.Flatten(), nn.Linear(3072, 10))


def trained(model, few, recipe, settings, path=None, should_stop=lambda: None):
    """A foreign model after training, or as far as it came, and what was noted of it."""
    torch._dynamo.reset()
    notes = []
    run = Trainer(model, few, recipe, settings, 0, {"model": "m"}, foreign=True, note=notes.append)
    if path is not None and path.exists():
        run.restore(load_checkpoint(path))
    generators.seed_all(7)
    with contextlib.suppress(Interrupted):
        run.train(path, should_stop)
    return run, notes


@pytest.fixture
def short(tiny):
    return dataclasses.replace(tiny, batch_size=32)


@pytest.mark.parametrize("kind", [Prints, Branches, Locked, Draws, Skips, Noisy])
def test_a_foreign_module_falls_back_to_the_very_same_eager_run(few, short, kind):
    runs = []
    for settings in (COMPILED, Settings(DEVICE)):
        generators.seed_all(0)
        run, notes = trained(kind(), few, short, settings)
        runs.append(run)
        assert len(notes) == (settings is COMPILED)
    compiled, eager = runs
    for a, b in zip(
        compiled.model.state_dict().values(), eager.model.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b)
    assert without_times(compiled.history) == without_times(eager.history)
    used = compiled.compiler.used
    assert used.compile == "off" and compiled.settings.compile == "default"
    (note,) = used.fallbacks
    assert note.startswith("compile off instead of default: ") and "test_compiling.py" in note
    assert eager.compiler.used == eager.settings


def test_inputs_of_other_shapes_are_no_change_of_the_module():
    """A recurrent step reads the streams of training, of validation and of the test split."""
    torch._dynamo.reset()
    notes = []
    step = Compiler(COMPILED, foreign=True, note=notes.append)(nn.Linear(4, 4).forward)
    for size in range(2, 6):
        for _ in range(2):
            step(torch.zeros(size, 4))
    assert notes == []


class Later(nn.Module):
    """Compiles as long as it is not told otherwise; draws from all generators."""

    later = False

    def forward(self, x):
        x = nn.functional.dropout(x)
        if self.later:
            x = x * random.random() + np.random.rand() * torch.rand(4)
            return x if x.sum() > 0 else -x
        return x


def test_what_fails_after_it_worked_has_drawn_nothing(monkeypatch):
    """States are saved until a call has worked: at each character they would cost too much."""
    torch._dynamo.reset()
    saved = []
    states = generators.states
    monkeypatch.setattr(generators, "states", lambda: saved.append(1) or states())
    model, notes, x = Later(), [], torch.ones(2, 4)
    step = Compiler(COMPILED, foreign=True, note=notes.append)(model.forward)
    for _ in range(3):
        step(x)
    assert len(saved) == 1 and notes == []
    model.later = True
    found = []
    for call in (step, model):
        generators.seed_all(3)
        found.append([*call(x).flatten().tolist(), random.random(), np.random.rand()])
        found[-1].append(float(torch.rand(1)))
    assert found[0] == found[1] and len(notes) == 1


def test_a_resumed_run_is_eager_from_its_first_step_on(few, short, tmp_path):
    path, reasons = tmp_path / "run.ckpt", iter([None, "enough"])
    first, _ = trained(Prints(), few, short, COMPILED, path, lambda: next(reasons))
    assert first.history.steps_done == 2
    again, notes = trained(Prints(), few, short, COMPILED, path)
    assert notes == [] and again.compiler.fallback == first.compiler.fallback
    assert again.compiler.used.compile == "off" and again.history.steps_done == 4


def test_what_fails_in_a_foreign_module_itself_is_raised(few, short):
    class Fails(Parts):
        def between(self, x):
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine") as caught:
        trained(Fails(), few, short, COMPILED)
    assert caught.value.__context__ is None


def test_a_built_in_model_must_compile():
    compiled = Compiler(COMPILED)(Prints())
    torch._dynamo.reset()
    with pytest.raises(torch._dynamo.exc.Unsupported):
        compiled(torch.zeros(2, 3, 32, 32))


def test_a_backward_pass_that_cannot_be_compiled(few, short, monkeypatch):
    """It is compiled with the forward pass: no step is taken half."""

    def fails(graph, inputs):
        raise NotImplementedError("no backward pass")

    def compile_forward(graph, inputs, options):
        backend = aot_autograd(fw_compiler=lambda g, _: make_boxed_func(g), bw_compiler=fails)
        return backend(graph, inputs)

    monkeypatch.setattr(torch._inductor, "compile", compile_forward)
    run, (note,) = trained(Parts(), few, short, COMPILED)
    assert "no backward pass" in note and run.history.steps_done == 4
    assert int(run.model.norm.num_batches_tracked) == 4


@pytest.fixture
def quick_compiler(monkeypatch):
    """The graph as it was traced takes the place of compiled code."""
    monkeypatch.setattr(torch._inductor, "compile", lambda graph, inputs, options: graph)


def test_evaluation_may_be_what_cannot_be_compiled(few, short, quick_compiler):
    run, (note,) = trained(NotInEvaluation(), few, short, COMPILED)
    assert run.history.steps_done == 4 and "Data-dependent" in note


def test_a_module_that_changes_is_compiled_a_few_times_only(few, short, quick_compiler):
    run, (note,) = trained(counts(), few, short, COMPILED)
    assert f"{MOST_COMPILATIONS} compilations" in note
    assert run.model.steps > run.history.steps_done == 4


def test_steps_of_a_foreign_module_are_not_captured():
    """A replay would not see what its Python code decides anew."""
    on_cuda = Settings(torch.device("cuda"), compile="graph")
    assert Compiler(on_cuda).captures and Compiler(on_cuda).used == on_cuda
    foreign = Compiler(on_cuda, foreign=True)
    assert not foreign.captures and foreign.used.compile == "default"
    assert foreign.used.fallbacks[0].startswith("compile default instead of graph: ")
