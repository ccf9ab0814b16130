"""Records: validity, places, atomic writes, provenance."""

import copy
import json

import numpy as np
import pytest

from benchmarks.records import provenance, store
from benchmarks.system import environment, files

BLOCK = {"optimizer": "sgd", "learning_rate": 0.1, "l2": 0.0, "schedule": "cosine"}
ENTRY = {
    "epoch": 1,
    "step": 10,
    "train_loss": 1.0,
    "train_error": 9.0,
    "val_loss": 1.0,
    "val_error": 4.0,
    "learning_rate": 0.0,
    "seconds": 1.0,
}
RECORD = {
    "schema_version": 7,
    "task": "images",
    "model": "m",
    "pair": None,
    "dataset": "d",
    "seed": 0,
    "status": "ok",
    "reason": None,
    "dataset_fingerprint": {
        "sha256": "a" * 64,
        "decoded_sha256": "b" * 64,
        "split_seed": 0,
        "train": 8,
        "validation": 1,
        "test": 1,
        "num_classes": 2,
    },
    "recipe": {
        "name": "r",
        "hash": "a" * 16,
        "epochs": 1,
        "steps": 10,
        "block": "stored",
        "batch_size": 2,
        "crop_padding": 0,
        "precision": "auto",
        "compile": "auto",
        "stored": BLOCK,
        "generated": BLOCK,
    },
    "test_error": 5.0,
    "val_error": 4.0,
    "params": 3,
    "params_by_component": {"stem": 1, "kernels": 2},
    "macs_per_image": 10,
    "generator_macs": 0,
    "flops_per_image": 20,
    "generator_flops": 0,
    "train_images_per_s": 1.0,
    "counting": {"by": "dispatcher", "reason": None, "second_opinion": None},
    "flip": True,
    "untrained": [],
    "test_wrong": None,
    "history": [ENTRY],
    "resumed": [],
    "environment": {
        "device": "A processor",
        "device_type": "cpu",
        "threads": 2,
        "torch": "2.14.0",
        "precision": "fp32",
        "compile": "off",
        "memory_format": "channels_last",
        "fallbacks": [],
        "deterministic": False,
        "parallel_seeds": 1,
    },
    "code": {"commit": "c" * 40, "dirty": False, "source_sha256": "d" * 64},
    "engine": {"name": "local", "version": "0.1.0", "restarts": 0, "nodes": 1},
}


def test_save_and_load(tmp_path):
    path = store.save(tmp_path, RECORD)
    assert path == tmp_path / "runs" / "d" / "m" / "r-seed0.json"
    assert store.load(path) == RECORD
    assert store.run_files(tmp_path, "d") == [path]
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"schema_version": 0}, "schema_version 0 is not allowed; it is 1 to 7"),
        ({"schema_version": 8}, "schema_version 8"),
        ({"status": "fine"}, "status must be one of .*, not 'fine'"),
        ({"test_error": 101.0}, "test_error 101.0 is more than 100 %"),
        ({"test_error": float("nan")}, "test_error is no finite number"),
        ({"test_error": "19"}, "test_error must be number or null, not '19'"),
        ({"test_error": None}, "test_error must be number"),
        ({"status": "diverged", "test_error": None}, "reason must be string"),
        ({"status": "diverged", "reason": "nan"}, "test_error must be null"),
        ({"params": 4}, "does not sum"),
        ({"flops_per_image": 10}, "flops_per_image 10 is not 2 x macs_per_image 10"),
        ({"generator_flops": None}, "generator_flops None is not 2 x generator_macs 0"),
        ({"flops_per_image": 20.5}, "flops_per_image must be integer or null"),
        ({"val_error": 3.0}, "not that of the history's last epoch"),
        ({"history": [ENTRY, ENTRY]}, "not 1, 2, 3"),
        ({"model": "../x"}, "model must"),
        ({"dataset": ".."}, "dataset must"),
    ],
)
def test_bad_records(tmp_path, change, message):
    with pytest.raises(store.RecordError, match=message):
        store.save(tmp_path, RECORD | change)
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.parametrize("key", [*store.schema(4)["required"], "test_error"])
def test_missing_keys(key):
    record = copy.deepcopy(RECORD)
    del record[key]
    with pytest.raises(store.RecordError):
        store.validate(record)


def test_another_recipe_of_the_same_name_is_refused(tmp_path):
    path = store.save(tmp_path, RECORD)
    with pytest.raises(store.RecordError, match=r"recipe hash a{16}, this recipe has b{16}"):
        store.save(tmp_path, RECORD | {"recipe": RECORD["recipe"] | {"hash": "b" * 16}})
    assert store.load(path) == RECORD


TRIAL = {key: value for key, value in RECORD.items() if not key.startswith("test_")}
TRIAL |= {"study": "rates"}


