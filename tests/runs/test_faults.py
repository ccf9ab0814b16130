"""Runs of users' models that go wrong, and records that cannot be written: the rest is made."""

import dataclasses
import errno
import random
import shutil
import sys
from collections import namedtuple

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.records import store
from benchmarks.runs import check, runner
from benchmarks.runs.engines import local
from benchmarks.runs.matrix import train
from benchmarks.runs.options import RunOptions
from benchmarks.runs.progress import Progress
from benchmarks.runs.trained import evaluate_checkpoint, export
from benchmarks.training.checkpoints import CheckpointError, load_checkpoint
from benchmarks.training.recipes import RECIPES
from benchmarks.training.settings import Settings
from models import registry
from models.kernels.protocol import KernelSource

RECIPE = dataclasses.replace(RECIPES["demo"], name="short", epochs=1, batch_size=32)


class Parts(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.first, self.second = nn.Linear(3072, 8), nn.Linear(8, 8)
        self.last = nn.Linear(8, classes)

    def between(self, x):
        return self.second(x)

    def forward(self, x):
        return self.last(self.between(self.first(x.flatten(1)).relu()))


class Raises(Parts):
    def between(self, x):
        raise ValueError("a\nb \udce9")


class Exits(Parts):
    def between(self, x):
        sys.exit("bye")


class Ends(Parts):
    """Inside the loop's generator Python makes something else of it."""

    def between(self, x):
        return next(iter([])) if self.training else x


class Leaves(Parts):
    def between(self, x):
        raise GeneratorExit("leave")


class Own(BaseException):
    pass


class RaisesOwn(Parts):
    def between(self, x):
        raise Own("mine")


class Recurses(Parts):
    def between(self, x):
        return self.between(x)


Output = namedtuple("Output", "logits aux")


class TupleInTraining(Parts):
    def forward(self, x):
        logits = super().forward(x)
        return Output(logits, logits) if self.training else logits


class Unused(Parts):
    def __init__(self, classes):
        super().__init__(classes)
        self.extra = nn.ModuleList(nn.Linear(2, 2) for _ in range(3))


class Permutes(Parts):
    """Everything that is drawn and not saved decides the outputs."""

    def __init__(self, classes):
        super().__init__(classes)
        self.register_buffer("one", torch.randperm(3072), persistent=False)
        self.two = torch.randperm(3072)
        self.three = np.random.permutation(3072)
        self.four = random.sample(range(3072), 3072)
        self.register_buffer("mean", torch.zeros(3072), persistent=False)

    def forward(self, x):
        x = x.flatten(1)
        if self.training:
            self.mean.lerp_(x.detach().mean(0), 0.5)
        for order in (self.one, self.two, self.three, self.four):
            x = x[:, order]
        return super().forward(x - self.mean)


class Told(Progress):
    def __init__(self):
        self.notes, self.statuses = [], []

    def note(self, text):
        self.notes.append(text)

    def ended(self, run, outcome):
        self.statuses.append(outcome.status)


@pytest.fixture
def options(tmp_path, few_are_loaded, own_models):
    for kind in (Parts, *Parts.__subclasses__()):
        registry.register_model(kind.__name__)(kind)
    return RunOptions(results_dir=tmp_path / "results", checkpoint_dir=tmp_path / "checkpoints")


@pytest.mark.parametrize(
    "name, reason",
    [
        ("Raises", r"ValueError: a b \udce9 (FILE)"),
        ("Exits", "SystemExit: bye (FILE)"),
        ("Ends", "StopIteration (FILE)"),
        ("Leaves", "GeneratorExit: leave (FILE)"),
        ("RaisesOwn", "Own: mine (FILE)"),
        ("Recurses", "RecursionError: maximum recursion depth exceeded (FILE)"),
    ],
)
def test_whatever_a_model_raises_is_the_reason_and_the_rest_is_made(options, capsys, name, reason):
    failed, ended = train([name, "Parts"], recipe=RECIPE, options=options)
    assert (failed.status, ended.status) == ("failed", "ok")
    function = registry.get(name).builder.__dict__["between"]
    line = failed.record["reason"].rpartition(", line ")[2].rstrip(")")
    first = function.__code__.co_firstlineno
    assert first < int(line) <= first + 2
    said = reason.replace("FILE", f"tests/runs/test_faults.py, line {line}")
    assert failed.record["reason"] == said
    assert failed.record == store.load(failed.record_path)
    assert "Traceback" not in capsys.readouterr().err


def test_the_traceback_is_shown_if_asked_for(options, capsys):
    train("Exits", recipe=RECIPE, options=dataclasses.replace(options, traceback=True))
    assert "Traceback" in capsys.readouterr().err


def test_what_stops_is_not_recorded(options, monkeypatch):
    def stops(self, x):
        raise KeyboardInterrupt

    monkeypatch.setattr(Parts, "between", stops)
    with pytest.raises(KeyboardInterrupt):
        train("Parts", recipe=RECIPE, options=options)
    assert not list(options.results_dir.rglob("*.json"))


def test_outputs_of_a_wrong_shape_in_training_are_refused_before_it(options):
    with pytest.raises(ValueError) as caught:
        train(["Parts", "TupleInTraining"], recipe=RECIPE, options=options)
    assert "'TupleInTraining' makes Output of 2 images and 10 classes in training" in str(
        caught.value
    )
    assert not options.results_dir.exists()


def test_a_batch_larger_than_the_training_split_is_refused_before_training(options):
    large = dataclasses.replace(RECIPE, name="large", batch_size=129)
    with pytest.raises(ValueError, match=r"batch size 129 of recipe large .* 128 training images"):
        train("wide_resnet10_1", recipe=large, options=options)
    exact = dataclasses.replace(RECIPE, batch_size=128)
    assert train("Parts", recipe=exact, options=options)[0].status == "ok"


def test_parameters_without_a_gradient_are_named_once_and_recorded(options):
    told = Told()
    outcomes = train("Unused", seeds=(0, 1), recipe=RECIPE, options=options, progress=told)
    names = [f"extra.{number}.{kind}" for number in range(3) for kind in ("weight", "bias")]
    assert [outcome.record["untrained"] for outcome in outcomes] == [names, names]
    (note,) = told.notes
    assert note == f"Unused: 6 parameters get no gradient: {', '.join(names[:3])} and 3 more"
    told = Told()
    (outcome,) = train("wide_resnet10_1", recipe=RECIPE, options=options, progress=told)
    assert outcome.record["untrained"] == [] and told.notes == []


def test_what_begins_late_is_not_untrained_in_the_record(options):
    @registry.register_model("begins_late")
    class BeginsLate(Parts):
        """After more training steps than are tried before."""

        def __init__(self, classes):
            super().__init__(classes)
            self.register_buffer("steps", torch.tensor(0))

        def between(self, x):
            self.steps += self.training
            return self.second(x) if self.steps > 66 else x

    told = Told()
    (outcome,) = train("begins_late", recipe=RECIPE, options=options, progress=told)
    assert len(told.notes) == 1 and outcome.status == "ok"
    assert outcome.record["untrained"] == []


def test_what_is_evaluated_and_exported_is_what_was_trained(options, few, tmp_path):
    (outcome,) = train("Permutes", seeds=[3], recipe=RECIPE, options=options)
    (path,) = options.checkpoint_dir.rglob("*.ckpt")
    torch.manual_seed(123)
    state = torch.get_rng_state(), random.getstate()
    found = evaluate_checkpoint(path, few, Settings(torch.device("cpu")))
    assert found["test_error"] == outcome.record["test_error"] and found["seed"] == 3
    assert export(path, tmp_path / "out.safetensors", materialized=False) == 6
    assert torch.equal(state[0], torch.get_rng_state()) and state[1] == random.getstate()
    assert "mean" in load_checkpoint(path)["buffers"]


def problems(name):
    return {title: problem for title, problem in check.run(name) if problem is not None}


def test_check_tries_what_training_and_evaluation_need(options):
    assert problems("Permutes") == {}
    shape, *_ = problems("TupleInTraining").values()
    assert "give Output in training, not (3, 7)" in shape
    (problem,) = problems("Unused").values()
    assert problem == "extra.0.weight gets no gradient (and 5 more parameters)"


def test_check_says_what_the_seed_does_not_decide(options):
    @registry.register_model("unseeded")
    class Unseeded(Parts):
        """Its buffer comes from a generator that no seed reaches."""

        def __init__(self, classes):
            super().__init__(classes)
            order = torch.from_numpy(np.random.default_rng().permutation(3072))
            self.register_buffer("order", order, persistent=False)

        def forward(self, x):
            return super().forward(x.flatten(1)[:, self.order])

    found = problems("unseeded")
    assert found["the seed decides the weights"] == "two builds from seed 0 differ in order"
    assert len(found) == 1  # a checkpoint holds its buffers


def test_check_lets_a_layer_be_skipped_by_chance(options):
    @registry.register_model("skips")
    class Skips(Parts):
        def between(self, x):
            return x + self.second(x) if not self.training or random.random() < 0.3 else x

    assert problems("skips") == {}


class Cached(Parts):
    """Its buffers are made in the first pass, as those of rotary embeddings, and one grows."""

    saved = False

    def __init__(self, classes):
        super().__init__(classes)
        self.register_buffer("seen", torch.zeros(0, 1))

    def between(self, x):
        if not hasattr(self, "scale"):
            self.register_buffer("scale", torch.full((8,), 0.5), persistent=self.saved)
        if self.training:
            self.seen = torch.cat([self.seen, x.detach()[:1, :1]])
        return self.second(x * self.scale) + self.seen.sum() / (1 + len(self.seen))


class CachedAndSaved(Cached):
    saved = True


@pytest.mark.parametrize("cached", [Cached, CachedAndSaved])
def test_buffers_that_are_made_in_the_first_pass_are_resumed(options, few, cached):
    registry.register_model("cached")(cached)
    assert problems("cached") == {}
    stopped = dataclasses.replace(options, time_limit=1e-9)
    (whole,) = train("cached", seeds=[1], recipe=RECIPE, options=options)
    shutil.rmtree(options.results_dir)
    shutil.rmtree(options.checkpoint_dir)
    assert [o.status for o in train("cached", seeds=[1], recipe=RECIPE, options=stopped)] == [
        "interrupted"
    ]
    (outcome,) = train("cached", seeds=[1], recipe=RECIPE, options=options)
    assert outcome.status == "ok"
    losses = [[e["train_loss"] for e in o.record["history"]] for o in (whole, outcome)]
    assert losses[0] == losses[1] and outcome.record["test_error"] == whole.record["test_error"]
    (path,) = options.checkpoint_dir.rglob("*.ckpt")
    found = evaluate_checkpoint(path, few, Settings(torch.device("cpu")))
    assert found["test_error"] == outcome.record["test_error"]


def test_weights_that_a_model_has_no_more_are_refused(options, few):
    """A buffer is made where a checkpoint says that the model makes it, and nowhere else."""

    class Gain(Parts):
        def __init__(self, classes):
            super().__init__(classes)
            self.gain = nn.Parameter(torch.ones(8))
            self.register_buffer("mean", torch.zeros(8))

        def between(self, x):
            return super().between(x * self.gain + self.mean)

    registry.register_model("edited")(Gain)
    train("edited", recipe=RECIPE, options=options)
    (path,) = options.checkpoint_dir.rglob("*.ckpt")
    del registry.PLUGIN_MODELS["edited"]
    registry.register_model("edited")(Parts)
    with pytest.raises(CheckpointError, match="Unexpected key"):
        evaluate_checkpoint(path, few, Settings(torch.device("cpu")))


def test_a_module_with_a_state_dict_of_its_own(options, few):
    @registry.register_model("adapters")
    class Adapters(Parts):
        def state_dict(self):
            return super().state_dict()

    (outcome,) = train("adapters", recipe=RECIPE, options=options)
    (path,) = options.checkpoint_dir.rglob("*.ckpt")
    found = evaluate_checkpoint(path, few, Settings(torch.device("cpu")))
    assert found["test_error"] == outcome.record["test_error"]


def test_check_lets_layers_begin_at_zero(options):
    @registry.register_model("adapter")
    class Adapter(Parts):
        def __init__(self, classes):
            super().__init__(classes)
            for layer in (self.second, self.last):
                nn.init.zeros_(layer.weight)
            self.first.requires_grad_(False)

    assert problems("adapter") == {}

    @registry.register_model("dead")
    class Dead(Parts):
        """Neither of the two moves, whatever the optimizer."""

        def __init__(self, classes):
            super().__init__(classes)
            for layer in (self.first, self.second):
                for parameter in layer.parameters():
                    nn.init.zeros_(parameter)

        def forward(self, x):
            return self.last(1 + self.second(self.first(x.flatten(1))))

    assert "has a gradient of zero" in problems("dead")["every parameter gets a gradient"]

    @registry.register_model("frozen")
    class Frozen(Parts):
        def __init__(self, classes):
            super().__init__(classes)
            self.requires_grad_(False)

    assert problems("frozen")["every parameter gets a gradient"] == "no parameter is trained"


def test_check_compares_state_that_is_no_tensor(options, tmp_path):
    @registry.register_model("extra")
    class Extra(Parts):
        def get_extra_state(self):
            return {"steps": [torch.ones(2), 3]}

        def set_extra_state(self, state):
            pass

    assert problems("extra") == {}
    train("extra", recipe=RECIPE, options=options)
    (path,) = options.checkpoint_dir.rglob("*.ckpt")
    with pytest.raises(CheckpointError, match="extra has no tensor under '_extra_state'"):
        export(path, tmp_path / "out.safetensors", materialized=False)


SHARED = nn.Linear(8, 8)


def test_parameters_that_no_run_would_train_on_its_own_are_refused(options):
    @registry.register_model("late")
    class Late(Parts):
        def between(self, x):
            if not hasattr(self, "head"):
                self.head = nn.Linear(8, 8)
            return self.head(x)

    @registry.register_model("common")
    class Common(Parts):
        def __init__(self, classes):
            super().__init__(classes)
            self.second = SHARED

    for name, told in (("late", "head.bias in its first pass"), ("common", "same second.weight")):
        with pytest.raises(ValueError, match=told):
            train(name, recipe=RECIPE, options=options)


def test_parameters_that_are_unfrozen_in_training_are_recorded(options):
    @registry.register_model("unfreezes")
    class Unfreezes(Parts):
        def __init__(self, classes):
            super().__init__(classes)
            self.second.requires_grad_(False)
            self.passes = 0

        def between(self, x):
            self.passes += 1
            if self.passes > 5:
                self.second.requires_grad_(True)
            return super().between(x)

    (outcome,) = train("unfreezes", recipe=RECIPE, options=options)
    assert outcome.record["untrained"] == ["second.bias", "second.weight"]


@pytest.mark.parametrize(
    "change", [{"train_images_per_s": float("nan")}, {"reason": "\udce9"}, {"val_error": "high"}]
)
def test_a_record_with_a_value_that_is_refused(options, monkeypatch, change):
    """The run has failed, its record says why, its checkpoint stays, and the rest is made."""
    record_of = runner.record_of
    changes = [change]

    def changed(*arguments):
        return record_of(*arguments) | (changes.pop() if changes else {})

    monkeypatch.setattr(runner, "record_of", changed)
    failed, ended = train(["Parts", "wide_resnet10_1"], recipe=RECIPE, options=options)
    assert (failed.status, ended.status) == ("failed", "ok")
    assert failed.record["reason"].startswith("the record cannot be written: ")
    assert failed.record["reason"].endswith("the run ended: ok")
    assert failed.record == store.load(failed.record_path)
    assert (options.checkpoint_dir / "digits" / "Parts" / "short-seed0.ckpt").exists()
    (again,) = train("Parts", recipe=RECIPE, options=options)
    assert again.status == "ok"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_a_record_that_no_disk_takes(options, monkeypatch, number):
    save = store.save

    def refuse(results_dir, record):
        if record["model"] == "Parts":
            raise OSError(number, "no room")
        return save(results_dir, record)

    monkeypatch.setattr(store, "save", refuse)
    told = Told()
    failed, ended = train(
        ["Parts", "wide_resnet10_1"], recipe=RECIPE, options=options, progress=told
    )
    assert (failed.status, failed.record, ended.status) == ("failed", None, "ok")
    assert "Parts on digits, short, seed 0: the record cannot be written" in failed.reason
    assert "no room" in failed.reason and told.statuses == ["failed", "ok"]
    assert (options.checkpoint_dir / "digits" / "Parts" / "short-seed0.ckpt").exists()


@pytest.mark.parametrize("folder", ["results/runs/digits/Parts", "checkpoints/digits/Parts"])
def test_a_file_in_the_place_of_a_folder(options, tmp_path, folder):
    """Nothing is trained for that run, the file stays, and the rest is made."""
    place = tmp_path / folder
    place.parent.mkdir(parents=True)
    place.write_text("mine")
    failed, ended = train(["Parts", "wide_resnet10_1"], recipe=RECIPE, options=options)
    assert (failed.status, ended.status) == ("failed", "ok")
    assert "Error" in failed.reason and place.read_text() == "mine"
    assert (failed.record is None) == folder.startswith("results")


def test_a_folder_in_the_place_of_a_record_is_set_aside(options, tmp_path):
    (outcome,) = train("Parts", recipe=RECIPE, options=options)
    place = outcome.record_path
    for number in range(2):  # nothing that was set aside before is lost
        place.unlink()
        place.mkdir()
        (place / f"{number}").touch()
        (outcome,) = train("Parts", recipe=RECIPE, options=options)
        assert outcome.status == "ok" and place.is_file()
    aside = [path for path in place.parent.iterdir() if "damaged" in path.name]
    assert sorted(path.name for folder in aside for path in folder.iterdir()) == ["0", "1"]


def test_another_recipes_record_that_appears_meanwhile_is_kept(options, monkeypatch):
    """Another process wrote it: that run is refused, and the rest is made."""
    execute = local.execute_together

    def meanwhile(runs, callbacks):
        results = execute(runs, callbacks)
        if runs[0].model == "Parts":
            other = results[0] | {"model": "Unused", "status": "failed", "reason": "x"}
            other |= {"test_error": None, "test_wrong": None, "val_error": None}
            other["recipe"] = other["recipe"] | {"hash": "e" * 16}
            store.save(options.results_dir, other)
        return results

    monkeypatch.setattr(local, "execute_together", meanwhile)
    models = ["Parts", "Unused", "wide_resnet10_1"]
    first, refused, last = train(models, recipe=RECIPE, options=options)
    assert [first.status, refused.status, last.status] == ["ok", "refused", "ok"]
    assert "recipe hash" in refused.reason and refused.record is None
    assert store.load(refused.record_path)["recipe"]["hash"] == "e" * 16


def test_a_kernel_source_of_a_plugin_may_fall_back_too(options):
    @registry.register_kernels("prints", rows={"prints_resnet10_1": "wide_resnet10_1"})
    class Prints(KernelSource):
        def __init__(self, shapes):
            super().__init__(shapes)
            self.weight = nn.Parameter(torch.randn(64, 64, 3, 3) * 0.05)

        @staticmethod
        def count(shapes):
            return {"generator": 64 * 64 * 9}

        def forward(self):
            print("", end="")
            return [self.weight[: s.out_channels, : s.in_channels] for s in self.shapes]

    compiled = dataclasses.replace(options, compile="default")
    recipe = dataclasses.replace(RECIPE, batch_size=128)
    (outcome,) = train("prints_resnet10_1", recipe=recipe, options=compiled)
    environment = outcome.record["environment"]
    assert outcome.status == "ok" and environment["compile"] == "off"
    (note,) = [text for text in environment["fallbacks"] if text.startswith("compile off")]
    assert note.startswith("compile off instead of default: ") and "test_faults.py" in note
    assert outcome.record["kernels"] == "prints"
    (again,) = train("prints_resnet10_1", recipe=recipe, options=compiled)
    assert again == outcome
