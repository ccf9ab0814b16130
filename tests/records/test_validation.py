"""What is refused as a record, and what older versions may lack."""

import copy

import numpy as np
import pytest

from benchmarks.records import store, validation
from tests.records.test_store import ENTRY, RECORD


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


@pytest.mark.parametrize("key", [*validation.schema(4)["required"], "test_error"])
def test_missing_keys(key):
    record = copy.deepcopy(RECORD)
    del record[key]
    with pytest.raises(store.RecordError):
        validation.validate(record)


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
    validation.validate(record)
    assert record == before


def test_what_a_version_added_is_required_from_then_on():
    with pytest.raises(store.RecordError, match="resumed"):
        validation.validate(older(1) | {"schema_version": 2})
    with pytest.raises(store.RecordError, match="flops_per_image"):
        validation.validate(older(3) | {"schema_version": 4})
    with pytest.raises(store.RecordError, match="counting"):
        validation.validate(older(4) | {"schema_version": 5})
    with pytest.raises(store.RecordError, match="engine"):
        validation.validate(older(5) | {"schema_version": 6})
    with pytest.raises(store.RecordError, match="task"):
        validation.validate(older(6) | {"schema_version": 7})


def test_an_error_of_images_is_at_most_all_of_them_and_bits_have_no_such_limit():
    many = RECORD | {"test_error": 101.0}
    with pytest.raises(store.RecordError, match=r"test_error 101\.0 is more than 100 %"):
        validation.validate(many)
    validation.validate(many | {"task": "text"})


def test_which_images_were_wrong_agrees_with_the_error():
    flags = np.array([True] + 8 * [False] + [True])
    data = RECORD["dataset_fingerprint"] | {"test": 10}
    text = validation.packed(flags)
    assert validation.unpacked(text, 10).tolist() == flags.tolist()
    record = RECORD | {"dataset_fingerprint": data, "test_wrong": text}
    validation.validate(record | {"test_error": 20.0})
    with pytest.raises(store.RecordError, match=r"test_error 5.0 is not that of test_wrong, 20.0"):
        validation.validate(record)
    for damaged in ("?", "gA", ""):
        with pytest.raises(store.RecordError, match="test_wrong"):
            validation.validate(record | {"test_error": 20.0, "test_wrong": damaged})


def test_a_run_that_was_never_counted_has_no_flops():
    unknown = dict.fromkeys(
        ("params", "params_by_component", *validation.FLOPS, *validation.FLOPS.values())
    )
    failed = {"status": "failed", "reason": "no layer", "test_error": None, "val_error": None}
    validation.validate(RECORD | failed | unknown | {"history": []})


def test_a_block_that_the_recipe_lacks():
    record = copy.deepcopy(RECORD)
    record["recipe"] |= {"block": "scaled", "scaled": None}
    with pytest.raises(store.RecordError, match="recipe has no scaled, which"):
        validation.validate(record)
