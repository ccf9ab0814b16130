"""The store of records: one JSON a run, where it lies, how it is saved and loaded."""

import csv
import hashlib
import io
import itertools
import json
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.records.validation import RecordError, validate
from benchmarks.system.files import read_text, write_atomically
from benchmarks.training.recipes import differences

DONE = ("ok", "diverged")
"""Statuses that need no further run."""
NAME = re.compile(r"[A-Za-z0-9._-]+")
PUBLISHED = Path(__file__).parent / "published.csv"
"""Errors from papers, each with its source."""


def _name(value: str) -> str:
    if not NAME.fullmatch(value) or value in (".", ".."):
        raise RecordError(f"name {value!r} is not allowed; use letters, digits, '.', '_' and '-'")
    return value


@dataclass(frozen=True)
class RunId:
    """What tells a run from every other: model, data, recipe, seed, and the code of a plugin.

    `data`: hashes of the data set's files and of its decoded images; None where unknown.
    """

    model: str
    dataset: str
    data: tuple[str | None, str | None]
    recipe: str
    seed: int
    plugin_sha256: str | None = None
    study: str | None = None

    @classmethod
    def of(cls, record: dict) -> "RunId":
        """That of a valid record."""
        fingerprint = record["dataset_fingerprint"]
        return cls(
            record["model"],
            record["dataset"],
            (fingerprint["sha256"], fingerprint["decoded_sha256"]),
            record["recipe"]["name"],
            record["seed"],
            record["code"].get("plugin_sha256"),
            record.get("study"),
        )

    def places(self, results_dir: Path) -> tuple[Path, Path]:
        """Where its record may lie: the usual place, and its own if another run has that one."""
        usual = run_path(results_dir, self.dataset, self.model, self.recipe, self.seed, self.study)
        parts = (self.model, *(part or "" for part in self.data), self.plugin_sha256 or "")
        digits = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:8]
        return usual, usual.with_name(f"{usual.stem}-{digits}.json")

    def place(self, results_dir: Path) -> Path:
        """Where its record lies or is to be written."""
        usual, own = self.places(results_dir)
        if own.exists():
            return own
        there = _readable(usual)
        return usual if there is None or self.may_replace(there) else own

    def may_replace(self, record: dict) -> bool:
        """Whether a record is of this run, or of one that did not end on the same data.

        One that did not end may be of older code: its checkpoint will say so.
        """
        other = RunId.of(record)
        same_data = any(a == b for a, b in zip(self.data, other.data, strict=True) if a and b)
        known = any(a and b for a, b in zip(self.data, other.data, strict=True))
        if self.model != other.model or (known and not same_data):
            return False
        return self.plugin_sha256 == other.plugin_sha256 or record["status"] not in DONE


def _readable(path: Path) -> dict | None:
    """The valid record at a place, or None."""
    try:
        record = load(path)
        validate(record)
    except RecordError:
        return None
    return record


def run_folder(results_dir: Path, dataset: str, model: str, study: str | None = None) -> Path:
    """The place of a model's records on a data set, or of its trials in a study."""
    tree = results_dir / "studies" / _name(study) if study else results_dir / "runs"
    return tree / _name(dataset) / _name(model)


def run_path(
    results_dir: Path, dataset: str, model: str, recipe: str, seed: int, study: str | None = None
) -> Path:
    """The place of a run's record under `results_dir`."""
    return run_folder(results_dir, dataset, model, study) / f"{_name(recipe)}-seed{seed}.json"


SPEED_KINDS = ("speed", "pair", "compare")


def throughput_path(
    results_dir: Path,
    device: str,
    model: str,
    kind: str = "speed",
    batch_size: int = 128,
    optimizer: str | None = None,
) -> Path:
    """The place of a speed record on a device.

    `kind`: "speed" (of one model), "pair" (its ratio to the plain pair) or "compare" (with other
    code). `optimizer`: of a model's speed, if it is not the one that recipes have by default.
    """
    folder = results_dir / "throughput" / (_slug(device) or "unknown")
    batch = "" if batch_size == 128 else f"-batch{batch_size}"
    suffix = f"-{_slug(optimizer)}" if optimizer else ""
    return (folder if kind == "speed" else folder / kind) / f"{_name(model)}{suffix}{batch}.json"


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-")


def save_throughput(results_dir: Path, record: dict, optimizer: str | None = None) -> Path:
    """Write a speed record at its place; `optimizer` as in `throughput_path`."""
    path = throughput_path(
        results_dir,
        record["device"],
        record["model"],
        record["kind"],
        record["batch_size"],
        optimizer,
    )
    write_atomically(path, to_json(record))
    return path


