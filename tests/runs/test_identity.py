"""The same run, or another one: what "done already" means, and what is pooled."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.records import store
from benchmarks.records.frame import load_runs
from benchmarks.report.summary import summarize
from benchmarks.runs import runner, verify
from benchmarks.runs.matrix import train
from benchmarks.runs.options import RunOptions
from benchmarks.training.recipes import RECIPES
from models import registry
from tests.records.test_store import RECORD

RECIPE = dataclasses.replace(RECIPES["demo"], name="short", epochs=1, batch_size=8)
PLUGIN = """
from torch import nn
from models.registry import register_model
from {helper} import WIDTH

@register_model("mine")
def build(num_classes):
    layers = nn.Linear(3072, WIDTH), nn.ReLU(), nn.Linear(WIDTH, num_classes)
    return nn.Sequential(nn.Flatten(), *layers)
"""


@pytest.fixture
def options(tmp_path, monkeypatch, own_models):
    return RunOptions(
        results_dir=tmp_path / "results",
        checkpoint_dir=tmp_path / "checkpoints",
        data_dir=tmp_path / "data",
        compile="off",
        threads=1,
    )


def pets(folder, seed):
    """Two classes of random images; gives the data set's name."""
    generator = np.random.default_rng(seed)
    for part, count in (("train", 12), ("test", 4)):
        for label in ("cat", "dog"):
            place = folder / "pets" / part / label
            place.mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(place / f"{number}.png")
    return f"folder:{folder / 'pets'}"


def made(options, *arguments):
    """Statuses, and how many records there are."""
    outcomes = train(*arguments, recipe=RECIPE, options=options)
    return [o.status for o in outcomes], len(list(Path(options.results_dir).rglob("*.json")))


def test_two_folders_of_one_name_are_two_data_sets(tmp_path, options):
    a, b = pets(tmp_path / "a", 1), pets(tmp_path / "b", 2)
    assert made(options, "wide_resnet10_1", a) == (["ok"], 1)
    assert made(options, "wide_resnet10_1", b) == (["ok"], 2)
    assert made(options, "wide_resnet10_1", a) == made(options, "wide_resnet10_1", b)
    results, checkpoints = Path(options.results_dir), Path(options.checkpoint_dir)
    runs = load_runs(results)
    assert runs.attrs["problems"] == [] and runs.data_sha256.nunique() == 2
    assert len(summarize(runs)) == 2
    (note,) = verify.shared_names(results)
    assert note.startswith("dataset pets is 2 kinds of data")
    for path in verify.find(results, checkpoints):
        assert verify.problems(path, results, checkpoints) == []


def test_an_edited_plugin_is_another_model(tmp_path, options):
    helper, file = tmp_path / "identity_helper.py", tmp_path / "identity_nets.py"
    file.write_text(PLUGIN.format(helper="identity_helper"), encoding="utf-8")
    data = pets(tmp_path, 1)
    for width, records in ((2, 1), (3, 2), (2, 2)):
        helper.write_text(f"WIDTH = {width}", encoding="utf-8")
        registry.load_plugin(str(file))
        assert made(options, "mine", data) == (["ok"], records)
        assert made(options, "mine", data) == (["ok"], records)
    runs = load_runs(options.results_dir)
    assert sorted(runs.params) == [3072 * w + w + 2 * w + 2 for w in (2, 3)]
    rows = summarize(runs)
    assert len(rows) == 2 and rows.other_code.all() and (rows.n == 1).all()
    (note,) = verify.shared_names(Path(options.results_dir))
    assert note.startswith("model mine is 2 kinds of code")


def test_a_plugin_edited_before_its_run_ended_resumes_only_if_allowed(tmp_path, options):
    helper, file = tmp_path / "stopped_helper.py", tmp_path / "stopped_nets.py"
    file.write_text(PLUGIN.format(helper="stopped_helper"), encoding="utf-8")
    data = pets(tmp_path, 1)
    helper.write_text("WIDTH = 2", encoding="utf-8")
    registry.load_plugin(str(file))
    stopped = dataclasses.replace(options, time_limit=1e-9)
    assert made(stopped, "mine", data) == (["interrupted"], 1)
    helper.write_text("WIDTH = 2  # edited", encoding="utf-8")
    registry.load_plugin(str(file))
    (outcome,) = train("mine", data, recipe=RECIPE, options=options)
    assert outcome.status == "refused" and "plugin_sha256" in outcome.reason
    allowed = dataclasses.replace(options, resume_changed=True)
    assert made(allowed, "mine", data) == (["ok"], 1)


