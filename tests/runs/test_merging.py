"""Results of several machines: what is missing is copied, contradictions are refused."""

import copy
import shutil

import pytest

from benchmarks.cli.main import main
from benchmarks.records import store
from benchmarks.runs.merging import MergeError, merge
from tests.conftest import ROOT

RESULTS = ROOT / "results"
PAIR = RESULTS / "runs" / "cifar10-9980"


@pytest.fixture
def folders(tmp_path):
    """Two machines' results with the same two runs; gives the folders and the paths in them."""
    other, here = tmp_path / "other", tmp_path / "here"
    for seed in (0, 1):
        path = PAIR / "wide_resnet16_1" / f"epochs30-seed{seed}.json"
        for folder in (other, here):
            place = folder / path.relative_to(RESULTS)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place)
    return other, here


def changed(path, **changes):
    """The record at a path, changed."""
    record = store.load(path) | changes
    path.write_text(store.to_json(record))
    return record


def statuses(merged):
    return [file.what for file in merged]


def test_what_is_missing_is_copied_byte_for_byte(folders):
    other, here = folders
    _, second = store.run_files(here)
    second.unlink()
    assert statuses(merge([other], here)) == ["there", "copied"]
    assert second.read_bytes() == (other / second.relative_to(here)).read_bytes()
    assert statuses(merge([other, other], here)) == ["there"] * 4


def test_everything_committed_arrives(tmp_path):
    """Runs, trials with their studies, and every kind of speed record, into an empty folder."""
    new = tmp_path / "new"
    assert set(statuses(merge([RESULTS], new))) == {"copied"}
    kinds = ("runs/*/*/*.json", "studies/**/*.json", "studies/*/*.toml", "throughput/**/*.json")
    for pattern in kinds:
        expected = {path.relative_to(RESULTS) for path in RESULTS.glob(pattern)}
        assert expected and {path.relative_to(new) for path in new.glob(pattern)} == expected


def test_contradictions_are_refused_and_nothing_is_lost(folders, capsys):
    other, here = folders
    first, second = store.run_files(other)
    history = copy.deepcopy(store.load(first)["history"])
    history[0]["train_loss"] += 0.5
    changed(first, history=history)
    recipe = store.load(second)["recipe"] | {"batch_size": 64}
    changed(second, recipe=recipe)
    before = [path.read_bytes() for path in store.run_files(here)]
    refused = merge([other], here)
    assert statuses(refused) == ["refused", "refused"]
    assert refused[0].reason.endswith("has other values: history")
    assert "recipe hash" in refused[1].reason
    assert [path.read_bytes() for path in store.run_files(here)] == before
    assert main(["merge", str(other), "--results-dir", str(here)]) == 1
    out = capsys.readouterr().out
    assert out.count("refused: ") == 2 and "0 copied, 0 there already, 2 refused" in out


def test_times_alone_are_no_contradiction(folders):
    other, here = folders
    first, _ = store.run_files(other)
    history = copy.deepcopy(store.load(first)["history"])
    history[0]["seconds"] += 1.0
    changed(first, history=history, train_images_per_s=1.0)
    assert statuses(merge([other], here)) == ["there", "there"]


def test_a_run_that_ended_takes_the_place_of_one_that_did_not(folders):
    other, here = folders
    first, _ = store.run_files(here)
    unended = {"status": "interrupted", "reason": "stopped", "val_error": None}
    changed(first, **unended, test_error=None, test_wrong=None)
    assert statuses(merge([other], here)) == ["copied", "there"]
    assert store.load(first)["status"] == "ok"
    changed(other / first.relative_to(here), **unended, test_error=None, test_wrong=None)
    assert statuses(merge([other], here)) == ["there", "there"]
    assert store.load(first)["status"] == "ok"


def test_what_is_no_record_is_refused(folders):
    other, here = folders
    first, second = store.run_files(other)
    first.write_text("{")
    second.rename(second.with_name("epochs30-seed7.json"))
    merged = merge([other], here)
    assert statuses(merged) == ["refused", "refused"]
    assert "cannot be read" in merged[0].reason and "its place is" in merged[1].reason


def test_trials_of_another_study_of_the_name_are_refused(tmp_path):
    study = RESULTS / "studies" / "cifar16"
    shutil.copytree(study, tmp_path / "other" / "studies" / "cifar16")
    shutil.copytree(study, tmp_path / "here" / "studies" / "cifar16")
    file = tmp_path / "other" / "studies" / "cifar16" / "study.toml"
    file.write_text(file.read_text() + "\n# another\n")
    merged = merge([tmp_path / "other"], tmp_path / "here")
    assert set(statuses(merged)) == {"refused"} and len(merged) > 1
    assert "another study" in merged[0].reason and "its study" in merged[1].reason


def test_folders_that_cannot_be_merged(folders, tmp_path):
    other, here = folders
    for wrong in (here, tmp_path, tmp_path / "missing"):
        with pytest.raises(MergeError, match=f"folder {wrong} "):
            merge([other, wrong], here)