def test_a_trial_of_a_study_has_a_place_of_its_own_and_no_test_error(tmp_path):
    path = store.save(tmp_path, TRIAL)
    assert path == tmp_path / "studies" / "rates" / "d" / "m" / "r-seed0.json"
    assert store.trial_files(tmp_path) == [path] and store.run_files(tmp_path) == []
    with pytest.raises(store.RecordError, match="test_error is not allowed in a trial"):
        store.save(tmp_path, TRIAL | {"test_error": 5.0})
    with pytest.raises(store.RecordError, match="test_wrong is not allowed in a trial"):
        store.save(tmp_path, TRIAL | {"test_wrong": "gA=="})
    with pytest.raises(store.RecordError, match="study must match"):
        store.save(tmp_path, TRIAL | {"study": "../x"})


def older(version):
    """The record as an older version has it: FLOPs came with 4, `resumed` with 2."""
    record = copy.deepcopy(RECORD) | {"schema_version": version}
    del record["task"]
    if version < 6:
        del record["engine"]
    if version < 5:
        for key in ("counting", "flip", "untrained", "test_wrong"):
            del record[key]
    if version < 4:
        del record["flops_per_image"], record["generator_flops"]
    if version == 1:
        del record["resumed"]
        del record["environment"]["deterministic"], record["environment"]["parallel_seeds"]
    return record


@pytest.mark.parametrize("version", [1, 2, 3, 4, 5, 6])
def test_older_versions_are_read_as_they_are(version):
    record = older(version)
    before = copy.deepcopy(record)
    store.validate(record)
    assert record == before


def test_what_a_version_added_is_required_from_then_on():
    with pytest.raises(store.RecordError, match="resumed"):
        store.validate(older(1) | {"schema_version": 2})
    with pytest.raises(store.RecordError, match="flops_per_image"):
        store.validate(older(3) | {"schema_version": 4})
    with pytest.raises(store.RecordError, match="counting"):
        store.validate(older(4) | {"schema_version": 5})
    with pytest.raises(store.RecordError, match="engine"):
        store.validate(older(5) | {"schema_version": 6})
    with pytest.raises(store.RecordError, match="task"):
        store.validate(older(6) | {"schema_version": 7})


def test_an_error_of_images_is_at_most_all_of_them_and_bits_have_no_such_limit():
    many = RECORD | {"test_error": 101.0}
    with pytest.raises(store.RecordError, match=r"test_error 101\.0 is more than 100 %"):
        store.validate(many)
    store.validate(many | {"task": "text"})


def test_which_images_were_wrong_agrees_with_the_error():
    flags = np.array([True] + 8 * [False] + [True])
    data = RECORD["dataset_fingerprint"] | {"test": 10}
    text = store.packed(flags)
    assert store.unpacked(text, 10).tolist() == flags.tolist()
    record = RECORD | {"dataset_fingerprint": data, "test_wrong": text}
    store.validate(record | {"test_error": 20.0})
    with pytest.raises(store.RecordError, match=r"test_error 5.0 is not that of test_wrong, 20.0"):
        store.validate(record)
    for damaged in ("?", "gA", ""):
        with pytest.raises(store.RecordError, match="test_wrong"):
            store.validate(record | {"test_error": 20.0, "test_wrong": damaged})


def test_a_run_that_was_never_counted_has_no_flops():
    unknown = dict.fromkeys(("params", "params_by_component", *store.FLOPS, *store.FLOPS.values()))
    failed = {"status": "failed", "reason": "no layer", "test_error": None, "val_error": None}
    store.validate(RECORD | failed | unknown | {"history": []})


@pytest.mark.parametrize("content", ['{"torn', "[]", "<<<<<<< ours", '{"recipe": 1}'])
def test_a_torn_record_is_set_aside_and_made_again(tmp_path, capsys, content):
    path = store.save(tmp_path, RECORD)
    path.write_text(content)
    store.save(tmp_path, RECORD)
    assert store.load(path) == RECORD
    assert (path.parent / "r-seed0.json.damaged").read_text() == content
    assert "kept as r-seed0.json.damaged" in capsys.readouterr().err
    assert store.run_files(tmp_path) == [path]


def test_no_nan_reaches_json():
    with pytest.raises(ValueError, match="JSON compliant"):
        store.to_json({"x": float("nan")})


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x"
    files.write_atomically(path, "old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.write_atomically(path, "new")
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["x"]


def test_provenance():
    code = provenance.code()
    assert len(code["source_sha256"]) == 64
    found = environment.environment("cpu", precision="fp32")
    text = json.dumps(found, allow_nan=False).lower()
    import getpass
    import socket

    assert socket.gethostname().lower() not in text and f'"{getpass.getuser().lower()}"' not in text


def test_source_hash_covers_the_code(tmp_path):
    for name in ("models", "benchmarks"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.py").write_text("1")
    (tmp_path / "run_bench.py").write_text("1")
    before = provenance.source_sha256(tmp_path)
    (tmp_path / "README.md").write_text("other")
    assert provenance.source_sha256(tmp_path) == before
    (tmp_path / "models" / "a.py").write_text("2")
    assert provenance.source_sha256(tmp_path) != before
