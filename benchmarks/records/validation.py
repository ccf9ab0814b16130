"""What a record must hold: its schema, and what no schema can say."""

import base64
import functools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.system.files import read_text
from benchmarks.tasks import IMAGES, TASKS, Task

SCHEMA_VERSION = 7
"""Of new records; older versions are read as they are. `schemas/run-<version>.json` has each."""
FLOPS = {"flops_per_image": "macs_per_image", "generator_flops": "generator_macs"}
"""The FLOPs of a record (schema version 4) and the MACs that they are twice of."""


class RecordError(ValueError):
    """A record or name that is not allowed; the message is one line for the user."""


@functools.cache
def schema(version: int) -> dict:
    """The JSON Schema of a version of a run's record."""
    return json.loads(read_text(Path(__file__).parent / "schemas" / f"run-{version}.json"))


@functools.cache
def _validator(version: int) -> Callable[[dict], object]:
    import fastjsonschema

    return fastjsonschema.compile(schema(version), use_default=False)


def validate(record: object) -> None:
    """Refuse a record that does not follow the schema of its version or contradicts itself.

    Raises:
        RecordError: naming the key, its value and what is allowed.
    """
    import fastjsonschema

    version = record.get("schema_version") if isinstance(record, dict) else None
    if type(version) is not int or not 1 <= version <= SCHEMA_VERSION:
        raise RecordError(f"schema_version {version!r} is not allowed; it is 1 to {SCHEMA_VERSION}")
    assert isinstance(record, dict)
    if infinite := _not_finite(record):
        raise RecordError(f"{infinite} is no finite number")
    for key in ("test_error", "test_wrong"):
        if record.get("study") is not None and key in record:
            raise RecordError(
                f"{key} is not allowed in a trial of a study, which does not read the test set"
            )
    try:
        _validator(version)(record)
    except fastjsonschema.JsonSchemaValueException as error:
        value = repr(error.value)
        shown = value if len(value) < 80 else f"{value[:77]}..."
        raise RecordError(f"{error.message.replace('data.', '')}, not {shown}") from None
    _refuse_contradictions(record)


def task_of(record: dict) -> Task:
    """The task of a valid record; those from before there were others are of images."""
    return TASKS[record.get("task", IMAGES.name)]


def _refuse_contradictions(record: dict) -> None:
    """What a schema cannot say: counts that add up, FLOPs of the MACs, epochs in order."""
    parts, history = record["params_by_component"], record["history"]
    if task_of(record).share:
        _refuse_more_than_all(record)
    block = record["recipe"].get("block")
    if block is not None and record["recipe"].get(block) is None:
        raise RecordError(f"recipe has no {block}, which it says the model was trained with")
    if parts is not None and sum(parts.values()) != record["params"]:
        raise RecordError("params_by_component does not sum to params")
    if record["schema_version"] >= 4:
        for flops, macs in FLOPS.items():
            if record[flops] != doubled(record[macs]):
                raise RecordError(f"{flops} {record[flops]} is not 2 x {macs} {record[macs]}")
    if record.get("test_wrong") is not None:
        _refuse_other_error(record)
    last = history[-1]["val_error"] if history else None
    if record["status"] == "ok" and (last is None or last != record["val_error"]):
        raise RecordError("val_error is not that of the history's last epoch")
    epochs = [entry["epoch"] for entry in history]
    if epochs != list(range(1, len(epochs) + 1)):
        raise RecordError("history's epochs are not 1, 2, 3 and so on")


def _refuse_more_than_all(record: dict) -> None:
    """Refuse errors of more than 100 %."""
    places = [("test_error", record.get("test_error")), ("val_error", record["val_error"])]
    for entry in record["history"]:
        places += [(f"history's {key}", entry[key]) for key in ("train_error", "val_error")]
    for place, error in places:
        if error is not None and error > 100:
            raise RecordError(f"{place} {error} is more than 100 %")


def _refuse_other_error(record: dict) -> None:
    wrong = unpacked(record["test_wrong"], record["dataset_fingerprint"]["test"])
    error = 100 * float(wrong.mean())
    if record["test_error"] is None or not math.isclose(error, record["test_error"], abs_tol=1e-9):
        raise RecordError(f"test_error {record['test_error']} is not that of test_wrong, {error}")


def doubled(macs: int | None) -> int | None:
    """FLOPs of a number of MACs: one multiplication and one addition each."""
    return None if macs is None else 2 * macs


def packed(flags: Any) -> str:
    """Flags (bool, N) as text: a bit each, the first the highest of its byte, in base64."""
    import numpy as np

    return base64.b64encode(np.packbits(flags).tobytes()).decode()


def unpacked(text: str, count: int) -> Any:
    """The flags (bool, `count`) of `packed`.

    Raises:
        RecordError: if the text is not that of `count` flags.
    """
    import numpy as np

    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        raise RecordError(f"test_wrong {text[:20]!r} is not base64") from None
    if len(data) != (count + 7) // 8:
        raise RecordError(f"test_wrong has {len(data)} bytes, not those of {count} images")
    return np.unpackbits(np.frombuffer(data, np.uint8), count=count).astype(bool)


def _not_finite(value: object, place: str = "record") -> str | None:
    """The place of a number that JSON does not have, if there is one."""
    inner: list[tuple[str, object]] = []
    if isinstance(value, dict):
        inner = [(f"{place}.{key}", item) for key, item in value.items()]
    elif isinstance(value, list):
        inner = [(f"{place}[{index}]", item) for index, item in enumerate(value)]
    elif isinstance(value, float) and not math.isfinite(value):
        return place
    for name, item in inner:
        if problem := _not_finite(item, name):
            return problem
    return None
