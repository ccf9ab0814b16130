"""`status` of a matrix: from records, checkpoints and locks, whatever the engine."""

import dataclasses
import json
import math
import threading
import time
from pathlib import Path

import pytest

from benchmarks.cli.main import main
from benchmarks.runs.matrix import train
from benchmarks.runs.options import RunOptions
from benchmarks.runs.planning import TRAIN_ITEMS
from benchmarks.runs.runner import lock_of
from benchmarks.runs.status import status
from benchmarks.training.recipes import RECIPES
from models import registry

RECIPE = dataclasses.replace(RECIPES["demo"], name="short", epochs=2, batch_size=64)


@pytest.fixture
def options(tmp_path, few_are_loaded):
    return RunOptions(results_dir=tmp_path / "results", checkpoint_dir=tmp_path / "checkpoints")


def states(models, options, seeds=(0,)):
    return status(models, recipe=RECIPE, seeds=seeds, options=options)


def test_every_state(options, own_models):

    @registry.register_model("raises")
    def raises(classes):
        raise ValueError("no such layer")

    train(["wide_resnet10_1"], recipe=RECIPE, seeds=[0], options=options)
    train(["raises"], recipe=RECIPE, options=options)
    limit = dataclasses.replace(options, time_limit=1e-9)
    (stopped,) = train(["wide_resnet10_1"], recipe=RECIPE, seeds=[1], options=limit)
    done, second, third = states(["wide_resnet10_1"], options, seeds=(0, 1, 2))
    assert (done.state, done.epoch, done.epochs) == ("done", 2, 2) and done.error > 0
    assert (second.state, second.epoch) == ("stopped", 0)
    assert second.reason == stopped.reason and second.error is None
    assert (third.state, third.epoch, third.reason) == ("waiting", 0, None)
    (failed,) = states(["raises"], options)
    assert failed.state == "failed" and "no such layer" in failed.reason
    checkpoint = options.checkpoint_dir / "digits" / "wide_resnet10_1" / "short-seed1.ckpt"
    with lock_of(checkpoint):
        assert states(["wide_resnet10_1"], options, seeds=(1,))[0].state == "running"
    assert states(["wide_resnet10_1"], options, seeds=(1,))[0].state == "stopped"


def test_it_is_not_in_the_way_of_a_run(options):
    """It holds the lock for a moment: a run that begins just then waits for it."""
    checkpoint = options.checkpoint_dir / "digits" / "wide_resnet10_1" / "short-seed0.ckpt"
    assert states(["wide_resnet10_1"], options)[0].state == "waiting"
    assert not checkpoint.parent.exists()
    checkpoint.parent.mkdir(parents=True)
    held = threading.Event()

    def hold():
        with lock_of(checkpoint):
            held.set()
            time.sleep(0.3)

    threading.Thread(target=hold).start()
    held.wait()
    (outcome,) = train(["wide_resnet10_1"], recipe=RECIPE, seeds=[0], options=options)
    assert outcome.status == "ok"


def test_epochs_are_those_of_the_steps_of_a_models_block(options, tmp_path):
    """A recipe that counts steps gives generated kernels more of them."""
    models, paper = ["wide_resnet10_1", "hyper_resnet10_1"], RECIPES["paper"]
    steps = [paper.block(kind).steps for kind in ("stored", "generated")]
    waiting = status(models, recipe=paper, options=options)
    an_epoch = TRAIN_ITEMS["digits"] // paper.batch_size
    assert [run.epochs for run in waiting] == [math.ceil(count / an_epoch) for count in steps]
    for place in ("train/a", "train/b", "test/a", "test/b"):
        (tmp_path / "pets" / place).mkdir(parents=True)
    unknown = status(models, f"folder:{tmp_path / 'pets'}", paper, options=options)
    assert [run.epochs for run in unknown] == [None, None]
    few = {"stored": dataclasses.replace(RECIPE.stored, steps=15)}
    recipe = dataclasses.replace(RECIPE, name="steps", **few)
    (outcome,) = train(models[:1], recipe=recipe, options=options)
    (done,) = status(models[:1], recipe=recipe, options=options)
    assert done.epoch == done.epochs == len(outcome.record["history"])


def test_the_command(options, capsys):
    folders = ["--results-dir", str(options.results_dir)]
    folders += ["--checkpoint-dir", str(options.checkpoint_dir)]
    wanted = ["wide_resnet10_1", "hyper_resnet10_1", "--recipe", "epochs1", "--seeds", "0-1"]
    assert main(["train", "wide_resnet10_1", *wanted[2:], "--compile", "off", *folders]) == 0
    capsys.readouterr()
    assert main(["status", *wanted, "--compile", "off", *folders]) == 0
    assert "4 runs on digits: 2 done, 2 waiting" in capsys.readouterr().out
    assert main(["status", *wanted, "--compile", "off", *folders, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["state"] for row in rows] == ["done", "done", "waiting", "waiting"]
    assert rows[0]["epoch"] == rows[0]["epochs"] == 1 and rows[0]["error"] is not None
    assert main(["status", *folders]) == 2
    assert "name the models, or --study FILE" in capsys.readouterr().err


def test_a_lock_that_cannot_be_opened_hides_nothing(options):
    """Of another user, or on a file system that has no locks."""
    checkpoint = options.checkpoint_dir / "digits" / "wide_resnet10_1" / "short-seed0.ckpt"
    Path(f"{checkpoint}.lock").mkdir(parents=True)
    assert states(["wide_resnet10_1"], options)[0].state == "waiting"
