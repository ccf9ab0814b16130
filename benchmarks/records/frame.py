"""From records to pandas: one door, with typed columns, to everything that is shown.

runs = load_runs("results")
ended = runs[runs.status == "ok"]
ended.groupby(RUN_KEY).test_error.agg(["mean", "std", "count"])
"""

import re
import statistics
from pathlib import Path

import pandas as pd

from benchmarks.records import store, validation
from benchmarks.records.fields import at, without_folder
from benchmarks.training.recipe_types import steps_per_epoch
from benchmarks.training.recipes import optimizer_names

RUN_KEY = ["dataset", "data_sha256", "recipe", "recipe_hash", "model", "plugin_sha256"]
"""What runs share whose errors may be pooled over seeds: data, recipe, model and its code."""
SETTING = ["device", "precision", "torch"]
"""What runs share whose errors are compared without a mark."""

_TEXT = "string"
RUN_COLUMNS = {
    "task": _TEXT,
    "dataset": _TEXT,
    "data_sha256": _TEXT,
    "recipe": _TEXT,
    "recipe_hash": _TEXT,
    "model": _TEXT,
    "plugin_sha256": _TEXT,
    "pair": _TEXT,
    "kernels": _TEXT,
    "frozen": _TEXT,
    "study": _TEXT,
    "seed": "Int64",
    "status": _TEXT,
    "reason": _TEXT,
    "test_error": "Float64",
    "val_error": "Float64",
    "params": "Int64",
    "macs_per_image": "Int64",
    "generator_macs": "Int64",
    "flops_per_image": "Int64",
    "generator_flops": "Int64",
    "uncounted": _TEXT,
    "epochs": "Float64",
    "steps": "Int64",
    "block": _TEXT,
    "optimizer": _TEXT,
    "train_images_per_s": "Float64",
    "train_seconds": "Float64",
    "steady_seconds": "Float64",
    "device": _TEXT,
    "device_type": _TEXT,
    "precision": _TEXT,
    "compile": _TEXT,
    "threads": "Int64",
    "memory_format": _TEXT,
    "fallbacks": _TEXT,
    "parallel_seeds": "Int64",
    "torch": _TEXT,
    "train_images": "Int64",
    "validation_images": "Int64",
    "test_images": "Int64",
    "split_seed": "Int64",
    "commit": _TEXT,
    "dirty": "boolean",
    "source_sha256": _TEXT,
    "resumed_changed": "boolean",
    "resumed_at": "Int64",
    "test_wrong": _TEXT,
    "schema_version": "Int64",
    "path": _TEXT,
}
"""The columns of `load_runs` and their types: a contract."""

EPOCH_COLUMNS = dict.fromkeys(RUN_KEY, _TEXT) | {"seed": "Int64", "epoch": "Int64"}
EPOCH_COLUMNS |= dict.fromkeys(
    ["step", "train_loss", "train_error", "val_loss", "val_error", "learning_rate", "seconds"],
    "Float64",
)
"""The columns of `load_epochs` and their types: a contract."""


class _Shared(dict):
    """A dict in `attrs`, which pandas copies deeply at each operation: that took most of a page."""

    def __deepcopy__(self, memo: dict) -> "_Shared":
        return self


