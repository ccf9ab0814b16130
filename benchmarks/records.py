"""Records: one JSON a run, where it lies, what it must hold, and the provenance that goes into it.

Nothing here imports torch at import time, so that the report reads records anywhere.
"""

import csv
import hashlib
import json
import math
import os
import platform
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

from benchmarks.files import write_atomically

SCHEMA_VERSION = 1
STATUSES = ("ok", "diverged", "out_of_memory", "interrupted", "failed")
DONE = ("ok", "diverged")
"""Statuses that need no further run."""
NAME = re.compile(r"[A-Za-z0-9._-]+")
KEYS = (
    "schema_version", "model", "pair", "dataset", "dataset_fingerprint", "recipe", "seed", "status", "reason", "test_error",
    "val_error", "params", "params_by_component", "macs_per_image", "generator_macs", "train_images_per_s", "history",
    "environment", "code",
)  # fmt: skip
ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("models", "benchmarks", "run_bench.py")


class RecordError(ValueError):
    """A record or name that is not allowed; the message is one line for the user."""


def _name(value: str) -> str:
    if not NAME.fullmatch(value) or value in (".", ".."):
        raise RecordError(f"name {value!r} is not allowed; use letters, digits, '.', '_' and '-'")
    return value


def run_path(results_dir: Path, dataset: str, model: str, recipe: str, seed: int) -> Path:
    """The place of a run's record under `results_dir`."""
    return results_dir / "runs" / _name(dataset) / _name(model) / f"{_name(recipe)}-seed{seed}.json"


SPEED_KINDS = ("speed", "pair", "compare")


def throughput_path(results_dir: Path, device: str, model: str, kind: str = "speed", batch_size: int = 128) -> Path:
    """The place of a speed record on a device: a model's speed, the ratio of its pair, or its comparison with other code."""
    slug = re.sub(r"[^A-Za-z0-9.]+", "-", device).strip("-") or "unknown"
    folder = results_dir / "throughput" / slug
    batch = "" if batch_size == 128 else f"-batch{batch_size}"
    return (folder if kind == "speed" else folder / kind) / f"{_name(model)}{batch}.json"


def save_throughput(results_dir: Path, record: dict) -> Path:
    """Write a speed record at its place."""
    path = throughput_path(results_dir, record["device"], record["model"], record["kind"], record["batch_size"])
    write_atomically(path, to_json(record))
    return path


