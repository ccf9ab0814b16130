"""What a dry run says, and the time that is left."""

import dataclasses
import json
import os
import shutil
import statistics
from pathlib import Path

import pytest
import torch

from benchmarks.cli.progress import PrintedProgress
from benchmarks.data import datasets
from benchmarks.runs import planning
from benchmarks.runs.matrix import prepare, specs_of, train
from benchmarks.runs.options import RunOptions
from benchmarks.runs.planning import Times, items_of, plan
from benchmarks.runs.progress import RunSpec
from benchmarks.runs.remaining import Remaining
from benchmarks.training.recipes import RECIPES, load, recorded
from models import registry
from tests.conftest import ROOT

SHORT = dataclasses.replace(RECIPES["demo"], name="short", epochs=1, batch_size=64)
EPYC = "AMD EPYC"


@pytest.fixture
def options(tmp_path):
    return RunOptions(
        results_dir=tmp_path / "results",
        checkpoint_dir=tmp_path / "checkpoints",
        data_dir=tmp_path / "data",
    )


def test_a_dry_run_writes_nothing_and_needs_no_data(options, tmp_path):
    planned = plan(["wide_resnet16_1", "hyper_resnet16_1"], "cifar10", "paper", (0, 3), options)
    assert [run.spec.seed for run in planned] == [0, 3, 0, 3]
    place = "runs/cifar10/wide_resnet16_1/paper-seed0.json"
    assert planned[0].record_path == tmp_path / "results" / place
    assert not any(run.done or run.resumes or run.seconds for run in planned)
    assert not list(tmp_path.rglob("*"))


def test_a_dry_run_knows_what_is_done(options, few_are_loaded, tmp_path):
    (outcome,) = train(["wide_resnet10_1"], recipe=SHORT, options=options)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    done, other, wide = plan(["wide_resnet10_1"], recipe=SHORT, seeds=(0, 1), options=options) + (
        plan(["hyper_resnet10_1"], recipe=SHORT, options=options)
    )
    assert done.done and done.record_path == outcome.record_path and done.seconds is None
    took = sum(epoch["seconds"] for epoch in outcome.record["history"])
    assert not other.done and other.seconds == pytest.approx(took)
    assert other.source == f"as seed 0 on {outcome.record['environment']['device']}"
    assert "by the FLOPs of wide_resnet10_1" in wide.source
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_a_dry_run_refuses_what_training_refuses(options, few_are_loaded):
    train(["wide_resnet10_1"], recipe=SHORT, options=options)
    other = dataclasses.replace(SHORT, batch_size=32)
    for bad in ({"recipe": other}, {"recipe": "smok"}, {"dataset": "cifr"}):
        with pytest.raises(ValueError, match=r"has recipe hash|unknown"):
            plan(["wide_resnet10_1"], **{"recipe": SHORT, "options": options} | bad)


def test_a_dry_run_refuses_a_folder_that_training_refuses(options, tmp_path):
    (tmp_path / "pets" / "test" / "cat").mkdir(parents=True)
    with pytest.raises(ValueError, match="train' is missing; needed are train/CLASS/IMAGE"):
        plan(["wide_resnet10_1"], dataset=f"folder:{tmp_path / 'pets'}", options=options)


def test_times_are_of_the_same_run_or_the_nearest(tmp_path):
    of_data = ROOT / "results" / "runs" / "cifar10-jpeg"
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "cifar10-jpeg").symlink_to(of_data)
    times = Times(tmp_path, "cifar10-jpeg", None)
    path = of_data / "hyper_resnet40_1" / "quick-seed0.json"
    record = json.loads(path.read_text())
    seconds = [epoch["seconds"] for epoch in record["history"]]
    took = statistics.median(seconds) * len(seconds)
    device = record["environment"]["device"]
    seconds, source = times.of(RunSpec("hyper_resnet40_1", recorded("quick"), 1))
    assert (seconds, source) == (pytest.approx(took), f"as seed 0 on {device}")
    longer, source = times.of(RunSpec("hyper_resnet40_1", load("epochs20"), 0))
    assert longer == pytest.approx(2 * took, rel=0.05) and source == f"by quick on {device}"
    unknown, source = times.of(RunSpec("hyper_resnet56", load("epochs10"), 0))
    assert unknown > took and source.startswith("by the FLOPs of hyper_resnet40_1 on ")


def test_times_are_of_this_type_of_device(tmp_path):
    of_model = Path("runs") / "cifar10-9980" / "wide_resnet16_1"
    (tmp_path / of_model).mkdir(parents=True)
    for record in (ROOT / "results" / of_model).glob("epochs30-*.json"):
        shutil.copy(record, tmp_path / of_model)
    spec = RunSpec("wide_resnet16_1", load("epochs30"), 3)
    sources = [Times(tmp_path, "cifar10-9980", None, on).of(spec)[1] for on in ("cuda", "cpu")]
    assert sources == ["as seed 0 on NVIDIA H200", None]


def test_times_of_this_device_count_first(tmp_path):
    """Of two runs of the recipe, the faster one of another device; and of a network that is like
    neither, the smaller one of this device."""
    of_data = ROOT / "results" / "runs" / "cifar10-9980"
    for model, device, faster in (
        ("wide_resnet40_1", "Mine", 1.0),
        ("wide_resnet40_1", "Other", 0.5),
        ("wide_resnet16_1", "Mine", 1.0),
        ("wide_resnet40_2", "Other", 1.0),
    ):
        seed = 0 if device == "Mine" else 1
        record = json.loads((of_data / model / "epochs30-seed0.json").read_text())
        record["seed"] = seed
        record["environment"]["device"] = device
        for entry in record["history"]:
            entry["seconds"] *= faster
        path = tmp_path / "runs" / "cifar10-9980" / model / f"epochs30-seed{seed}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record))
    specs = [RunSpec(name, load("epochs30"), 5) for name in ("wide_resnet40_1", "wide_resnet40_3")]
    for device, likes in (("Mine", "wide_resnet40_1"), ("Other", "wide_resnet40_2")):
        times = Times(tmp_path, "cifar10-9980", None, "cuda", device)
        same, like = [times.of(spec)[1] for spec in specs]
        assert same.endswith(f" on {device}")
        assert like == f"by the FLOPs of {likes} on {device}"