def load_runs(
    results_dir: str | Path = "results", dataset: str | None = None, studies: bool = False
) -> pd.DataFrame:
    """One row a run, from the records under `results_dir`; of one data set, if it is named.

    `studies`: the trials of recipe studies, which have no test error, in place of the runs.

    Columns (`RUN_COLUMNS` has their types; all but the first seven may be missing):

    - `task` ("images" or "text", a row of `benchmarks.tasks.TASKS`): what an error is and what an
      item; columns with `image` in their name are of its items
    - `dataset`, `data_sha256` (of the files; "" if unknown), `recipe`, `recipe_hash`, `model`,
      `plugin_sha256` ("" for built-in models): the key of a row, `RUN_KEY`; `pair` (the plain
      model of the same backbone); `kernels` (its kernel source; missing for a foreign module),
      `frozen` (the component of it that is not trained); `study`, `seed`
    - `status` (ok, diverged, out_of_memory, interrupted, failed), `reason`
    - `test_error`, `val_error`: of the last epoch, in the task's metric (percent of the images, or
      bits per character)
    - `params`: trainable parameters; `macs_per_image`, `generator_macs` (a forward pass, whatever
      the batch), `flops_per_image`, `generator_flops` (2 x MACs); `uncounted`: why there are none
    - `epochs` (a part where steps decide), `steps` of training; `block` of the recipe that was used
      (stored, generated, scaled); `optimizer`: its optimizers without their rates
    - `train_images_per_s`; `train_seconds`: training without evaluation; `steady_seconds`: if every
      epoch had taken as long as the median one, which other programs disturb least
    - `device`, `device_type`, `precision`, `compile`, `threads`, `memory_format`, `fallbacks`,
      `parallel_seeds` (how many runs of the model shared the device, and so the seconds),
      `torch` (version)
    - `train_images`, `validation_images`, `test_images`, `split_seed` of the data
    - `commit`, `dirty` (the code had uncommitted changes), `source_sha256`,
      `resumed_changed` (continued from a checkpoint of another device, of other code or settings),
      `resumed_at` (the step at which it last was), `test_wrong` (which test images were wrong:
      `benchmarks.records.validation.unpacked`),
      `schema_version`, `path` (relative to `results_dir`)

    `frame.attrs["problems"]` has a line for each file that is no valid record, and
    `frame.attrs["recipes"]` the resolved recipes by hash, as JSON has them.
    """
    read, problems = _read(Path(results_dir), dataset, studies)
    recipes = {record["recipe"]["hash"]: record["recipe"] for record, _ in read}
    rows = [row for _, row in read]
    frame = pd.DataFrame(rows, columns=list(RUN_COLUMNS)).astype(RUN_COLUMNS)
    frame.attrs = {"problems": problems, "recipes": _Shared(recipes)}
    return frame


def load_epochs(
    results_dir: str | Path = "results", dataset: str | None = None, studies: bool = False
) -> pd.DataFrame:
    """One row an epoch of each run that ended well, of those that `load_runs` has.

    Columns (`EPOCH_COLUMNS` has their types): `RUN_KEY`, `seed`, `epoch` (from 1) and what the
    history has: `step`, `train_loss`, `train_error`, `val_loss`, `val_error`, `learning_rate`,
    `seconds`; errors in the task's metric.
    """
    read, _ = _read(Path(results_dir), dataset, studies)
    rows: list[dict] = []
    for record, row in read:
        if record["status"] == "ok":
            key = {name: row[name] for name in (*RUN_KEY, "seed")}
            rows += [key | entry for entry in record["history"]]
    return pd.DataFrame(rows, columns=list(EPOCH_COLUMNS)).astype(EPOCH_COLUMNS)


def _read(
    results_dir: Path, dataset: str | None, studies: bool
) -> tuple[list[tuple[dict, dict]], list[str]]:
    """The valid records, each with its row, one a run; and a line for each other file."""
    files = store.trial_files if studies else store.run_files
    read, problems, runs = [], [], set()
    for path in files(results_dir, dataset):
        try:
            record = _valid(path, results_dir)
            row = _run_row(record, path.relative_to(results_dir).as_posix())
        except store.RecordError as error:
            problems.append(without_folder(error, results_dir))
            continue
        run = tuple(row[key] for key in (*RUN_KEY, "study", "seed"))
        if run in runs:
            problems.append(f"record {row['path']} is of a run that has another one")
            continue
        runs.add(run)
        read.append((record, row))
    return read, problems


def _valid(path: Path, results_dir: Path) -> dict:
    """The record at `path`.

    Raises:
        store.RecordError: if it cannot be read, breaks its schema, or lies at another run's place.
    """
    record = store.load(path)
    try:
        validation.validate(record)
    except store.RecordError as error:
        raise store.RecordError(f"record {path}: {error}") from None
    assert record is not None
    places = store.RunId.of(record).places(results_dir)
    if path not in places:
        raise store.RecordError(f"record {path} is of another place, {places[0]}")
    return record


def _key(record: dict) -> dict:
    return {
        "dataset": record["dataset"],
        "data_sha256": record["dataset_fingerprint"]["sha256"] or "",
        "recipe": record["recipe"]["name"],
        "recipe_hash": record["recipe"]["hash"],
        "model": record["model"],
        "plugin_sha256": record["code"].get("plugin_sha256", ""),
    }


_AS_IT_STANDS = (
    "pair",
    "test_wrong",
    "study",
    "seed",
    "status",
    "reason",
    "test_error",
    "val_error",
    "params",
    "macs_per_image",
    "generator_macs",
    "train_images_per_s",
    "schema_version",
)
_OF_ENVIRONMENT = (
    "device",
    "device_type",
    "precision",
    "compile",
    "threads",
    "memory_format",
    "torch",
)


