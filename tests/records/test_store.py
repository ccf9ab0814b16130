"""Records: validity, places, atomic writes, provenance."""

import json

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


def test_a_record_that_cannot_be_opened_is_left_where_it_is(tmp_path, monkeypatch):
    """It may be a good one: only what was read and is none is set aside."""
    path = store.save(tmp_path, RECORD)
    content = path.read_text()

    def refuse(_):
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(store, "read_text", refuse)
        with pytest.raises(PermissionError):
            store.save(tmp_path, RECORD)
    assert path.read_text() == content and not list(path.parent.glob("*.damaged"))
