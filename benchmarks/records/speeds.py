"""From records of speed to pandas: a typed row for each speed that was measured."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from benchmarks.records import store, validation
from benchmarks.records.fields import at, number, without_folder
from benchmarks.tasks import IMAGES, TASKS

_TEXT = "string"
CONDITION = ["device", "batch_size", "threads", "precision", "compile", "torch", "deterministic"]
"""What two speeds share that may be compared."""
RATES = ("training_step", "training_epoch", "inference_generated", "inference_materialized")
"""What the record of a model's speed measures, in the items of its task a second."""

SPEED_COLUMNS = {
    "task": _TEXT,
    "kind": _TEXT,
    "model": _TEXT,
    "plugin_sha256": _TEXT,
    "pair": _TEXT,
    "optimizer": _TEXT,
    "device": _TEXT,
    "batch_size": "Int64",
    "threads": "Int64",
    "precision": _TEXT,
    "compile": _TEXT,
    "torch": _TEXT,
    "deterministic": "boolean",
    "device_type": _TEXT,
    "commit": _TEXT,
    "dirty": "boolean",
    "what": _TEXT,
    "unit": _TEXT,
    "median": "Float64",
    "low": "Float64",
    "high": "Float64",
    "n": "Int64",
    "noisy": "boolean",
    "aa_median": "Float64",
    "aa_low": "Float64",
    "aa_high": "Float64",
    "attempts": "Int64",
    "path": _TEXT,
}
"""The columns of `load_speeds` and their types: a contract."""


def load_speeds(results_dir: str | Path = "results") -> pd.DataFrame:
    """One row a measured speed, from the records under `results_dir`/throughput.

    Columns (`SPEED_COLUMNS` has their types):

    - `task`: what a rate is of ("images" or "text"; records from before there were others are of
      images)
    - `kind`: "speed" (of one model), "pair" (ratio to the plain pair) or "compare" (ratio to other
      code); `model`, `plugin_sha256` ("" for built-in models), `pair`, `optimizer` (missing in
      records from before it was noted)
    - `CONDITION`: `device`, `batch_size`, `threads`, `precision`, `compile`, `torch`,
      `deterministic`; besides `device_type`, `commit`, and `dirty` (timed from a tree with
      uncommitted changes, or of unknown origin)
    - `what` was measured (training_step, training_epoch, inference_generated, ...) and its `unit`
      (images/s or characters/s, ratio, s, bytes, J/image or J/character, share)
    - `median` over `n` windows or pairs of windows, with `low` and `high`: quartiles of a rate, the
      bootstrap 95 % interval of a ratio
    - of a pair: `aa_median`, `aa_low`, `aa_high` of the A/A run that came before, after `attempts`
      of them; `noisy` if none passed

    `frame.attrs["problems"]` has a line for each file that cannot be read,
    `frame.attrs["descriptions"]` the texts of what was compared.
    """
    results_dir = Path(results_dir)
    rows, problems, descriptions = [], [], {}
    for kind in store.SPEED_KINDS:
        for path in store.throughput_files(results_dir, kind):
            try:
                record = _speed_record(path)
            except store.RecordError as error:
                problems.append(without_folder(error, results_dir))
                continue
            head = _speed_head(kind, record)
            head["path"] = path.relative_to(results_dir).as_posix()
            measured = _SPEED_ROWS[kind](record)
            rows += [head | row for row in measured if row["median"] is not None]
            unknown = [row["what"] for row in measured if row["median"] is None]
            if unknown or not measured:
                problems.append(
                    f"record {head['path']}: no number of {', '.join(unknown) or 'any'}"
                )
            for name, text in _items(record.get("descriptions")):
                descriptions[name] = str(text)
    frame = pd.DataFrame(rows, columns=list(SPEED_COLUMNS)).astype(SPEED_COLUMNS)
    frame.attrs = {"problems": problems, "descriptions": descriptions}
    return frame