def test_a_run_that_moves_to_another_device_says_so(tmp_path, options, monkeypatch):
    """It needs no leave: schedulers move runs. The record and the report tell."""
    stopped = dataclasses.replace(options, time_limit=1e-9)
    data = pets(tmp_path, 1)
    assert made(stopped, "wide_resnet10_1", data) == (["interrupted"], 1)
    here = runner.device_name("cpu")
    monkeypatch.setattr(runner, "device_name", lambda device_type: "Another processor")
    assert made(options, "wide_resnet10_1", data) == (["ok"], 1)
    (path,) = store.run_files(options.results_dir)
    (resumed,) = store.load(path)["resumed"]
    assert resumed["differing"] == {"device": [here, "Another processor"]}
    runs = load_runs(options.results_dir)
    assert runs.resumed_changed.all() and runs.resumed_at.tolist() == [resumed["step"]]


def test_a_run_that_goes_on_with_other_threads_says_so(tmp_path, options):
    """Sums are made in another order then: it is not the run that one number would give."""
    stopped = dataclasses.replace(options, time_limit=1e-9)
    data = pets(tmp_path, 1)
    assert made(stopped, "wide_resnet10_1", data) == (["interrupted"], 1)
    assert made(dataclasses.replace(options, threads=2), "wide_resnet10_1", data) == (["ok"], 1)
    (path,) = store.run_files(options.results_dir)
    (resumed,) = store.load(path)["resumed"]
    assert resumed["differing"] == {"threads": [1, 2]}


def test_a_run_that_did_not_end_leaves_the_record_of_one_that_did(tmp_path, options, monkeypatch):
    """Two processes with other checkpoints, or `merge` while a run is at work."""
    data = pets(tmp_path, 1)
    assert made(options, "wide_resnet10_1", data) == (["ok"], 1)
    (path,) = store.run_files(options.results_dir)
    ended = path.read_text()
    path.unlink()

    monkeypatch.setattr(runner, "remove_leftovers", lambda _: path.write_text(ended))  # meanwhile
    other = dataclasses.replace(options, time_limit=1e-9, checkpoint_dir=tmp_path / "other")
    (outcome,) = train("wide_resnet10_1", data, recipe=RECIPE, options=other)
    assert outcome.status == "ok" and path.read_text() == ended


def identity(**changes):
    return dataclasses.replace(store.RunId.of(RECORD), **changes)


def test_places(tmp_path):
    """A file system may ignore case: what lies at the usual place decides, not its name."""
    path = store.save(tmp_path, RECORD)
    assert identity().place(tmp_path) == path
    other_data = identity(data=("c" * 64, "d" * 64))
    for other in (identity(model="M"), other_data, identity(plugin_sha256="e" * 64)):
        usual, own = other.places(tmp_path)
        assert own != usual and own.name.startswith("r-seed0-")
        assert not other.may_replace(RECORD)
    assert other_data.place(tmp_path) != path
    same_files = identity(data=("a" * 64, "f" * 64))  # decoded by another version of Pillow
    assert same_files.place(tmp_path) == path
    failed = {"status": "failed", "reason": "x", "test_error": None, "val_error": None}
    assert identity(plugin_sha256="e" * 64).may_replace(RECORD | failed)
    assert not other_data.may_replace(RECORD | failed)


def test_a_run_that_is_there_twice_counts_once(tmp_path):
    path = store.save(tmp_path, RECORD)
    _, own = identity().places(tmp_path)
    own.write_text(json.dumps(RECORD), encoding="utf-8")
    runs = load_runs(tmp_path)
    assert len(runs) == 1 and own != path
    (problem,) = runs.attrs["problems"]
    assert "has another one" in problem