def _run_row(record: dict, path: str) -> dict:
    """The row of a valid record.

    Raises:
        store.RecordError: for a whole number that no column can hold.
    """
    recipe, environment, data = (
        record["recipe"],
        record["environment"],
        record["dataset_fingerprint"],
    )
    block = recipe.get("block")
    row = _key(record)
    row |= {"task": validation.task_of(record).name}
    row |= {key: record.get(key) for key in _AS_IT_STANDS}
    row |= {key: environment[key] for key in _OF_ENVIRONMENT}
    row |= {key: record["code"][key] for key in ("commit", "dirty", "source_sha256")}
    row |= {f"{part}_images": data[part] for part in ("train", "validation", "test")}
    row |= _source(record)
    changed = [entry["step"] for entry in record.get("resumed", []) if entry["differing"]]
    row |= {
        "flops_per_image": validation.doubled(record["macs_per_image"]),
        "generator_flops": validation.doubled(record["generator_macs"]),
        "uncounted": at(record, "counting", "reason"),
        "epochs": _epochs(recipe, data["train"]),
        "steps": recipe.get("steps"),
        "block": block,
        "optimizer": optimizer_names(block, recipe[block]) if block else None,
        "train_seconds": sum(epoch["seconds"] for epoch in record["history"]) or None,
        "steady_seconds": _steady_seconds(record["history"]),
        "fallbacks": "; ".join(environment["fallbacks"]),
        "parallel_seeds": environment.get("parallel_seeds", 1),
        "split_seed": data["split_seed"],
        "resumed_changed": bool(changed),
        "resumed_at": max(changed) if changed else None,
        "path": path,
    }
    for key, kind in RUN_COLUMNS.items():
        if kind == "Int64" and row[key] is not None:
            row[key] = _whole_number(row[key], f"record {path}: {key}")
    return row


def _epochs(recipe: dict, items: int) -> float:
    """How often the training split was read: a part of once, where steps decide."""
    told, steps = recipe.get("trained_epochs", recipe["epochs"]), recipe.get("steps")
    if steps is None or at(recipe, recipe.get("block", ""), "steps") is None:
        return told
    length = at(recipe, "sequences", "length")
    per_epoch = steps_per_epoch(items, recipe["batch_size"], length)
    return steps / per_epoch if per_epoch else told


def _steady_seconds(history: list[dict]) -> float | None:
    seconds = [epoch["seconds"] for epoch in history]
    return statistics.median(seconds) * len(seconds) if seconds else None


_BUILT_IN = re.compile(r"(?P<family>.*?)_?resnet\d.*?(_frozen_(?P<frozen>generator|embeddings))?")
"""A name of this suite's own rows. No plugin may take one that builds."""
_STORED = ("", "wide", "narrow")


def _source(record: dict) -> dict:
    """The kernel source of a record's model, and its frozen component.

    Records from before these were noted have them in the names of built-in models; what kernels a
    plugin's model had, they do not tell.
    """
    if "kernels" in record:
        return {"kernels": record["kernels"], "frozen": record.get("frozen")}
    match = _BUILT_IN.fullmatch(record["model"])
    if match is None or "plugin_sha256" in record["code"]:
        return {"kernels": None, "frozen": None}
    family = match["family"]
    return {"kernels": "stored" if family in _STORED else family, "frozen": match["frozen"]}


def _whole_number(value: float, name: str) -> int:
    """A number that JSON Schema calls an integer (1e300 is one) as one that a column can hold.

    Raises:
        store.RecordError: if it is too large.
    """
    if abs(value) >= 2**63:
        raise store.RecordError(f"{name} {str(value)[:20]} is too large")
    return int(value)


PUBLISHED_COLUMNS = {
    "model": _TEXT,
    "registry_name": _TEXT,
    "task": _TEXT,
    "data": _TEXT,
    "paper_row": "Int64",
    "family": _TEXT,
    "params": "Int64",
    "test_error": "Float64",
    "macs": "Int64",
    "selection": _TEXT,
    "source": _TEXT,
}
"""The columns of `load_published` and their types: a contract."""


def load_published() -> pd.DataFrame:
    """Published results, one row each, as `benchmarks/records/published.csv` has them.

    Columns: `model` (as its source calls it), `registry_name` (missing where this suite has no
    such model), `task`, `data` (CIFAR-10, Penn Treebank characters, enwik8), `paper_row` (its row
    in the paper's table of images, from 1), `family`, `params`, `test_error` (the task's metric, on
    `data`), `macs` (per image, missing where unknown), `selection` (how the number was chosen),
    `source`.
    """
    rows = store.published_rows()
    return pd.DataFrame(rows, columns=list(PUBLISHED_COLUMNS)).astype(PUBLISHED_COLUMNS)
