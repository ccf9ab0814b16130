"""A matrix of runs from Python: what is missing is made, and what came of each is told."""

import dataclasses
import os
import signal
import threading
from pathlib import Path

import pytest
import torch

from benchmarks.measuring import timing
from benchmarks.records import store
from benchmarks.runs import reproduce, runner
from benchmarks.runs.matrix import train
from benchmarks.runs.options import RunOptions
from benchmarks.runs.progress import Progress
from benchmarks.system.stop import Stop
from benchmarks.training import image_learning, recipes
from benchmarks.training.checkpoints import load_checkpoint, write_checkpoint
from benchmarks.training.recipes import RECIPES
from benchmarks.training.settings import Settings
from models import registry

MODELS = ["wide_resnet10_1", "hyper_resnet10_1"]
RECIPE = dataclasses.replace(RECIPES["demo"], name="short", epochs=1, batch_size=64)


class Told(Progress):
    """What was told, in order: the event and the seed or model."""

    def __init__(self):
        self.events = []

    def already_done(self, run):
        self.events.append(("already_done", run.seed))

    def started(self, runs):
        self.events += [("started", run.seed) for run in runs]

    def step(self, run, step, steps):
        self.events.append((f"step {step}/{steps}", run.seed))

    def epoch(self, run, entry, epochs):
        self.events.append((f"epoch {entry['epoch']}/{epochs}", run.seed))

    def ended(self, run, outcome):
        self.events.append((outcome.status, run.seed))

    def timed(self, timing):
        self.events.append(("timed", timing.model))


@pytest.fixture
def options(tmp_path, few_are_loaded):
    return RunOptions(results_dir=tmp_path / "results", checkpoint_dir=tmp_path / "checkpoints")


def test_what_is_missing_is_made_and_told(options):
    told = Told()
    (first,) = train(MODELS[:1], recipe=RECIPE, options=options, progress=told)
    of_a_run = ["started", "step 1/2", "step 2/2", "epoch 1/1", "ok"]
    assert told.events == [(event, 0) for event in of_a_run]
    assert first.record == store.load(first.record_path) and first.spec.recipe == RECIPE
    told = Told()
    outcomes = train(MODELS[:1], recipe=RECIPE, seeds=[1, 0], options=options, progress=told)
    assert told.events[0] == ("already_done", 0) and told.events[1:] == [(e, 1) for e in of_a_run]
    assert [(outcome.spec.seed, outcome.status) for outcome in outcomes] == [(1, "ok"), (0, "ok")]
    assert outcomes[1] == first


@pytest.mark.parametrize("flip", [None, True, False])
def test_mirroring_is_the_users_choice_and_recorded(options, monkeypatch, flip):
    used = []
    made = image_learning.Batches
    monkeypatch.setattr(
        image_learning, "Batches", lambda *args: used.append(args[3]) or made(*args)
    )
    chosen = dataclasses.replace(options, flip=flip)
    (outcome,) = train(MODELS[:1], recipe=RECIPE, options=chosen)
    assert used == [bool(flip)] and outcome.record["flip"] is bool(flip)  # digits: off
    saved = outcome.record["recipe"]
    assert saved["flip"] is flip and recipes.from_record(saved).hash == saved["hash"]
    assert (saved["hash"] == RECIPE.hash) == (flip is None)


def test_runs_that_differ_in_mirroring_are_not_mixed(options):
    train(MODELS[:1], recipe=RECIPE, options=options)
    with pytest.raises(store.RecordError, match=RECIPE.hash):
        train(MODELS[:1], recipe=RECIPE, options=dataclasses.replace(options, flip=True))


def test_what_a_limit_leaves_is_not_started(options):
    stopped = dataclasses.replace(options, time_limit=1e-9)
    first, second = train(MODELS, recipe=RECIPE, options=stopped)
    assert first.status == "interrupted" and first.record["history"] == []
    assert (second.status, second.record) == ("not_started", None) and second.reason
    assert not second.record_path.exists()