def test_images_follow_the_steps_of_the_block():
    assert items_of("hyper_resnet40_1", RECIPES["paper"], 45_000) == 672_000 * 128
    assert items_of("wide_resnet40_1", RECIPES["paper"], 45_000) == 140_000 * 128
    assert items_of("wide_resnet40_1", load("epochs2"), 45_000) == 2 * 351 * 128


def test_the_block_of_what_a_users_code_builds_is_that_of_its_training(own_models):
    """`tune` varies it, and a plan counts its steps."""
    built_in = registry.get("hyper_resnet10_1")
    registry.register_model("mine")(lambda classes: registry.build(built_in.name, classes))
    registry.register_model("plain")(lambda classes: torch.nn.Linear(3072, classes))
    registry.register_model("raises")(lambda classes: 1 / 0)
    paper = RECIPES["paper"]
    kinds = [planning.kind_of_model(name, paper) for name in ("mine", "plain", "raises")]
    assert kinds == [planning.kind_of_model(built_in.name, paper), "stored", "stored"]
    assert items_of("mine", paper, 45_000) == 672_000 * 128


def test_known_sizes_are_those_of_the_data(tmp_path):
    assert len(datasets.load("digits", tmp_path).train) == planning.TRAIN_ITEMS["digits"]


class Clock:
    """Says what it is set to."""

    now = 100.0

    def __call__(self):
        return self.now


def runs_of(models, options):
    return prepare(specs_of(models, "digits", SHORT, (0,), options), "digits", options).runs


def test_the_time_that_is_left(options, few_are_loaded):
    wide, same, double = runs_of(
        ["wide_resnet16_1", "hyper_resnet16_1", "wide_resnet16_2"], options
    )
    clock = Clock()
    remaining = Remaining(clock)
    remaining.planned([wide, same, double])
    remaining.started([wide])
    clock.now += 50.0
    own, every = remaining.epoch(wide, 1, 10)
    assert own == 450.0  # nine epochs like the first one
    clock.now += 20.0
    own, every = remaining.epoch(wide, 2, 10)
    assert own == 160.0  # the first one compiled and does not count any more
    macs = [planning.macs_of(run.model, 10) for run in (wide, same, double)]
    assert every == pytest.approx(160.0 + 200.0 * (macs[1] + macs[2]) / macs[0])
    remaining.started([double])
    clock.now += 30.0
    assert remaining.epoch(double, 10, 10)[0] == 0.0
    assert remaining.to_come == [same]


def test_runs_of_unknown_macs_take_as_long_as_this_one(options, few_are_loaded, own_models):
    registry.register_model("unknown")(lambda classes: torch.nn.Linear(3072, classes))
    wide, unknown = runs_of(["wide_resnet10_1", "unknown"], options)
    for first, second in ((wide, unknown), (unknown, wide)):
        remaining = Remaining(clock := Clock())
        remaining.planned([first, second])
        remaining.started([first])
        clock.now += 50.0
        assert remaining.epoch(first, 1, 10) == (450.0, 950.0)


ENTRY = {"epoch": 1, "train_loss": 1.0, "train_error": 50.0, "val_error": 50.0, "seconds": 9.0}


def test_what_is_left_is_printed_where_it_is_long(options, few_are_loaded, capsys):
    (run,) = runs_of(["wide_resnet10_1"], options)
    for seconds, told in ((2.0, "9.0 s\n"), (600.0, "9.0 s, 90 min left\n")):
        progress = PrintedProgress()
        progress.remaining.clock = clock = Clock()
        progress.planned([run])
        progress.started([run])
        clock.now += seconds
        progress.epoch(run, ENTRY, 10)
        assert capsys.readouterr().out.endswith(told.replace("90 min", "1.5 h"))


def test_a_long_epoch_says_its_step_where_there_is_no_bar(options, few_are_loaded, capsys):
    (run,) = runs_of(["wide_resnet10_1"], options)
    progress = PrintedProgress()
    progress.remaining.clock = clock = Clock()
    progress.planned([run])
    progress.started([run])
    capsys.readouterr()
    for step in range(1, 100):  # the first takes 100 s, each of the others 10
        clock.now += 10.0 if step > 1 else 100.0
        progress.step(run, step, 200)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        f"  {run.title}: step {step}/200 of the epoch, {left} min left"
        for step, left in ((21, 30), (51, 25), (81, 20))
    ]
    progress.epoch(run, ENTRY, 10)
    capsys.readouterr()
    for step in (1, 2):
        clock.now += 299.0
        progress.step(run, step, 200)
    assert "step 2/200 of the epoch, 16.4 h left" in capsys.readouterr().out


def test_a_plugins_count_that_raises_stops_no_plan(options, own_models):

    @registry.register_model("raises", macs=lambda classes: 1 // 0)
    def raises(classes):
        raise AssertionError

    (planned,) = plan(["raises"], "cifar10", "epochs1", (0,), options)
    assert planned.seconds is None and not os.path.exists(planned.record_path)