def _speed_record(path: Path) -> dict:
    record = store.load(path)
    if not isinstance(record, dict) or not isinstance(record.get("model"), str):
        raise store.RecordError(f"record {path} is no record of a model's speed")
    task = record.get("task", IMAGES.name)
    if not isinstance(task, str) or task not in TASKS:
        raise store.RecordError(f"record {path} is of an unknown task, {str(task)[:20]!r}")
    return record


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _whole(value: object) -> int | None:
    found = number(value)
    return int(found) if found is not None and abs(found) < 2**63 else None


def _speed_head(kind: str, record: dict) -> dict:
    pair, environment = record.get("pair"), record.get("environment")
    return {
        "task": validation.task_of(record).name,
        "kind": kind,
        "model": record["model"],
        "plugin_sha256": _text(at(record, "code", "plugin_sha256")) or "",
        "pair": _text(pair[-1]) if isinstance(pair, list) and pair else None,
        "optimizer": _text(record.get("optimizer")),
        "device": _text(record.get("device")),
        "batch_size": _whole(record.get("batch_size")),
        "threads": _whole(at(environment, "threads")),
        "precision": _text(at(environment, "precision")),
        "compile": _text(at(environment, "compile")),
        "torch": _text(at(environment, "torch")),
        "deterministic": at(environment, "deterministic") is True,
        "device_type": _text(at(environment, "device_type")),
        "commit": _text(at(record, "code", "commit")),
        "dirty": at(record, "code", "dirty") is not False,
    }


_RATE_UNITS = {task.speed for task in TASKS.values()}


def _row(what: str, unit: str, values: object) -> dict:
    """A speed with its interval: quartiles of a rate, the ends of a ratio's interval."""
    rate = unit in _RATE_UNITS
    return {
        "what": what,
        "unit": unit,
        "median": number(at(values, "median")),
        "low": number(at(values, "q1" if rate else "low")),
        "high": number(at(values, "q3" if rate else "high")),
        "n": _whole(at(values, "windows" if rate else "pairs")),
    }


def _items(values: object) -> Iterable[tuple[str, object]]:
    return sorted(values.items()) if isinstance(values, dict) else []


def _rates(record: dict) -> list[dict]:
    measured, task = record.get("measurements"), validation.task_of(record)
    rows = []
    for what, values in _items(measured):
        rows.append(_row(what if what in RATES else f"unknown rate {what}", task.speed, values))
        if what not in RATES:
            rows[-1]["median"] = None
    if record.get("epoch_to_step") is not None:
        rows.append(_row("epoch_to_step", "ratio", record["epoch_to_step"]))
    joules = at(measured, "training_step", "joules_per_image")
    single = {
        "materialize": ("s", record.get("materialize_s")),
        "compilation": ("s", record.get("compile_s")),
        "peak_memory": ("bytes", record.get("peak_memory_bytes")),
        "energy": (f"J/{task.item}", joules),
        "share_of_peak_flops": ("share", at(record, "bounds", "share_of_peak_flops")),
        "share_of_peak_bandwidth": ("share", at(record, "bounds", "share_of_peak_bandwidth")),
    }
    for what, (unit, value) in single.items():
        if value is not None:
            rows.append(_row(what, unit, {"median": value}))
    return rows


def _pair_rows(record: dict) -> list[dict]:
    """The ratios of a pair; an A/A run has the JSON key "null"."""
    ratios = {"training_step": record}
    for kind, ratio in _items(record.get("inference")):
        ratios[f"inference_{kind}"] = ratio if isinstance(ratio, dict) else {}
    rows = []
    for what, ratio in ratios.items():
        attempts = ratio.get("attempts")
        row = _row(what, "ratio", ratio.get("ratio"))
        row |= {f"aa_{key}": number(at(ratio, "null", key)) for key in ("median", "low", "high")}
        row["attempts"] = len(attempts) if isinstance(attempts, list) else None
        row["noisy"] = ratio.get("noisy") is not False
        rows.append(row)
    return rows


def _comparisons(record: dict) -> list[dict]:
    rows = []
    for part in ("step", "epoch"):
        for name, values in _items(at(record, part, "ratios")):
            rows.append(_row(f"{part}: {name}", "ratio", values))
    return rows


_SPEED_ROWS = {"speed": _rates, "pair": _pair_rows, "compare": _comparisons}