def test_a_checkpoint_of_another_run_is_refused_and_the_rest_is_made(options):
    train(MODELS[:1], recipe=RECIPE, options=dataclasses.replace(options, time_limit=1e-9))
    (checkpoint,) = Path(options.checkpoint_dir).rglob("*.ckpt")
    state = load_checkpoint(checkpoint)
    state["identity"]["plugin_sha256"] = "e" * 64
    write_checkpoint(checkpoint, state)
    refused, other = train(MODELS, recipe=RECIPE, options=options)
    assert (refused.status, refused.record) == ("refused", None)
    assert "plugin_sha256" in refused.reason and other.status == "ok"


def test_runs_can_be_made_outside_the_main_thread(options):
    """There are no signals to catch there."""
    outcomes = []
    thread = threading.Thread(
        target=lambda: outcomes.extend(train(MODELS[:1], recipe=RECIPE, options=options))
    )
    thread.start()
    thread.join()
    assert [outcome.status for outcome in outcomes] == ["ok"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"models": ["wide_resnt10_1"]}, "unknown model"),
        ({"models": []}, "at least one model"),
        ({"seeds": []}, "at least one model and one seed"),
        ({"recipe": "dmo"}, "nearest: demo"),
        ({"dataset": "digit"}, "unknown data set"),
    ],
)
def test_wrong_input_is_refused_before_anything_is_trained(options, arguments, message):
    with pytest.raises(ValueError, match=message):
        train(**{"models": MODELS} | arguments, options=options)
    assert not options.results_dir.exists()


@pytest.mark.slow
def test_reproduce_trains_and_times_what_is_missing(options, monkeypatch):
    shortened = dataclasses.replace(
        timing.SHORT, window_s=0.01, max_warmup=1, windows=2, epoch_images=64
    )
    monkeypatch.setattr(reproduce, "SHORT", shortened)
    monkeypatch.setitem(registry.TABLES, "images", tuple(MODELS[:1]))
    leave = Stop.__exit__

    def stopped(stop, *exception):  # by a signal that came in the last evaluation
        leave(stop, *exception)
        stop.signal = "stopped by SIGTERM"

    with monkeypatch.context() as patch:
        patch.setattr(Stop, "__exit__", stopped)
        late = reproduce.reproduce(recipe=RECIPE, options=options)
    assert [outcome.status for outcome in late.runs] == ["ok"]
    assert late.halted and late.stopped and late.timings == []
    result = reproduce.reproduce(recipe=RECIPE, options=options)
    assert [outcome.status for outcome in result.runs] == ["ok"] and not result.halted
    (timing_of,) = result.timings
    assert timing_of.record == store.load(timing_of.record_path)
    told = Told()
    again = reproduce.reproduce(recipe=RECIPE, options=options, progress=told)
    assert again.runs == result.runs and again.timings == []
    assert told.events == [("already_done", 0)]


@pytest.mark.slow
def test_a_signal_stops_it_between_two_timings(options, monkeypatch):
    named = []

    def interrupted(names, *others):
        named.extend(names)
        os.kill(os.getpid(), signal.SIGTERM)
        return []

    monkeypatch.setattr(reproduce, "time_models", interrupted)
    result = reproduce.reproduce(MODELS, recipe=RECIPE, options=options)
    assert named == MODELS[:1] and result.stopped and result.halted


@pytest.mark.slow
def test_nothing_is_timed_while_runs_are_missing(options):
    stopped = dataclasses.replace(options, time_limit=1e-9)
    result = reproduce.reproduce(MODELS, recipe=RECIPE, options=stopped)
    assert result.halted and result.timings == []


def test_seeds_side_by_side_are_the_solo_runs(few, tmp_path):
    """On a CPU bit for bit: runs whose steps are interleaved share nothing."""

    def runs(folder, seeds):
        folders = runner.OutputFolders(tmp_path / folder, tmp_path / folder)
        settings = Settings(torch.device("cpu"))
        return [
            runner.Run("hyper_resnet10_1", few, RECIPE, seed, settings, folders) for seed in seeds
        ]

    quiet = (lambda entry, epochs: None, lambda step, steps: None)
    zero, one = runner.execute_together(runs("together", (0, 1)), [quiet] * 2)
    (solo,) = runner.execute_together(runs("solo", (1,)), [quiet])
    assert [record["seed"] for record in (zero, one)] == [0, 1]
    for key in ("train_loss", "val_loss"):
        expected = solo["history"][0][key]
        assert one["history"][0][key] == expected != zero["history"][0][key]
    assert one["test_error"] == solo["test_error"]