def to_json(value: dict) -> str:
    """JSON text with sorted keys; refuses NaN and infinity."""
    return json.dumps(value, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"


def validate(record: dict) -> None:
    """Refuse a record of this version that lacks a key or contradicts itself.

    Raises:
        RecordError: naming the key, its value and what is allowed.
    """
    if not isinstance(record, dict) or record.get("schema_version") != SCHEMA_VERSION:
        raise RecordError(f"schema_version is not {SCHEMA_VERSION}")
    missing = [key for key in KEYS if key not in record]
    if missing:
        raise RecordError(f"missing keys: {', '.join(missing)}")
    if record["status"] not in STATUSES:
        raise RecordError(f"status {record['status']!r} is not allowed; choose from {', '.join(STATUSES)}")
    for key in ("test_error", "val_error"):
        value = record[key]
        if value is not None and not (isinstance(value, int | float) and math.isfinite(value) and 0 <= value <= 100):
            raise RecordError(f"{key} {value!r} is not allowed; it is a percentage or null")
    if record["status"] == "ok" and record["test_error"] is None:
        raise RecordError("a run that ended well has no test_error")
    if record["params"] is not None and sum(record["params_by_component"].values()) != record["params"]:
        raise RecordError("params_by_component does not sum to params")
    for key in ("model", "dataset"):
        _name(record[key])


def save(results_dir: Path, record: dict) -> Path:
    """Write a run's record at its place.

    Raises:
        RecordError: if the record is not valid, or one with another recipe hash lies there.
    """
    validate(record)
    recipe = record["recipe"]
    path = run_path(results_dir, record["dataset"], record["model"], recipe["name"], record["seed"])
    refuse_other_hash(path, recipe["hash"])
    write_atomically(path, to_json(record))
    return path


def load(path: Path) -> dict | None:
    """The record at a place, or None where there is none.

    Raises:
        RecordError: if it cannot be read.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise RecordError(f"record {path} cannot be read: {error}") from None


def refuse_other_hash(path: Path, recipe_hash: str) -> None:
    """Raise if the record at `path` was made with another recipe of the same name."""
    there = load(path)
    if there is not None and there["recipe"]["hash"] != recipe_hash:
        raise RecordError(
            f"record {path} has recipe hash {there['recipe']['hash']}, this recipe has {recipe_hash}: "
            "give the recipe another name, or remove the record"
        )


def datasets(results_dir: Path) -> list[str]:
    """Names of the data sets that have records."""
    return sorted(folder.name for folder in (results_dir / "runs").glob("*/") if any(folder.glob("*/*.json")))


def load_all(results_dir: Path, dataset: str) -> tuple[list[dict], list[str]]:
    """All records of a data set in path order, and a line for each file that cannot be read."""
    return _load_each((results_dir / "runs" / _name(dataset)).glob("*/*.json"), results_dir)


def load_throughput(results_dir: Path, kind: str = "speed") -> tuple[list[dict], list[str]]:
    """All speed records of a kind in path order, and a line for each file that cannot be read."""
    pattern = "*/*.json" if kind == "speed" else f"*/{kind}/*.json"
    return _load_each((results_dir / "throughput").glob(pattern), results_dir)


def _load_each(paths: Iterable[Path], results_dir: Path) -> tuple[list[dict], list[str]]:
    found, problems = [], []
    for path in sorted(paths):
        try:
            record = load(path)
            if not isinstance(record, dict):
                raise RecordError(f"record {path} is no JSON object")
            found.append(record)
        except RecordError as error:
            problems.append(str(error).replace(f"{results_dir}{os.sep}", ""))
    return found, problems


def load_published(results_dir: Path = ROOT / "results") -> dict[str, dict]:
    """Published rows by registry name; numbers as numbers, unknown as None."""
    with (results_dir / "published.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["params"] = int(row["params"])
        row["test_error"] = float(row["test_error"])
        row["macs"] = int(row["macs"]) if row["macs"] else None
    return {row["registry_name"]: row for row in rows if row["registry_name"]}


def source_sha256(root: Path = ROOT) -> str:
    """Hash of the code that makes a number: relative paths and bytes of `models/`, `benchmarks/` and `run_bench.py`."""
    digest = hashlib.sha256()
    for name in SOURCES:
        place = root / name
        for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            digest.update(f"{file.relative_to(root).as_posix()}\0".encode())
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def code() -> dict:
    """Commit, dirty flag (results/ and reports/ do not count) and source hash; null where there is no git."""
    commit = _git("rev-parse", "HEAD")
    status = _git("status", "--porcelain", "--", ".", ":!results", ":!reports")
    return {"commit": commit, "dirty": None if status is None else bool(status), "source_sha256": source_sha256()}


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def environment(device_type: str, **settings: object) -> dict:
    """The device and the versions; `settings` (precision, compile, ...) are added as they are. Imports torch."""
    import torch
    import torchvision

    on_gpu = device_type == "cuda"
    return {
        "device": torch.cuda.get_device_name() if on_gpu else cpu_name(),
        "device_type": device_type,
        "cpu": cpu_name(),
        "cpu_features": cpu_features(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "torchvision": str(torchvision.__version__),
        "cuda": torch.version.cuda if on_gpu else None,
        **settings,
    }


def _cpuinfo(key: str) -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""
    match = re.search(rf"^{key}\s*:\s*(.*)$", text, re.MULTILINE)
    return match.group(1).strip() if match else ""


def cpu_name() -> str:
    return _cpuinfo("model name") or platform.machine()


def cpu_features() -> list[str]:
    """The vector extensions that decide the speed."""
    wanted = ("avx2", "avx512f", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16", "amx_int8", "asimd", "bf16", "sve")
    present = set((_cpuinfo("flags") or _cpuinfo("Features")).split())
    return [name for name in wanted if name in present]
