"""Records: validity, places, atomic writes, provenance."""

import copy
import json

import pytest

from benchmarks import files, records

RECORD = {
    "schema_version": 1, "model": "m", "pair": None, "dataset": "d", "dataset_fingerprint": {}, "seed": 0, "status": "ok",
    "recipe": {"name": "r", "hash": "abc", "epochs": 1}, "reason": None, "test_error": 5.0, "val_error": 4.0, "params": 3,
    "params_by_component": {"stem": 1, "kernels": 2}, "macs_per_image": 10, "generator_macs": 0,
    "train_images_per_s": 1.0, "history": [], "environment": {}, "code": {},
}  # fmt: skip


def test_save_and_load(tmp_path):
    path = records.save(tmp_path, RECORD)
    assert path == tmp_path / "runs" / "d" / "m" / "r-seed0.json"
    assert records.load(path) == RECORD
    assert records.load_all(tmp_path, "d") == ([RECORD], [])
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"schema_version": 0}, "schema_version is not 1"),
        ({"status": "fine"}, "status 'fine'"),
        ({"test_error": 101.0}, "test_error 101.0"),
        ({"test_error": float("nan")}, "test_error nan"),
        ({"test_error": None}, "has no test_error"),
        ({"params": 4}, "does not sum"),
        ({"model": "../x"}, "name '../x'"),
        ({"dataset": ".."}, "name '..'"),
    ],
)
def test_bad_records(tmp_path, change, message):
    with pytest.raises(records.RecordError, match=message):
        records.save(tmp_path, RECORD | change)
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.parametrize("key", records.KEYS)
def test_missing_keys(key):
    record = copy.deepcopy(RECORD)
    del record[key]
    with pytest.raises(records.RecordError):
        records.validate(record)


def test_another_recipe_of_the_same_name_is_refused(tmp_path):
    path = records.save(tmp_path, RECORD)
    with pytest.raises(records.RecordError, match="recipe hash abc, this recipe has xyz"):
        records.save(tmp_path, RECORD | {"recipe": RECORD["recipe"] | {"hash": "xyz"}})
    assert records.load(path) == RECORD


def test_no_nan_reaches_json():
    with pytest.raises(ValueError, match="JSON compliant"):
        records.to_json({"x": float("nan")})


def test_unreadable_files_are_reported(tmp_path):
    path = records.save(tmp_path, RECORD)
    (path.parent / "r-seed1.json").write_text('{"torn')
    found, problems = records.load_all(tmp_path, "d")
    assert found == [RECORD] and len(problems) == 1 and "r-seed1.json" in problems[0]
    assert str(tmp_path) not in problems[0]


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
    code = records.code()
    assert len(code["source_sha256"]) == 64
    environment = records.environment("cpu", precision="fp32")
    json.dumps(environment, allow_nan=False)
    text = json.dumps(environment).lower()
    import getpass
    import socket

    assert socket.gethostname().lower() not in text and f'"{getpass.getuser().lower()}"' not in text


def test_source_hash_covers_the_code(tmp_path):
    for name in ("models", "benchmarks"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.py").write_text("1")
    (tmp_path / "run_bench.py").write_text("1")
    before = records.source_sha256(tmp_path)
    (tmp_path / "README.md").write_text("other")
    assert records.source_sha256(tmp_path) == before
    (tmp_path / "models" / "a.py").write_text("2")
    assert records.source_sha256(tmp_path) != before