def to_json(value: dict) -> str:
    """JSON text with sorted keys; refuses NaN and infinity."""
    return json.dumps(value, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"


def save(results_dir: Path, record: dict) -> Path:
    """Write a run's record at its place.

    Raises:
        RecordError: if the record is not valid, or if a record with another recipe hash lies there
            and this run did not resume from that recipe's checkpoint.
    """
    validate(record)
    recipe = record["recipe"]
    path = RunId.of(record).place(results_dir)
    resumed_from = [
        entry["differing"].get("recipe", [None])[0] for entry in record.get("resumed", [])
    ]
    refuse_other_recipe(path, recipe, *resumed_from)
    write_atomically(path, to_json(record))
    return path


def load(path: Path) -> dict | None:
    """The record at a place, or None where there is none.

    Raises:
        RecordError: if it cannot be read; its cause is an OSError if it cannot be opened.
    """
    try:
        return json.loads(read_text(path))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise RecordError(f"record {path} cannot be read: {error}") from error


def refuse_other_recipe(path: Path, recipe: dict, *allowed: str | None) -> None:
    """Refuse a record at `path` that was made with another recipe of the same name.

    `recipe`: as JSON has it. `allowed`: further hashes that the record may have.

    Raises:
        RecordError: naming both hashes, and what differs.
    """
    existing = load_or_set_aside(path)
    found = existing["recipe"].get("hash") if existing else recipe["hash"]
    if existing is None or found in (recipe["hash"], *allowed):
        return
    before = {key: value for key, value in existing["recipe"].items() if key in recipe}
    there = differences(before, recipe)
    differing = [
        f"{key} {there.get(key)!r} there, {value!r} here"
        for key, value in differences(recipe, before).items()
    ]
    goes_on = ", or go on with --resume-changed" if existing.get("status") not in DONE else ""
    raise RecordError(
        f"record {path} has recipe hash {found}, this recipe has {recipe['hash']} "
        f"({', '.join(differing)}): give the recipe another name, or remove the record{goes_on}"
    )


def load_or_set_aside(path: Path) -> dict | None:
    """The record at a place, or None.

    A file that is no record is renamed to `.damaged`, with a note on stderr, and counts as none.

    Raises:
        OSError: if it cannot be opened; it may be a record.
    """
    try:
        record = load(path)
        if record is None or (isinstance(record, dict) and isinstance(record.get("recipe"), dict)):
            return record
        problem = f"record {path} is no record of a run"
    except RecordError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and not isinstance(cause, IsADirectoryError):
            raise cause from None
        problem = str(error)
    aside = _free(path.with_name(f"{path.name}.damaged"))
    os.replace(path, aside)
    print(f"note: {problem}; kept as {aside.name}, the run is made again", file=sys.stderr)
    return None


def _free(path: Path) -> Path:
    """The path, with a number behind it if something lies there: nothing is overwritten."""
    numbers = itertools.count(2)
    free = path
    while free.exists():
        free = path.with_name(f"{path.name}{next(numbers)}")
    return free


def datasets(results_dir: Path) -> list[str]:
    """Names of the data sets that have records."""
    return sorted(
        folder.name for folder in (results_dir / "runs").glob("*/") if any(folder.glob("*/*.json"))
    )


def run_files(results_dir: Path, dataset: str | None = None) -> list[Path]:
    """The places of all records of runs, or of those on one data set."""
    folder = _name(dataset) if dataset else "*"
    return sorted((results_dir / "runs").glob(f"{folder}/*/*.json"))


def trial_files(results_dir: Path, dataset: str | None = None) -> list[Path]:
    """The places of the records of all studies' trials, or of those on one data set."""
    folder = _name(dataset) if dataset else "*"
    return sorted((results_dir / "studies").glob(f"*/{folder}/*/*.json"))


def throughput_files(results_dir: Path, kind: str = "speed") -> list[Path]:
    """The places of all speed records of a kind."""
    pattern = "*/*.json" if kind == "speed" else f"*/{kind}/*.json"
    return sorted((results_dir / "throughput").glob(pattern))


def published_rows() -> list[dict]:
    """The rows of `published.csv`, in its order; numbers as numbers, unknown as None."""
    rows = []
    for row in csv.DictReader(io.StringIO(read_text(PUBLISHED))):
        values: dict[str, Any] = {key: text or None for key, text in row.items()}
        values["test_error"] = float(row["test_error"])
        for key in ("paper_row", "params", "macs"):
            values[key] = int(row[key]) if row[key] else None
        rows.append(values)
    return rows


def load_published() -> dict[str, dict]:
    """The published rows of registered models by registry name."""
    return {row["registry_name"]: row for row in published_rows() if row["registry_name"]}
